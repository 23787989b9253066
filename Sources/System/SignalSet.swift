import CNetlink
import Glibc

/// Signals that are held back and read from a descriptor (signalfd(2)): in the calling thread, and in all threads that it
/// starts afterwards.
package final class SignalSet: Sendable {
    /// For poll(2).
    package let descriptor: Int32
    private let maskBefore: UInt64

    /// Holds the signals back until ``release()``, otherwise until the process ends.
    ///
    /// - Throws: ``SystemError``.
    package init(_ signals: [Int32]) throws(SystemError) {
        var before: UInt64 = 0
        descriptor = cn_signal_descriptor(signals.reduce(0) { $0 | 1 << UInt64($1 - 1) }, &before)
        maskBefore = before
        if descriptor < 0 {
            cn_restore_signals(before)
            throw SystemError("cannot wait for signals", errno: -descriptor)
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Holds a signal back in the calling thread from now on, so that a set that is made later finds it (sigprocmask(2)).
    package static func hold(_ signal: Int32) {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, signal)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Takes the next signal that came; nil for none.
    package func next() -> Int32? {
        let signal = cn_next_signal(descriptor)
        return signal > 0 ? signal : nil
    }

    /// Whether a signal came that ``next()`` did not take.
    package var isPending: Bool {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&polled, 1, 0) > 0
    }

    /// Gives the calling thread the signal mask that it had before. A signal that nobody took is delivered then.
    package func release() { cn_restore_signals(maskBefore) }
}
