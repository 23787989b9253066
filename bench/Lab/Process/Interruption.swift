import Glibc

/// Cleans up when the user interrupts a program or a signal ends it.
package enum Interruption {
    /// Runs `body` and ends the program when it is interrupted, asked to terminate, or loses its terminal.
    ///
    /// The signals are blocked in the calling thread and in the threads that it starts later; one thread waits for them.
    /// Processes and namespaces of the lab end with the program (``SupervisedProcess``, ``NetworkNamespace``).
    ///
    /// - Throws: ``LabError``.
    package static func onSignal(_ body: @escaping @Sendable () -> Void) throws {
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        let awaited = signals
        _ = try Namespace.thread {
            var set = awaited
            var signal: Int32 = 0
            while sigwait(&set, &signal) != 0 {}
            body()
            _exit(128 + signal)
        }
    }
}
