/// How often a guest may be repaired before something is taken to fight the repairs; no I/O.
///
/// A burst is repaired at once. When it is used up, repairs wait, each time twice as long up to a limit, and it is reported
/// that something fights them: two controllers that take an entry from each other as fast as they can serve nobody. After
/// as long as the limit without a repair, all is forgiven.
public struct RepairBudget: Hashable, Sendable {
    /// The limits.
    public struct Limits: Hashable, Sendable {
        /// Repairs of one guest that are made at once.
        public var burst: Int
        /// The first wait after them, in nanoseconds.
        public var firstWait: Int64
        /// The longest wait, in nanoseconds.
        public var longestWait: Int64

        /// - Parameters:
        ///   - burst: repairs of one guest that are made at once.
        ///   - firstWait: in nanoseconds.
        ///   - longestWait: in nanoseconds.
        public init(burst: Int = 20, firstWait: Int64 = 100_000_000, longestWait: Int64 = 5_000_000_000) {
            self.burst = burst
            self.firstWait = firstWait
            self.longestWait = longestWait
        }
    }

    /// The answer to a wish to repair.
    public enum Verdict: Hashable, Sendable {
        /// Now.
        case now
        /// Not before this time (CLOCK_MONOTONIC, nanoseconds); `isNews` the first time of a fight.
        case wait(until: Int64, isNews: Bool)
    }

    private var spent = 0
    private var wait: Int64 = 0
    private var notBefore: Int64 = 0
    private var last: Int64 = 0

    /// Nothing spent.
    public init() {}

    /// Something fights the repairs.
    public var isFought: Bool { wait > 0 }

    /// Asks for a repair; `now` is on CLOCK_MONOTONIC, in nanoseconds.
    public mutating func ask(at now: Int64, _ limits: Limits) -> Verdict {
        if now - last >= max(limits.longestWait, limits.firstWait) { self = RepairBudget() }
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
        // Being asked is a sign of the fight too.
        last = now
        return .wait(until: notBefore, isNews: isNews)
    }
}
