/// Summaries as a table.
package struct LossTable: Sendable {
    /// The header, then a row for each; what matters least is last.
    package let rows: [[String]]

    /// - Parameter summaries: one for each row.
    package init(_ summaries: [Summary]) {
        let head = [
            "method", "flood", "moves", "lost min/med/max", "lost", "dup", "void", "inconcl", "window us med/max",
            "command us", "kpps", "reord", "resolution us", "latency us p50/p99 before,during,after",
        ]
        rows = [head] + summaries.map(LossTable.row)
    }

    private static func row(_ summary: Summary) -> [String] {
        func micro(_ nanoseconds: Int64) -> String { tenths(Double(nanoseconds) / 1000) }
        let report = LossReport.Method(summary)
        let latency = [report.latencyBefore, report.latencyDuring, report.latencyAfter].map {
            "\(tenths($0.p50Us))/\(tenths($0.p99Us))"
        }
        return [
            summary.method, summary.flood ? "on" : "off", "\(summary.results.count)",
            "\(summary.lost.minimum)/\(summary.lost.median)/\(summary.lost.maximum)", "\(summary.lost.total)",
            "\(summary.duplicated.total)", "\(summary.voids)", "\(summary.inconclusive)",
            "\(micro(summary.window.median))/\(micro(summary.window.maximum))", micro(summary.command.median),
            tenths(summary.achievedRate / 1000), "\(summary.reordered.total)",
            micro(summary.resolution.median), latency.joined(separator: " "),
        ]
    }

    private static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
