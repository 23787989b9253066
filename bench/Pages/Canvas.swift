/// An SVG picture under construction, in the pixels of a page of 760. Text is 12 pixels high or more.
struct Canvas {
    /// The width of every picture.
    static let width = 760.0
    /// The height of text.
    static let size = 12.0

    /// Where a text stands from its place.
    enum Anchor: String { case start, middle, end }

    private(set) var height: Double
    private var elements = ""

    init(height: Double) { self.height = height }

    /// How wide a text is at most: the page's fonts are the reader's.
    static func width(of text: some StringProtocol, size: Double = Canvas.size) -> Double {
        Double(text.count) * size * 0.62
    }

    /// A text that goes into a width: what is too long ends with an ellipsis.
    static func fitted(_ text: String, into width: Double) -> String {
        let count = Int(width / (size * 0.62))
        return text.count <= count ? text : text.prefix(max(0, count - 1)) + "…"
    }

    /// A text on one line.
    mutating func text(
        _ x: Double, _ y: Double, _ content: String, _ anchor: Anchor = .start, size: Double = Canvas.size,
        isFaint: Bool = false, isBold: Bool = false
    ) {
        elements +=
            "<text x=\"\(Canvas.number(x))\" y=\"\(Canvas.number(y))\" font-size=\"\(Int(size))\" "
            + "text-anchor=\"\(anchor.rawValue)\" class=\"\(isFaint ? "faint" : "ink")\(isBold ? " bold" : "")\">"
            + "\(Markup.escaped(content))</text>\n"
    }

    /// A filled rectangle, of a class of the page's style.
    mutating func rectangle(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String) {
        elements +=
            "<rect x=\"\(Canvas.number(x))\" y=\"\(Canvas.number(y))\" width=\"\(Canvas.number(width))\" "
            + "height=\"\(Canvas.number(height))\" class=\"\(style)\"/>\n"
    }

    /// A line from point to point.
    mutating func line(_ points: [(x: Double, y: Double)], _ style: String, width: Double = 1) {
        let path = points.map { "\(Canvas.number($0.x)),\(Canvas.number($0.y))" }.joined(separator: " ")
        elements += "<polyline points=\"\(path)\" class=\"\(style)\" stroke-width=\"\(Canvas.number(width))\"/>\n"
    }

    /// Bars of one height: from where to where each goes.
    mutating func bars(_ runs: [(from: Double, to: Double)], y: Double, height: Double, _ role: Role) {
        guard !runs.isEmpty else { return }
        let path = runs.map {
            "M\(Canvas.number($0.from)) \(Canvas.number(y + height / 2))h\(Canvas.number($0.to - $0.from))"
        }
        elements +=
            "<path d=\"\(path.joined())\" class=\"s-\(role.rawValue)\" stroke-width=\"\(Canvas.number(height))\"/>\n"
    }

    /// A point in the shape of a role.
    mutating func point(_ x: Double, _ y: Double, _ role: Role) {
        func path(_ steps: String) -> String {
            "<path d=\"M\(Canvas.number(x)) \(Canvas.number(y))\(steps)\" class=\"f-\(role.rawValue)\"/>\n"
        }
        switch role.shape {
        case .circle: elements += path("m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z")
        case .square: elements += path("m-4 -4h8v8h-8z")
        case .diamond: elements += path("m0 -5l5 5l-5 5l-5 -5z")
        case .triangle: elements += path("m0 -5l5 9h-10z")
        case .cross: elements += path("m-5 -2h3v-3h4v3h3v4h-3v3h-4v-3h-3z")
        }
    }

    /// The picture. Its description is for those who cannot see it.
    func svg(describedBy description: String) -> String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Canvas.number(Canvas.width)) \(Canvas.number(height))" \
        role="img" aria-label="\(Markup.escaped(description))">
        \(elements)</svg>
        """
    }

    /// The number with one decimal at most.
    static func number(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        let fraction = abs(tenths) % 10
        return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10)" + (fraction == 0 ? "" : ".\(fraction)")
    }
}

/// Text in HTML and SVG.
enum Markup {
    /// The text with the characters replaced that mean something in markup.
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }
}

/// A picture of a page.
package protocol Chart: Sendable {
    /// What it shows, in a sentence.
    var title: String { get }
    /// The picture.
    var svg: String { get }
}

/// An axis: where its values are, and which of them have a label.
struct Axis {
    let from: Double
    let to: Double
    /// Where each label stands, from the least.
    let labels: [(at: Double, text: String)]

    /// Round values of a linear axis, so far from one another that their labels have room.
    ///
    /// - Parameters:
    ///   - values: what it covers, in the unit of the labels.
    ///   - unit: behind the last label.
    static func linear(_ values: ClosedRange<Double>, from: Double, to: Double, unit: String) -> Axis {
        let scale = (to - from) / max(values.upperBound - values.lowerBound, .leastNonzeroMagnitude)
        var step = 1e-3
        var factors = [2.0, 2.5, 2.0]
        func widest(_ step: Double) -> Double {
            [values.lowerBound, values.upperBound].map {
                Canvas.width(of: text(($0 / step).rounded() * step) + " " + unit)
            }
            .max() ?? 0
        }
        while step * scale < widest(step) + 14 {
            step *= factors[0]
            factors.append(factors.removeFirst())
        }
        func text(_ value: Double) -> String {
            let rounded = (value * 1000).rounded() / 1000
            let digits = "\(rounded == 0 ? 0 : rounded)"
            return digits.hasSuffix(".0") ? String(digits.dropLast(2)) : digits
        }
        let first = Int((values.lowerBound / step).rounded(.up))
        let last = Int((values.upperBound / step).rounded(.down))
        let labels = (min(first, last)...max(first, last)).map { index in
            let value = Double(index) * step
            return (from + (value - values.lowerBound) * scale, text(value) + (index == last ? " " + unit : ""))
        }
        return Axis(from: from, to: to, labels: labels)
    }

    /// Draws the labels below a line, none outside of the picture and none over another.
    func draw(below y: Double, on canvas: inout Canvas) {
        var end = -Double.infinity
        for (at, text) in labels {
            canvas.rectangle(at - 0.5, y, 1, 5, "grid")
            let half = Canvas.width(of: text) / 2
            let middle = min(max(at, half), Canvas.width - half)
            guard middle - half > end + 4 else { continue }
            canvas.text(middle, y + 18, text, .middle, isFaint: true)
            end = middle + half
        }
    }
}
