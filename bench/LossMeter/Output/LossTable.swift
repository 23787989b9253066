/// Summaries as aligned text.
package struct LossTable: Sendable {
    private let summaries: [Summary]

    /// - Parameter summaries: one for each row.
    package init(_ summaries: [Summary]) { self.summaries = summaries }

    /// The rows with a header, columns two spaces apart.
    package var text: String {
        var rows = [
            [
                "method", "flood", "moves", "kpps", "lost min/med/max", "lost total", "dup total", "reord",
                "window us med/max", "resolution us", "command us", "latency us p50/p99 before,during,after", "void",
                "inconcl",
            ]
        ]
        for summary in summaries {
            func micro(_ nanoseconds: Int64) -> String { LossTable.tenths(Double(nanoseconds) / 1000) }
            let report = LossReport.Method(summary)
            let latency = [report.latencyBefore, report.latencyDuring, report.latencyAfter].map {
                "\(LossTable.tenths($0.p50Us))/\(LossTable.tenths($0.p99Us))"
            }
            rows.append([
                summary.method, summary.flood ? "on" : "off", "\(summary.results.count)",
                LossTable.tenths(summary.achievedRate / 1000),
                "\(summary.lost.minimum)/\(summary.lost.median)/\(summary.lost.maximum)", "\(summary.lost.total)",
                "\(summary.duplicated.total)", "\(summary.reordered.total)",
                "\(micro(summary.window.median))/\(micro(summary.window.maximum))", micro(summary.resolution.median),
                micro(summary.command.median), latency.joined(separator: " "), "\(summary.voids)",
                "\(summary.inconclusive)",
            ])
        }
        return TextTable.aligned(rows, numbersFrom: 1)
    }

    private static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
