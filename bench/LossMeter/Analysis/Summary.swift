/// The results of one method with one flood setting.
package struct Summary: Sendable {
    /// Minimum, median, maximum and sum.
    package struct Spread: Hashable, Sendable {
        /// The smallest value.
        package let minimum: Int64
        /// The middle value; the lower of two.
        package let median: Int64
        /// The largest value.
        package let maximum: Int64
        /// The sum of the values.
        package let total: Int64

        /// Takes the values; all results are zero if there are none.
        package init(_ values: [Int64]) {
            let sorted = values.sorted()
            minimum = sorted.first ?? 0
            median = sorted.isEmpty ? 0 : sorted[(sorted.count - 1) / 2]
            maximum = sorted.last ?? 0
            total = values.reduce(0, +)
        }
    }

    /// 50th, 99th and 100th percentile of exact values, in nanoseconds.
    package struct Percentiles: Hashable, Sendable, Encodable {
        /// The median, in microseconds.
        package let p50Us: Double
        /// The 99th percentile, in microseconds.
        package let p99Us: Double
        /// The largest value, in microseconds.
        package let maxUs: Double

        init(_ values: [Int64]) {
            let sorted = values.sorted()
            func at(_ share: Double) -> Double {
                sorted.isEmpty ? 0 : Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1000
            }
            p50Us = at(0.5)
            p99Us = at(0.99)
            maxUs = at(1)
        }
    }

    /// The method's name.
    package let method: String
    /// Flooding of unknown unicast was on.
    package let flood: Bool
    /// The requested rate in frames a second.
    package let offeredRate: Int
    /// The achieved rate in frames a second.
    package let achievedRate: Double
    /// One result for each change.
    package let results: [MoveResult]
    /// The latencies around all changes.
    package let latencies: Latencies

    /// Makes a summary from its fields.
    package init(
        method: String, flood: Bool, offeredRate: Int, achievedRate: Double, results: [MoveResult], latencies: Latencies
    ) {
        self.method = method
        self.flood = flood
        self.offeredRate = offeredRate
        self.achievedRate = achievedRate
        self.results = results
        self.latencies = latencies
    }

    /// The results without the void ones, which count nowhere else.
    package var valid: [MoveResult] { results.filter { !$0.isVoid } }
    /// Frames lost per change.
    package var lost: Spread { Spread(valid.map { Int64($0.lost) }) }
    /// Frames duplicated per change.
    package var duplicated: Spread { Spread(valid.map { Int64($0.duplicated) }) }
    /// Frames reordered per change.
    package var reordered: Spread { Spread(valid.map { Int64($0.reordered) }) }
    /// Loss windows in nanoseconds.
    package var window: Spread { Spread(valid.map(\.window)) }
    /// Resolutions in nanoseconds.
    package var resolution: Spread { Spread(valid.map(\.resolution)) }
    /// Durations of the commands in nanoseconds.
    package var command: Spread { Spread(valid.map(\.command)) }
    /// The number of void changes.
    package var voids: Int { results.count { $0.isVoid } }
    /// The number of changes that may hide a loss in a transmit gap.
    package var inconclusive: Int { results.count { $0.isInconclusive } }
}

/// The summaries in machine-readable form.
package struct LossReport: Encodable, Sendable {
    /// One method with one flood setting. Times are in microseconds.
    package struct Method: Encodable, Sendable {
        let method: String
        let flood: Bool
        let moves: Int
        let offeredPps: Int
        let achievedPps: Int
        let lostTotal: Int64
        let lostMin: Int64
        let lostMedian: Int64
        let lostMax: Int64
        let duplicatedTotal: Int64
        let duplicatedMedian: Int64
        let duplicatedMax: Int64
        let reorderedTotal: Int64
        let reorderedMax: Int64
        let windowUsMedian: Double
        let windowUsMax: Double
        let resolutionUs: Double
        let resolutionUsMax: Double
        let commandUsMedian: Double
        let void: Int
        let inconclusive: Int
        let latencyBefore: Summary.Percentiles
        let latencyDuring: Summary.Percentiles
        let latencyAfter: Summary.Percentiles

        init(_ summary: Summary) {
            func microseconds(_ nanoseconds: Int64) -> Double { Double(nanoseconds) / 1000 }
            method = summary.method
            flood = summary.flood
            moves = summary.results.count
            offeredPps = summary.offeredRate
            achievedPps = Int(summary.achievedRate.rounded())
            lostTotal = summary.lost.total
            lostMin = summary.lost.minimum
            lostMedian = summary.lost.median
            lostMax = summary.lost.maximum
            duplicatedTotal = summary.duplicated.total
            duplicatedMedian = summary.duplicated.median
            duplicatedMax = summary.duplicated.maximum
            reorderedTotal = summary.reordered.total
            reorderedMax = summary.reordered.maximum
            windowUsMedian = microseconds(summary.window.median)
            windowUsMax = microseconds(summary.window.maximum)
            resolutionUs = microseconds(summary.resolution.median)
            resolutionUsMax = microseconds(summary.resolution.maximum)
            commandUsMedian = microseconds(summary.command.median)
            void = summary.voids
            inconclusive = summary.inconclusive
            latencyBefore = Summary.Percentiles(summary.latencies.before)
            latencyDuring = Summary.Percentiles(summary.latencies.during)
            latencyAfter = Summary.Percentiles(summary.latencies.after)
        }
    }

    /// The methods, in the order of the run.
    package let methods: [Method]

    /// - Parameter summaries: the summaries in the order of the run.
    package init(_ summaries: [Summary]) { methods = summaries.map(Method.init) }
}
