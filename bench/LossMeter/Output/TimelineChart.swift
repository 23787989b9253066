/// Timelines as one SVG picture, one panel for each method: a row for each path, a tick for each frame, and the span of the
/// command shaded.
package struct TimelineChart: Sendable {
    /// The panels, from top to bottom.
    package let timelines: [Timeline]
    /// The title above all panels.
    package let title: String

    private static let width = 960.0
    private static let left = 110.0
    private static let right = 24.0
    private static let top = 84.0
    private static let row = 22.0
    private static let panelGap = 58.0
    private static let colours = ["#1f77b4", "#2ca02c", "#9467bd", "#8c564b"]
    private static let lossColour = "#d62728"

    /// - Parameters:
    ///   - timelines: the panels, from top to bottom.
    ///   - title: the title above all panels.
    package init(_ timelines: [Timeline], title: String) {
        self.timelines = timelines
        self.title = title
    }

    /// The picture.
    package var svg: String {
        var body = ""
        var y = TimelineChart.top
        for timeline in timelines {
            body += panel(timeline, at: y)
            y += Double(timeline.paths.count + 1) * TimelineChart.row + TimelineChart.panelGap
        }
        let height = y
        var legend = ""
        var x = TimelineChart.left
        let names = (timelines.first?.paths ?? []).enumerated().map { ("by \($1)", TimelineChart.colours[$0 % 4]) }
        for (name, colour) in names + [("lost", TimelineChart.lossColour), ("command running", "#e8e0c8")] {
            legend += SVG.rectangle(x, 50, 12, 12, colour) + SVG.text(x + 18, 60, name, size: 12)
            x += 40 + Double(name.count) * 7
        }
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(SVG.number(TimelineChart.width))" height="\(SVG.number(height))" \
            font-family="sans-serif">
            <rect width="100%" height="100%" fill="white"/>
            \(SVG.text(TimelineChart.left, 30, title, size: 16, weight: "bold"))
            \(legend)
            \(body)</svg>

            """
    }

    private func panel(_ timeline: Timeline, at top: Double) -> String {
        guard let first = timeline.points.first?.time, let last = timeline.points.last?.time, last > first else {
            return SVG.text(TimelineChart.left, top + 14, "\(timeline.title): no frames", size: 12)
        }
        let span = TimelineChart.width - TimelineChart.left - TimelineChart.right
        func x(_ time: Int64) -> Double { TimelineChart.left + Double(time - first) / Double(last - first) * span }
        let rows = timeline.paths.count + 1
        let height = Double(rows) * TimelineChart.row
        var body = SVG.text(TimelineChart.left, top - 8, timeline.title, size: 13, weight: "bold")
        body += SVG.rectangle(TimelineChart.left, top, span, height, "#f7f7f7")
        body += SVG.rectangle(x(0), top, max(1, x(timeline.command) - x(0)), height, "#e8e0c8")
        for (row, name) in (timeline.paths + ["lost"]).enumerated() {
            let y = top + Double(row) * TimelineChart.row
            let isLoss = row == rows - 1
            body += SVG.text(TimelineChart.left - 8, y + 15, name, size: 12, anchor: "end")
            let marks = timeline.points.filter { isLoss ? $0.paths.isEmpty : $0.paths.contains(row) }
            let path = marks.map {
                "M\(SVG.number(x($0.time))) \(SVG.number(y + 4))v\(SVG.number(TimelineChart.row - 8))"
            }
            let colour = isLoss ? TimelineChart.lossColour : TimelineChart.colours[row % TimelineChart.colours.count]
            body += "<path d=\"\(path.joined())\" stroke=\"\(colour)\" stroke-width=\"1.2\"/>\n"
        }
        let step = TimelineChart.step(for: last - first)
        var tick = (first / step) * step
        while tick <= last {
            if tick >= first {
                let label = tick == 0 ? "0" : "\(tick / 1000)"
                body += SVG.rectangle(x(tick), top + height, 1, 5, "#888888")
                body += SVG.text(
                    x(tick), top + height + 17, label + (tick + step > last ? " us" : ""), size: 11, anchor: "middle")
            }
            tick += step
        }
        return body
    }

    /// A round distance between ticks, in nanoseconds.
    private static func step(for span: Int64) -> Int64 {
        var step: Int64 = 1000
        while span / step > 12 {
            step *= step.description.first == "2" ? 5 : 2
            if step.description.first == "4" { step = step / 4 * 5 }
        }
        return step
    }
}
