import Glibc

/// Counts as they spread: for each row and series a line from the least to the most, and a point for the median. The axis is logarithmic
/// from 1 on, and has a place for 0.
package struct RangeChart: Chart {
    /// What a series stands for.
    package struct Series: Sendable {
        let name: String
        let role: Role

        /// Makes a series from its fields.
        package init(_ name: String, _ role: Role) {
            self.name = name
            self.role = role
        }
    }

    /// The spread of a count.
    package struct Spread: Hashable, Sendable {
        let least: Int
        let median: Int
        let most: Int

        /// Makes a spread from its fields.
        package init(_ least: Int, _ median: Int, _ most: Int) {
            self.least = least
            self.median = median
            self.most = most
        }

        var text: String { "\(least) / \(median) / \(most)" }
    }

    package let title: String
    private let unit: String
    private let series: [Series]
    private let rows: [(label: String, spreads: [Spread])]

    private static let line = 18.0

    /// - Parameters:
    ///   - unit: what is counted.
    ///   - rows: each with a spread for each series.
    package init(_ title: String, unit: String, _ series: [Series], _ rows: [(String, [Spread])]) {
        self.title = title
        self.unit = unit
        self.series = series
        self.rows = rows.map { (label: $0.0, spreads: $0.1) }
    }

    package var svg: String {
        let left = min(380, (rows.map { Canvas.width(of: $0.label) }.max() ?? 0) + 12)
        let texts = rows.flatMap { $0.spreads.map(\.text) } + ["least / median / most"]
        let right = (texts.map { Canvas.width(of: $0) }.max() ?? 0) + 12
        let width = Canvas.width - left - right - 12
        let most = rows.flatMap(\.spreads).map(\.most).max() ?? 0
        let decades = max(1, Int(log10(Double(max(1, most))).rounded(.up)))
        func x(_ count: Int) -> Double {
            left + 8 + (count == 0 ? 0 : (log10(Double(count)) + 1) / Double(decades + 1)) * (width - 8)
        }
        let top = series.count > 1 ? 52.0 : 28.0
        let height = rows.map { Double($0.spreads.count) * RangeChart.line + 8 }.reduce(0, +)
        var canvas = Canvas(height: top + height + 44)
        canvas.rectangle(left, top, width + 8, height, "panel")
        canvas.text(Canvas.width, top - 8, "least / median / most", .end, isFaint: true)
        if series.count > 1 { drawLegend(on: &canvas) }
        var labels = [(at: x(0), text: "0")]
        for decade in 0...decades {
            let value = (0..<decade).reduce(1) { value, _ in value * 10 }
            labels.append((x(value), RangeChart.short(value)))
        }
        for (at, _) in labels { canvas.line([(at, top), (at, top + height)], "gridline") }
        var y = top
        for (label, spreads) in rows {
            canvas.text(left - 8, y + 17, Canvas.fitted(label, into: left - 10), .end)
            for (spread, series) in zip(spreads, series) {
                let middle = y + 13
                let (from, to) = (x(spread.least), x(spread.most))
                canvas.line([(from, middle), (to, middle)], "s-\(series.role.rawValue)", width: 2)
                for end in [from, to] {
                    canvas.line([(end, middle - 4), (end, middle + 4)], "s-\(series.role.rawValue)", width: 2)
                }
                canvas.point(x(spread.median), middle, series.role)
                canvas.text(Canvas.width, y + 17, spread.text, .end)
                y += RangeChart.line
            }
            y += 8
        }
        Axis(from: left, to: left + width, labels: labels).draw(below: top + height, on: &canvas)
        canvas.text(left + width / 2, top + height + 38, unit, .middle, isFaint: true)
        return canvas.svg(describedBy: title)
    }

    private func drawLegend(on canvas: inout Canvas) {
        var x = 2.0
        for series in series {
            canvas.point(x + 6, 12, series.role)
            canvas.text(x + 16, 16, series.name)
            x += 16 + Canvas.width(of: series.name) + 20
        }
    }

    /// `1`, `10`, `1k`.
    static func short(_ value: Int) -> String {
        value >= 1_000_000 ? "\(value / 1_000_000)M" : value >= 1000 ? "\(value / 1000)k" : "\(value)"
    }
}
