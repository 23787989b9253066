/// Summaries as aligned text.
public struct LossTable: Sendable {
    private let summaries: [Summary]

    /// - Parameter summaries: one row each.
    public init(_ summaries: [Summary]) { self.summaries = summaries }

    /// The rows with a header, columns two spaces apart.
    public var text: String {
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
        var widths = [Int](repeating: 0, count: rows[0].count)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
        }
        return rows.map { row in
            row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return column == 0 ? cell + padding : padding + cell
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    private static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
