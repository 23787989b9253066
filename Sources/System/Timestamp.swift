import Glibc

/// Times for people and for JSON.
package enum Timestamp {
    /// A time as in RFC 3339, in UTC.
    ///
    /// - Parameters:
    ///   - nanoseconds: since 1970.
    ///   - precision: digits of the fraction of a second, from 1 to 9.
    package static func text(_ nanoseconds: Int64, precision: Int = 3) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var fields = tm()
        gmtime_r(&seconds, &fields)
        func digits(_ value: Int, _ count: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let date = [(Int(fields.tm_year) + 1900, 4), (Int(fields.tm_mon) + 1, 2), (Int(fields.tm_mday), 2)]
        let clock = [(Int(fields.tm_hour), 2), (Int(fields.tm_min), 2), (Int(fields.tm_sec), 2)]
        return date.map(digits).joined(separator: "-") + "T" + clock.map(digits).joined(separator: ":") + "."
            + digits(Int(nanoseconds % 1_000_000_000), 9).prefix(precision) + "Z"
    }
}
