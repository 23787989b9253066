/// Prometheus's text format, version 0.0.4
/// (https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md).
package enum Exposition {
    /// The value of the HTTP header `Content-Type`.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// Makes the page that a scraper reads.
    ///
    /// Families are sorted by name and samples by their labels' values, so the same state makes the same bytes. If two families
    /// have the same name, only the first is written: a scraper would refuse a page with both.
    ///
    /// - Complexity: O(n log n) in the number of samples.
    package static func render(_ families: [MetricFamily]) -> [UInt8] {
        var page = Page()
        var written: Set<MetricName> = []
        // The sort is stable, so the first family of a name stays the first.
        for family in families.sorted(by: { $0.name < $1.name }) where written.insert(family.name).inserted {
            page.append(family)
        }
        return page.bytes
    }
}

/// The bytes of a page under construction.
private struct Page {
    var bytes: [UInt8] = []

    mutating func append(_ family: MetricFamily) {
        append("# HELP \(family.name) ")
        append(family.help, escapingQuotes: false)
        append("\n# TYPE \(family.name) \(family.kind.rawValue)\n")
        for (values, value) in family.samples.sorted(by: { inOrder($0.key, $1.key) }) {
            let labels = Array(zip(family.labels.map(\.text), values))
            switch value {
            case .integer(let number): append(family.name.text, labels, String(number))
            case .real(let number): append(family.name.text, labels, decimal(number))
            case .durations(let histogram): append(histogram, family.name.text, labels)
            }
        }
    }

    private mutating func append(_ histogram: DurationHistogram, _ name: String, _ labels: [(String, String)]) {
        var total: UInt64 = 0
        for (index, count) in histogram.counts.enumerated() {
            total &+= count
            let bound = index < histogram.bounds.count ? seconds(histogram.bounds[index]) : "+Inf"
            append(name + "_bucket", labels + [("le", bound)], String(total))
        }
        append(name + "_sum", labels, seconds(histogram.sum))
        append(name + "_count", labels, String(total))
    }

    private mutating func append(_ name: String, _ labels: [(String, String)], _ value: String) {
        append(name)
        if !labels.isEmpty {
            append("{")
            for (index, (label, text)) in labels.enumerated() {
                append(index == 0 ? "\(label)=\"" : ",\(label)=\"")
                append(text, escapingQuotes: true)
                append("\"")
            }
            append("}")
        }
        append(" \(value)\n")
    }

    private mutating func append(_ text: String) { bytes += text.utf8 }

    /// Escapes backslashes and line feeds everywhere, and quotation marks only in a label's value.
    private mutating func append(_ text: String, escapingQuotes: Bool) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "\\")]
            case UInt8(ascii: "\n"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            case UInt8(ascii: "\"") where escapingQuotes: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "\"")]
            default: bytes.append(byte)
            }
        }
    }
}

private func inOrder(_ left: [String], _ right: [String]) -> Bool {
    for (one, other) in zip(left, right) where one != other { return precedes(one, other) }
    return left.count < right.count
}

private func seconds(_ nanoseconds: Int64) -> String { decimal(Double(nanoseconds) / 1e9) }

/// The shortest digits for this number that Go's ParseFloat reads back.
private func decimal(_ number: Double) -> String {
    if number.isNaN { return "NaN" }
    if number.isInfinite { return number < 0 ? "-Inf" : "+Inf" }
    let text = number.description
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}
