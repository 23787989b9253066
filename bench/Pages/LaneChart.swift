/// What happened when, lane by lane: one scale of time for all, from left to right.
package struct LaneChart: Chart {
    /// A row: the moments at which something was so.
    package struct Lane: Sendable {
        let name: String
        let role: Role
        let moments: [Int64]

        /// - Parameters:
        ///   - name: on its left.
        ///   - moments: in nanoseconds, of the chart's time, in order.
        package init(_ name: String, _ role: Role, _ moments: [Int64]) {
            self.name = name
            self.role = role
            self.moments = moments
        }
    }

    /// Something that happened at one moment; the page lists its words.
    package struct Mark: Sendable {
        let time: Int64
        let words: String

        /// - Parameter time: in nanoseconds, of the chart's time.
        package init(_ time: Int64, _ words: String) {
            self.time = time
            self.words = words
        }
    }

    /// Lanes that belong together, below a title.
    package struct Group: Sendable {
        let title: String
        let lanes: [Lane]
        let shaded: ClosedRange<Int64>?
        let marks: [Mark]

        /// - Parameter shaded: the time for which something was under way.
        package init(_ title: String, _ lanes: [Lane], shaded: ClosedRange<Int64>? = nil, marks: [Mark] = []) {
            self.title = title
            self.lanes = lanes
            self.shaded = shaded
            self.marks = marks
        }
    }

    package let title: String
    private let groups: [Group]
    private let span: ClosedRange<Int64>
    private let inset: ClosedRange<Int64>?

    private static let lane = 18.0
    private static let right = 12.0

    /// - Parameters:
    ///   - span: the time shown, in nanoseconds; what is outside is left out.
    ///   - inset: the part that another chart shows with a larger scale; it is framed.
    package init(_ title: String, _ groups: [Group], span: ClosedRange<Int64>, inset: ClosedRange<Int64>? = nil) {
        self.title = title
        self.groups = groups
        self.span = span
        self.inset = inset
    }

    /// The same lanes with a part of the time, as wide as the chart: an inset.
    package func enlarged(_ part: ClosedRange<Int64>, only chosen: (String) -> Bool = { _ in true }) -> LaneChart {
        let times = Double(span.upperBound - span.lowerBound) / Double(max(1, part.upperBound - part.lowerBound))
        return LaneChart(
            "The framed part above, enlarged \(Int(times.rounded())) times", groups.filter { chosen($0.title) },
            span: part)
    }

    /// The letters of a group's marks, in the order of time: `a` to `z`, then `aa`.
    static func letter(_ index: Int) -> String {
        func letter(_ index: Int) -> String { String(Unicode.Scalar(UInt8(ascii: "a") + UInt8(index % 26))) }
        return index < 26 ? letter(index) : letter(index / 26 - 1) + letter(index)
    }

    /// What the letters stand for, group by group.
    var legend: [(title: String, marks: [(letter: String, time: String, words: String)])] {
        groups.filter { !$0.marks.isEmpty }.map { group in
            (
                group.title,
                sorted(group).enumerated().map { (LaneChart.letter($0), LaneChart.milliseconds($1.time), $1.words) }
            )
        }
    }

    package var svg: String {
        let left = min(260, (groups.flatMap(\.lanes).map { Canvas.width(of: $0.name) }.max() ?? 0) + 12)
        let width = Canvas.width - LaneChart.right - left
        let heights = groups.map { 26 + Double($0.lanes.count) * LaneChart.lane + ($0.marks.isEmpty ? 6 : 24) }
        let bottom = heights.reduce(0, +) + 4
        var canvas = Canvas(height: bottom + 28)
        let length = Double(max(1, span.upperBound - span.lowerBound))
        func x(_ time: Int64) -> Double {
            left + Double(min(max(time, span.lowerBound), span.upperBound) - span.lowerBound) / length * width
        }
        var top = 0.0
        for (group, height) in zip(groups, heights) {
            draw(group, top: top, left: left, width: width, x, on: &canvas)
            top += height
        }
        let isLong = length > 20_000_000
        let unit = isLong ? 1e6 : 1e3
        Axis.linear(
            Double(span.lowerBound) / unit...Double(span.upperBound) / unit, from: left, to: left + width,
            unit: isLong ? "ms" : "µs"
        ).draw(below: bottom, on: &canvas)
        return canvas.svg(describedBy: title)
    }

    private func draw(
        _ group: Group, top: Double, left: Double, width: Double, _ x: (Int64) -> Double, on canvas: inout Canvas
    ) {
        let first = top + 22
        let height = Double(group.lanes.count) * LaneChart.lane
        canvas.text(2, top + 14, Canvas.fitted(group.title, into: Canvas.width - 60), isBold: true)
        canvas.rectangle(left, first, width, height, "panel")
        if let shaded = group.shaded, shaded.upperBound >= span.lowerBound, shaded.lowerBound <= span.upperBound {
            canvas.rectangle(
                x(shaded.lowerBound), first, max(1, x(shaded.upperBound) - x(shaded.lowerBound)), height, "shade")
        }
        if let inset {
            let (from, to) = (x(inset.lowerBound), max(x(inset.upperBound), x(inset.lowerBound) + 3))
            let bottom = first + height
            canvas.line([(from, first), (to, first), (to, bottom), (from, bottom), (from, first)], "frame", width: 1.5)
        }
        // Behind the lanes, for many would hide them.
        drawMarks(sorted(group), at: first + height, above: height, x, on: &canvas)
        for (index, lane) in group.lanes.enumerated() {
            let y = first + Double(index) * LaneChart.lane
            canvas.text(left - 8, y + 13, Canvas.fitted(lane.name, into: left - 10), .end)
            canvas.bars(runs(of: lane, x), y: y + 4, height: LaneChart.lane - 8, lane.role)
        }
    }

    private func sorted(_ group: Group) -> [Mark] {
        group.marks.filter { span.contains($0.time) }.sorted { $0.time < $1.time }
    }

    /// Moments become bars of a pixel, and those that touch become one.
    private func runs(of lane: Lane, _ x: (Int64) -> Double) -> [(from: Double, to: Double)] {
        var runs: [(from: Double, to: Double)] = []
        for moment in lane.moments where span.contains(moment) {
            let place = x(moment).rounded(.down)
            if let last = runs.last, place <= last.to {
                runs[runs.count - 1].to = max(last.to, min(place + 1, Canvas.width - LaneChart.right))
            } else {
                runs.append((place, min(place + 1, Canvas.width - LaneChart.right)))
            }
        }
        return runs
    }

    /// The letter of a mark, or of several that are too close to one another.
    private struct Label {
        var first: Int
        var last: Int
        var from: Double
        var to: Double
        var text: String {
            first == last ? LaneChart.letter(first) : LaneChart.letter(first) + "-" + LaneChart.letter(last)
        }
        var half: Double { Canvas.width(of: text) / 2 }
        var middle: Double { (from + to) / 2 }
    }

    /// A line for each mark, and its letter below; letters that would be on one another become one text: `c-f`.
    private func drawMarks(
        _ marks: [Mark], at bottom: Double, above height: Double, _ x: (Int64) -> Double, on canvas: inout Canvas
    ) {
        var labels: [Label] = []
        for (index, mark) in marks.enumerated() {
            canvas.line([(x(mark.time), bottom - height), (x(mark.time), bottom + 4)], "mark")
            labels.append(Label(first: index, last: index, from: x(mark.time), to: x(mark.time)))
            while labels.count > 1 {
                let (before, last) = (labels[labels.count - 2], labels[labels.count - 1])
                guard before.middle + before.half + 4 > last.middle - last.half else { break }
                labels.removeLast(2)
                labels.append(Label(first: before.first, last: last.last, from: before.from, to: last.to))
            }
        }
        for label in labels {
            canvas.text(min(label.middle, Canvas.width - label.half), bottom + 16, label.text, .middle, isFaint: true)
        }
    }

    /// Milliseconds with one decimal.
    static func milliseconds(_ nanoseconds: Int64) -> String {
        let tenths = (abs(nanoseconds) + 50_000) / 100_000
        return "\(nanoseconds < 0 && tenths > 0 ? "-" : "")\(tenths / 10).\(tenths % 10) ms"
    }
}
