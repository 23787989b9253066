package import Pages

/// The results of the loss bench as a page.
package struct LossPage {
    private let rate: Int
    private let summaries: [Summary]
    private let timelines: [Timeline]

    /// - Parameters:
    ///   - rate: frames a second.
    ///   - timelines: one move of each method, flooding off.
    package init(rate: Int, _ summaries: [Summary], _ timelines: [Timeline]) {
        self.rate = rate
        self.summaries = summaries
        self.timelines = timelines
    }

    /// The page, without where it was measured.
    package var page: Page {
        var page = Page(
            "What a guest loses when its address moves from one port to another",
            summary: [
                "A peer behind the uplink sends \(rate) numbered frames a second to one guest, whose address moves between the port "
                    + "of its VF (primary) and its paravirtual port (standby), method by method in turn. Receivers behind both ports count "
                    + "each frame: one that reaches neither is lost, one that reaches both is counted twice.",
                "With flooding off, as here on the pictures, a bridge without an entry drops the frame. With flooding on it sends the frame "
                    + "to every port.",
            ])
        spread(of: false, "Frames lost by a move, flooding off", \.lost, .lost, on: &page)
        spread(of: true, "Frames delivered twice by a move, flooding on", \.duplicated, .gap, on: &page)
        showTimelines(on: &page)
        page.heading("Figures")
        page.paragraph(
            "Where there are two or three numbers they are least, median and most. A window is the time for which frames "
                + "were lost; it is known to the resolution, the time between two frames. A void move is one that the sender or "
                + "a receiver spoilt. An inconclusive one (inconcl) lost nothing, but a loss shorter than its resolution would "
                + "not have shown. Reordered frames (reord) came after ones with a higher number."
        )
        page.table(LossTable(summaries).rows, numbersFrom: 2)
        return page
    }

    private func spread(
        of flood: Bool, _ title: String, _ count: (Summary) -> Summary.Spread, _ role: Role, on page: inout Page
    ) {
        let rows = summaries.filter { $0.flood == flood && !$0.valid.isEmpty }.map { summary in
            let spread = count(summary)
            return (
                "\(summary.method) (\(summary.valid.count))",
                [RangeChart.Spread(Int(spread.minimum), Int(spread.median), Int(spread.maximum))]
            )
        }
        page.chart(RangeChart("\(title); in parentheses the valid moves", unit: "frames", [.init("", role)], rows))
    }

    /// The worst move of each method, all on one scale of time; what is short there is enlarged below.
    private func showTimelines(on page: inout Page) {
        let shown = timelines.filter { !$0.points.isEmpty }
        guard let first = shown.map(\.shown.lowerBound).min(), let last = shown.map(\.shown.upperBound).max() else {
            return
        }
        // The picture of the slowest hides what the quicker half does.
        func length(_ timeline: Timeline) -> Int64 { timeline.shown.upperBound - timeline.shown.lowerBound }
        let middle = shown.map(length).sorted()[shown.count / 2]
        let quick = shown.filter { length($0) <= middle }
        let part = (quick.map(\.shown.lowerBound).min() ?? first)...(quick.map(\.shown.upperBound).max() ?? last)
        let isWide = (last - first) / max(1, part.upperBound - part.lowerBound) >= 3
        let chart = LaneChart(
            "The worst move of each method, flooding off: each frame, by when it was sent; shaded: the command",
            shown.map(\.group),
            span: first...last, inset: isWide ? part : nil)
        page.chart(chart)
        let titles = Set(quick.map(\.title))
        if isWide { page.chart(chart.enlarged(part) { titles.contains($0) }) }
    }
}
