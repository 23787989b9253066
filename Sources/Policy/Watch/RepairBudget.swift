/// Limits how often a guest is repaired before fdbsteer assumes that something fights the repairs; without I/O.
///
/// A burst of repairs is done at once. After that, repairs wait, each twice as long as the last up to a limit, and the
/// fight is reported: two controllers that take an entry from each other as fast as they can serve nobody. The budget is
/// full again when no repair was needed for as long as the limit, after the last wait.
public struct RepairBudget: Hashable, Sendable {
    /// The limits.
    public struct Limits: Hashable, Sendable {
        /// The number of repairs of one guest that are done at once.
        public var burst: Int
        /// The first wait after the burst, in nanoseconds.
        public var firstWait: Int64
        /// The longest wait, in nanoseconds.
        public var longestWait: Int64

        /// - Parameters:
        ///   - burst: the number of repairs of one guest that are done at once.
        ///   - firstWait: the first wait after the burst, in nanoseconds.
        ///   - longestWait: the longest wait, in nanoseconds.
        public init(burst: Int = 20, firstWait: Int64 = 100_000_000, longestWait: Int64 = 5_000_000_000) {
            self.burst = burst
            self.firstWait = firstWait
            self.longestWait = longestWait
        }
    }

    /// The answer to a request to repair.
    public enum Verdict: Hashable, Sendable {
        /// Repair now.
        case now
        /// Wait until this time (CLOCK_MONOTONIC, nanoseconds); `isNews` is true the first time in a fight.
        case wait(until: Int64, isNews: Bool)
    }

    private var spent = 0
    private var wait: Int64 = 0
    private var notBefore: Int64 = 0
    private var last: Int64 = 0

    /// Makes a full budget.
    public init() {}

    /// Something fights the repairs.
    public var isFought: Bool { wait > 0 }

    /// Requests a repair; `now` is on CLOCK_MONOTONIC, in nanoseconds.
    public mutating func ask(at now: Int64, _ limits: Limits) -> Verdict {
        if now - max(last, notBefore) >= max(limits.longestWait, limits.firstWait) { self = RepairBudget() }
        if spent < limits.burst {
            spent += 1
            last = now
            return .now
        }
        if wait > 0, now >= notBefore {
            last = now
            wait = min(wait * 2, limits.longestWait)
            notBefore = now + wait
            return .now
        }
        let isNews = wait == 0
        if isNews {
            wait = limits.firstWait
            notBefore = now + wait
        }
        // A request is also a sign of the fight.
        last = now
        return .wait(until: notBefore, isNews: isNews)
    }
}
