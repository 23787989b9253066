extension String {
    /// The parts between two marks.
    package func components(between start: String, and end: String) -> [String] {
        var parts: [String] = []
        var rest = self[...]
        while let first = rest.firstRange(of: start) {
            rest = rest[first.upperBound...]
            guard let last = rest.firstRange(of: end) else { break }
            parts.append(String(rest[..<last.lowerBound]))
            rest = rest[last.upperBound...]
        }
        return parts
    }
}
