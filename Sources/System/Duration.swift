/// Durations as text: a whole number and `us`, `ms`, `s`, `min` or `h`.
public enum DurationText {
    private static let units: [(suffix: String, nanoseconds: Int64)] = [
        ("us", 1000), ("ms", 1_000_000), ("min", 60_000_000_000), ("h", 3_600_000_000_000), ("s", 1_000_000_000),
    ]
    /// A year in nanoseconds. A deadline this far in the future still fits the kernel's counters.
    private static let longest: Int64 = 365 * 24 * 3_600_000_000_000

    /// Parses a duration.
    ///
    /// - Returns: nanoseconds; nil for text that is not a duration, or for more than a year.
    public static func nanoseconds(_ text: String) -> Int64? {
        guard let unit = units.first(where: { text.hasSuffix($0.suffix) }) else { return nil }
        let digits = text.dropLast(unit.suffix.count)
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let count = Int64(digits),
            count <= longest / unit.nanoseconds
        else { return nil }
        return count * unit.nanoseconds
    }

    /// Formats a duration given in nanoseconds.
    ///
    /// - Returns: the duration in the largest unit that leaves a whole number.
    public static func text(_ nanoseconds: Int64) -> String {
        if nanoseconds == 0 { return "0s" }
        let unit = units.sorted { $0.nanoseconds > $1.nanoseconds }.first { nanoseconds % $0.nanoseconds == 0 }
        guard let unit else { return "\(nanoseconds)ns" }
        return "\(nanoseconds / unit.nanoseconds)\(unit.suffix)"
    }
}
