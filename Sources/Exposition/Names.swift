/// A metric's name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
package struct MetricName: Hashable, Sendable, Comparable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The text.
    package let text: String

    /// - Returns: nil if the format does not allow the name.
    package init?(_ text: String) {
        guard isName(text, allowingColon: true) else { return nil }
        self.text = text
    }

    /// A name in the program's source. A name that the format does not allow is a programming error and stops the program.
    package init(stringLiteral text: StaticString) {
        let text = text.description
        precondition(isName(text, allowingColon: true), "\(text) is no name of a metric")
        self.text = text
    }

    package var description: String { text }

    package static func < (left: MetricName, right: MetricName) -> Bool { precedes(left.text, right.text) }
}

/// A label's name: `[a-zA-Z_][a-zA-Z0-9_]*`. Names that begin with `__`, and `le`, are reserved for Prometheus.
package struct LabelName: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The text.
    package let text: String

    /// - Returns: nil if the format does not allow the name, or it is reserved.
    package init?(_ text: String) {
        guard LabelName.isUsable(text) else { return nil }
        self.text = text
    }

    /// A name in the program's source. A name that is not usable is a programming error and stops the program.
    package init(stringLiteral text: StaticString) {
        let text = text.description
        precondition(LabelName.isUsable(text), "\(text) is no name of a label")
        self.text = text
    }

    package var description: String { text }

    private static func isUsable(_ text: String) -> Bool {
        isName(text, allowingColon: false) && !text.hasPrefix("__") && text != "le"
    }
}

private func isName(_ text: String, allowingColon: Bool) -> Bool {
    guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x5f: true
        case 0x3a: allowingColon
        default: false
        }
    }
}

/// Compares by bytes: the order is the same everywhere, unlike an order by the meaning of the characters.
func precedes(_ left: String, _ right: String) -> Bool {
    left.utf8.lexicographicallyPrecedes(right.utf8)
}
