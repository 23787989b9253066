/// Durations sorted into fixed buckets.
///
/// It counts in nanoseconds, so its sum is exact. It is written in seconds, which Prometheus expects for durations.
package struct DurationHistogram: Hashable, Sendable {
    /// The buckets' upper bounds in nanoseconds, ascending, without the last bucket, which has no bound.
    package let bounds: [Int64]
    /// The number of durations in each bucket alone; the bucket without a bound is last.
    package private(set) var counts: [UInt64]
    /// The sum of all durations, in nanoseconds.
    package private(set) var sum: Int64 = 0

    /// - Parameter bounds: upper bounds in nanoseconds, which are sorted here and whose duplicates are dropped.
    package init(bounds: [Int64]) {
        self.bounds = Set(bounds).sorted()
        counts = Array(repeating: 0, count: self.bounds.count + 1)
    }

    /// The number of durations counted.
    package var count: UInt64 { counts.reduce(0, &+) }

    /// Counts one duration. A negative one, which only a clock that was set back can produce, counts as 0.
    package mutating func observe(_ nanoseconds: Int64) {
        let nanoseconds = max(0, nanoseconds)
        let bucket = bounds.firstIndex { nanoseconds <= $0 } ?? bounds.count
        counts[bucket] &+= 1
        // The sum saturates.
        let (total, overflow) = sum.addingReportingOverflow(nanoseconds)
        sum = overflow ? .max : total
    }
}
