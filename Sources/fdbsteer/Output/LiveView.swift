import Controller
import Glibc
import Policy
import System

/// A view that goes on until SIGINT or SIGTERM comes, its time is over, or its output fails.
struct LiveView {
    private let signals: SignalSet
    /// On CLOCK_MONOTONIC in nanoseconds; nil for no limit.
    private let end: Int64?

    /// - Throws: ``ControllerError`` when signals cannot be heard.
    init(for limit: TimeLimit?) throws(ControllerError) {
        signals = try ControllerError.system { () throws(SystemError) in try SignalSet([SIGINT, SIGTERM]) }
        end = limit.map { monotonicNanoseconds() + $0.nanoseconds }
        Output.interruption = signals.descriptor
    }

    /// Waits until a descriptor has input.
    ///
    /// - Parameters:
    ///   - descriptor: -1 for none (poll(2)).
    ///   - pause: the longest wait, in nanoseconds.
    /// - Returns: false when the view is over.
    func wait(for descriptor: Int32 = -1, atMost pause: Int64) -> Bool {
        guard Output.failure == nil, signals.next() == nil else { return false }
        let left = end.map { $0 - monotonicNanoseconds() } ?? .max
        guard left > 0 else { return false }
        var polled = [
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        poll(&polled, 2, Int32((min(left, pause) + 999_999) / 1_000_000))
        return true
    }
}
