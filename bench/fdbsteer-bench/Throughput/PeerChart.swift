import Glibc

/// The cost per entry against the number of entries as one SVG picture: a panel for each work, a line for each peer, and
/// both axes logarithmic.
struct PeerChart {
    private let rows: [ThroughputReport.Row]

    private static let width = 960.0
    private static let panelHeight = 360.0
    private static let left = 80.0
    private static let right = 270.0
    private static let colours = [
        "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    ]

    /// - Parameter rows: rows of works other than moves and snapshots are ignored.
    init(_ rows: [ThroughputReport.Row]) { self.rows = rows }

    var svg: String {
        let works = ["move", "add", "delete", "snapshot"].filter { work in rows.contains { $0.work == work } }
        var body = ""
        for (index, work) in works.enumerated() {
            body += panel(work, top: 60 + Double(index) * (PeerChart.panelHeight + 70))
        }
        let height = 60 + Double(works.count) * (PeerChart.panelHeight + 70)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="960" height="\(Int(height))" font-family="sans-serif">
            <rect width="100%" height="100%" fill="white"/>
            \(text(PeerChart.left, 28, "Microseconds an entry, by how many entries", size: 16))
            \(body)</svg>

            """
    }

    private func panel(_ work: String, top: Double) -> String {
        let own = rows.filter { $0.work == work && $0.usPerEntryMedian > 0 }
        let most = Double(own.map(\.entries).max() ?? 1)
        let values = own.map(\.usPerEntryMedian)
        guard let least = values.min(), let highest = values.max() else { return "" }
        let decades = (decade(least, up: false), decade(highest, up: true))
        let span = PeerChart.width - PeerChart.left - PeerChart.right
        func x(_ entries: Double) -> Double { PeerChart.left + log10(entries) / max(1, log10(most)) * span }
        func y(_ value: Double) -> Double {
            top + PeerChart.panelHeight * (1 - (log10(value) - decades.0) / (decades.1 - decades.0))
        }
        var body = text(PeerChart.left, top - 10, work, size: 14)
        for decade in Int(decades.0)...Int(decades.1) {
            let value = power(decade)
            body += line([(PeerChart.left, y(value)), (PeerChart.left + span, y(value))], "#dddddd", 1)
            body += text(
                PeerChart.left - 8, y(value) + 4, decade < 0 ? "0.\(decade == -1 ? "1" : "01")" : "\(Int(value))",
                size: 11, anchor: "end")
        }
        for entries in Set(own.map(\.entries)).sorted() {
            body += line([(x(Double(entries)), top), (x(Double(entries)), top + PeerChart.panelHeight)], "#eeeeee", 1)
            body += text(x(Double(entries)), top + PeerChart.panelHeight + 16, "\(entries)", size: 11, anchor: "middle")
        }
        var names: [String] = []
        for row in own where !names.contains(row.who) { names.append(row.who) }
        for (index, who) in names.enumerated() {
            let colour = PeerChart.colours[index % PeerChart.colours.count]
            let points = own.filter { $0.who == who }.map { (x(Double($0.entries)), y($0.usPerEntryMedian)) }
            body += line(points, colour, who == "fdbsteer" ? 3 : 1.5)
            for (px, py) in points {
                body += "<circle cx=\"\(number(px))\" cy=\"\(number(py))\" r=\"3\" fill=\"\(colour)\"/>\n"
            }
            let place = top + 14 + Double(index) * 20
            body += line([(PeerChart.left + span + 16, place - 4), (PeerChart.left + span + 36, place - 4)], colour, 3)
            body += text(PeerChart.left + span + 42, place, who, size: 12)
        }
        return body
    }

    private func decade(_ value: Double, up: Bool) -> Double {
        let exact = log10(value)
        return up ? exact.rounded(.up) : exact.rounded(.down)
    }

    private func power(_ exponent: Int) -> Double {
        exponent < 0 ? 1 / power(-exponent) : (0..<exponent).reduce(1.0) { value, _ in value * 10 }
    }

    private func line(_ points: [(Double, Double)], _ colour: String, _ width: Double) -> String {
        let path = points.map { "\(number($0.0)),\(number($0.1))" }.joined(separator: " ")
        return "<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"\(number(width))\"/>\n"
    }

    private func text(_ x: Double, _ y: Double, _ content: String, size: Int, anchor: String = "start") -> String {
        "<text x=\"\(number(x))\" y=\"\(number(y))\" font-size=\"\(size)\" text-anchor=\"\(anchor)\">\(content)</text>\n"
    }

    /// The number with one decimal.
    private func number(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
    }
}
