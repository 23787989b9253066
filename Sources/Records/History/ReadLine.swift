import JSON

/// A line of the log, as it was read.
struct ReadLine: Hashable {
    /// Unique among all lines.
    let id: String
    /// The row of the table `redirection`, in the order of ``columns``; empty for a file's first line, and for events of a kind
    /// that the database does not keep.
    var redirection: [SQLValue] = []
    /// The rows of the table `result`: address, primitive, port and error.
    var results: [[SQLValue]] = []
    /// The rows of the table `note`.
    var notes: [SQLValue] = []
    /// The row of the table `refusal`, in the order of ``refusalColumns``; empty for other events.
    var refusal: [SQLValue] = []

    static let columns =
        "time_ns, guest, verb, side_before, side_after, strategy, outcome, proof, move_ns, total_ns, bridge, message, evidence, "
        + "by_whom, uid, signal, waited_ns, bracket_change"
    static let refusalColumns = "time_ns, guest, by_whom, uid, kind, message, side_before, side_after, bracket_change"
    /// The members of an event in that order.
    private static let members = [
        "time_ns", "guest", "verb", "from", "to", "strategy", "outcome", "proof", "move_ns", "total_ns", "bridge",
        "message", "evidence", "by", "uid", "signal", "waited_ns", "bracket_change",
    ]
    private static let refusalMembers = [
        "time_ns", "guest", "by", "uid", "event", "message", "from", "to", "bracket_change",
    ]
    /// Members that are numbers.
    private static func isNumber(_ name: String) -> Bool { name.hasSuffix("_ns") || name == "uid" }
    /// Those that can be missing, by their numbers.
    private static let optional: Set = [7, 8, 9, 11, 12, 13, 14, 15, 16, 17]
    /// Versions before 4 of the database did not tell the user, those before 5 neither sides nor bracket.
    private static let optionalOfRefusal: Set = [3, 6, 7, 8]
}

extension ReadLine {
    /// - Parameter line: the line without its newlines.
    /// - Returns: nil for a line that was not completely written, or is none of the log's.
    init?(_ line: ArraySlice<UInt8>) {
        guard line.count <= EventKind.limit else { return nil }
        if line.first == UInt8(ascii: "{") {
            guard let event = line.withUnsafeBytes({ JSON($0) }), let id = event["id"]?.text else { return nil }
            self.init(id: id)
            switch event["event"]?.text.flatMap(EventKind.init) {
            case .redirection: readMembers(event)
            case .refused, .timeout: refusal = ReadLine.row(ReadLine.refusalMembers, of: event)
            case .log, .condition, .conditionOver, .replay, nil: break
            }
        } else {
            guard let old = ReadLine(backlog: line) else { return nil }
            self = old
        }
        let missing = redirection.indices.filter { redirection[$0] == .null }
        let unsaid = refusal.indices.filter { refusal[$0] == .null }
        guard ReadLine.optionalOfRefusal.isSuperset(of: unsaid), ReadLine.optional.isSuperset(of: missing),
            results.allSatisfy({ !$0.prefix(3).contains(.null) })
        else {
            return nil
        }
    }

    private static func row(_ members: [String], of event: JSON) -> [SQLValue] {
        members.map { name in
            isNumber(name) ? event[name]?.integer.map { .integer($0) } ?? .null : SQLValue(event[name])
        }
    }

    private mutating func readMembers(_ event: JSON) {
        redirection = ReadLine.row(ReadLine.members, of: event)
        for group in event["results"]?.elements ?? [] {
            let rest = ["primitive", "port", "error"].map { SQLValue(group[$0]) }
            results += (group["addresses"]?.elements ?? []).map { [SQLValue($0)] + rest }
        }
        notes = (event["notes"]?.elements ?? []).map { SQLValue($0) }.filter { $0 != .null }
    }

    /// Reads a line of `history.backlog`, which versions before the log have left: fields that end with a tab (the id, the row,
    /// the number of results, four fields for each of them, and the notes), and a mark that the line is complete.
    private init?(backlog line: ArraySlice<UInt8>) {
        let parts = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
        let fields = parts.dropLast().map(ReadLine.field)
        guard parts.last?.elementsEqual("\\.".utf8) == true, fields.count >= 15, let id = fields.text(0),
            let count = fields.text(14).flatMap({ Int($0) }), (0...(fields.count - 15) / 4).contains(count)
        else { return nil }
        self.init(
            id: id, redirection: Array(fields[1...13]) + [.null, .null, .null, .null, .null],
            results: (0..<count).map { Array(fields[(15 + 4 * $0)..<(19 + 4 * $0)]) },
            notes: fields[(15 + 4 * count)...].filter { $0 != .null })
    }

    private static func field(_ bytes: ArraySlice<UInt8>) -> SQLValue {
        if bytes.elementsEqual("\\N".utf8) { return .null }
        var plain: [UInt8] = []
        var rest = bytes.makeIterator()
        while let byte = rest.next() {
            guard byte == UInt8(ascii: "\\"), let next = rest.next() else {
                plain.append(byte)
                continue
            }
            plain.append(next == UInt8(ascii: "t") ? 0x09 : next == UInt8(ascii: "n") ? 0x0a : next)
        }
        return .text(String(decoding: plain, as: UTF8.self))
    }
}

extension SQLValue {
    /// The text of a member; null if there is none.
    fileprivate init(_ value: JSON?) { self = value?.text.map { .text($0) } ?? .null }
}
