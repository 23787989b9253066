/// Decides when to try a connection again: soon at first, then at growing intervals.
public struct Reconnection: Hashable, Sendable {
    /// The first pause in nanoseconds.
    public let first: Int64
    /// The longest pause in nanoseconds.
    public let longest: Int64
    /// The time of the next attempt, on the caller's clock.
    public private(set) var nextAttempt: Int64
    /// The number of failures since the last success.
    public private(set) var failures = 0

    /// - Parameters:
    ///   - now: the time at which the first attempt is due.
    ///   - first: the first pause in nanoseconds.
    ///   - longest: the longest pause in nanoseconds.
    public init(now: Int64, first: Int64 = 100_000_000, longest: Int64 = 5_000_000_000) {
        self.first = first
        self.longest = longest
        nextAttempt = now
    }

    /// Records that an attempt failed, or that a connection that never worked ended: the pause doubles.
    public mutating func failed(at now: Int64) {
        nextAttempt = now + min(longest, first << min(failures, 20))
        failures += 1
    }

    /// Records that the connection works.
    public mutating func succeeded() { failures = 0 }
}
