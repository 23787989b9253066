import Glibc
package import Policy

/// One redirection in the history: its rows, and the line that represents them until they are inserted.
package struct HistoryRecord: Hashable {
    /// The row of the table `redirection`, in the order of ``columns``; numbers are text that SQLite converts to the column
    /// type.
    package let redirection: [SQLValue]
    /// The rows of the table `result`.
    package let results: [Report.AddressResult]
    /// The rows of the table `note`.
    package let notes: [String]
    /// Unique: a process cannot make two records in the same nanosecond.
    package let id: String

    package static let columns =
        "time_ns, guest, verb, side_before, side_after, strategy, outcome, proof, move_ns, total_ns, bridge, message, evidence"
    private static let columnCount = 13
    private static let resultWidth = 4
}

extension HistoryRecord {
    package init(_ report: Report) {
        redirection = [
            .text(String(report.startedAt)), .text(report.guest), .text(report.verb.rawValue),
            .text(report.from.rawValue), .text(report.to.rawValue), .text(report.strategy.rawValue),
            .text(report.outcome.rawValue), .optional(report.proof),
            .text(String(report.timings.moveNanoseconds)), .text(String(report.timings.totalNanoseconds)),
            .text(report.bridge), report.failures.isEmpty ? .null : .text(report.failures.joined(separator: "; ")),
            .optional(report.evidence?.record),
        ]
        results = report.addresses
        notes = report.notes + report.findings.map(\.headline) + report.waived.map { "waived: \($0.headline)" }
        id = "\(report.startedAt)-\(getpid())"
    }
}

/// A line consists of fields that end with a tab, the number of results before them, and a mark that the line is complete.
/// It also begins with a newline, so a line that a kill cut off does not damage the next one.
extension HistoryRecord {
    private static let tab = UInt8(ascii: "\t")
    private static let newline = UInt8(ascii: "\n")
    private static let escape = UInt8(ascii: "\\")
    /// Stands for a field that is nil, and follows the last field: no field has this form.
    private static let missing: [UInt8] = [escape, UInt8(ascii: "N")]
    private static let end: [UInt8] = [escape, UInt8(ascii: ".")]
    private static let escapedTab: [UInt8] = [escape, UInt8(ascii: "t")]
    private static let escapedNewline: [UInt8] = [escape, UInt8(ascii: "n")]
    private static let escapedEscape: [UInt8] = [escape, escape]

    /// The line, including its newlines.
    package var line: [UInt8] {
        var line = [HistoryRecord.newline]
        line.reserveCapacity(512 + 64 * results.count)
        HistoryRecord.put(id, to: &line)
        for field in redirection {
            switch field {
            case .null: HistoryRecord.put(nil, to: &line)
            case .integer(let number): HistoryRecord.put(String(number), to: &line)
            case .text(let text): HistoryRecord.put(text, to: &line)
            }
        }
        HistoryRecord.put(String(results.count), to: &line)
        var last: (result: Report.AddressResult, fields: [UInt8])?
        for result in results {
            HistoryRecord.put(result.address, to: &line)
            // Most addresses went to one port with one primitive.
            if let last, result.isAlike(last.result) {
                line += last.fields
                continue
            }
            var fields: [UInt8] = []
            HistoryRecord.put(result.primitive, to: &fields)
            HistoryRecord.put(result.port, to: &fields)
            HistoryRecord.put(result.error, to: &fields)
            line += fields
            last = (result, fields)
        }
        for note in notes { HistoryRecord.put(note, to: &line) }
        line += HistoryRecord.end
        line.append(HistoryRecord.newline)
        return line
    }

    private static func put(_ text: String?, to line: inout [UInt8]) {
        if var text {
            text.withUTF8 { put($0, to: &line) }
        } else {
            line += missing
        }
        line.append(tab)
    }

    private static func put(_ bytes: UnsafeBufferPointer<UInt8>, to line: inout [UInt8]) {
        guard bytes.contains(where: { $0 == tab || $0 == newline || $0 == escape }) else {
            line.append(contentsOf: bytes)
            return
        }
        for byte in bytes {
            switch byte {
            case tab: line += escapedTab
            case newline: line += escapedNewline
            case escape: line += escapedEscape
            default: line.append(byte)
            }
        }
    }

    /// - Parameter line: the line without its newlines.
    /// - Returns: nil for a line that was not completely written.
    package init?(line: ArraySlice<UInt8>) {
        let parts = line.split(separator: HistoryRecord.tab, omittingEmptySubsequences: false)
        guard parts.last?.elementsEqual(HistoryRecord.end) == true else { return nil }
        let fields = parts.dropLast().map(HistoryRecord.field)
        guard fields.count > HistoryRecord.columnCount + 1, let id = fields.text(0),
            let count = fields.text(HistoryRecord.columnCount + 1).flatMap({ Int($0) }), count >= 0
        else { return nil }
        self.id = id
        redirection = Array(fields[1...HistoryRecord.columnCount])
        let rest = fields[(HistoryRecord.columnCount + 2)...]
        guard count <= rest.count / HistoryRecord.resultWidth else { return nil }
        let width = HistoryRecord.resultWidth
        results = (0..<count).map { number in
            let result = Array(rest.dropFirst(number * width).prefix(width))
            return Report.AddressResult(
                address: result.text(0) ?? "", primitive: result.text(1) ?? "", port: result.text(2) ?? "",
                error: result.text(3))
        }
        notes = rest.dropFirst(count * width).compactMap { if case .text(let note) = $0 { note } else { nil } }
    }

    private static func field(_ bytes: ArraySlice<UInt8>) -> SQLValue {
        if bytes.elementsEqual(missing) { return .null }
        var plain: [UInt8] = []
        var rest = bytes.makeIterator()
        while let byte = rest.next() {
            guard byte == escape, let next = rest.next() else {
                plain.append(byte)
                continue
            }
            switch next {
            case UInt8(ascii: "t"): plain.append(tab)
            case UInt8(ascii: "n"): plain.append(newline)
            default: plain.append(next)
            }
        }
        return .text(String(decoding: plain, as: UTF8.self))
    }
}

extension Report.AddressResult {
    /// Whether two results are equal except for the address.
    fileprivate func isAlike(_ other: Report.AddressResult) -> Bool {
        primitive == other.primitive && port == other.port && error == other.error
    }

    /// The values for the table `result`, after the redirection's id.
    package var values: [SQLValue] { [.text(address), .text(primitive), .text(port), .optional(error)] }
}

extension SQLValue {
    fileprivate static func optional(_ text: String?) -> SQLValue { text.map { .text($0) } ?? .null }
}
