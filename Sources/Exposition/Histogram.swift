/// Durations sorted into fixed buckets.
///
/// It counts in nanoseconds, so that its sum is exact, and is written in seconds, as Prometheus wants durations.
public struct DurationHistogram: Hashable, Sendable {
    /// The buckets' upper bounds, in nanoseconds, rising; the last bucket, without a bound, is not among them.
    public let bounds: [Int64]
    /// Durations in each bucket alone, the one without a bound last.
    public private(set) var counts: [UInt64]
    /// All durations together, in nanoseconds.
    public private(set) var sum: Int64 = 0

    /// - Parameter bounds: upper bounds in nanoseconds; sorted here, duplicates dropped.
    public init(bounds: [Int64]) {
        self.bounds = Set(bounds).sorted()
        counts = Array(repeating: 0, count: self.bounds.count + 1)
    }

    /// How many durations were counted.
    public var count: UInt64 { counts.reduce(0, &+) }

    /// Counts one duration; a negative one, which only a clock that was set back can make, counts as 0.
    public mutating func observe(_ nanoseconds: Int64) {
        let nanoseconds = max(0, nanoseconds)
        let bucket = bounds.firstIndex { nanoseconds <= $0 } ?? bounds.count
        counts[bucket] &+= 1
        // A sum that does not fit stays at the end of its range.
        let (total, overflow) = sum.addingReportingOverflow(nanoseconds)
        sum = overflow ? .max : total
    }
}
