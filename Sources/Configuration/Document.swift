import TOMLKit

/// A value of a TOML document, detached from the parser.
enum Node: Hashable {
    case string(String)
    case integer(Int64)
    case boolean(Bool)
    case array([Node])
    case table([String: Node])
    /// A floating-point number, a date or a time, which no key takes.
    case other(String)

    /// What it is, in words.
    var words: String {
        switch self {
        case .string(let text): "the string \"\(text.prefix(80))\""
        case .integer(let number): "the number \(number)"
        case .boolean(let flag): "\(flag)"
        case .array: "an array"
        case .table: "a table"
        case .other(let kind): kind
        }
    }

    /// What a TOML text says.
    ///
    /// - Parameters:
    ///   - bytes: the file, which ``LineIndex`` has found harmless.
    ///   - problems: takes what is wrong with it.
    /// - Returns: the outermost table; nil when the text is no TOML.
    static func parse(_ bytes: [UInt8], problems: inout Problems) -> [String: Node]? {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            problems.add(line: nil, "the file is not UTF-8")
            return nil
        }
        do {
            let root = try TOMLTable(string: text)
            // Its parts point into it.
            return withExtendedLifetime(root) { Node.table(root) }
        } catch let error as TOMLParseError {
            problems.add(line: error.source.begin.line, "no TOML: \(error.description)")
        } catch {
            problems.add(line: nil, "no TOML: \(error)")
        }
        return nil
    }

    private static func table(_ table: TOMLTable) -> [String: Node] {
        var nodes: [String: Node] = [:]
        // By name and not by iteration, which traps on a key with an escaped NUL: it is cut there, and names nothing.
        for key in table.keys { nodes[key] = table[key].map(Node.init) ?? .other("a key with a NUL character") }
        return nodes
    }

    private init(_ value: any TOMLValueConvertible) {
        switch value.type {
        case .table: self = value.table.map { .table(Node.table($0)) } ?? .other("a table")
        case .array: self = .array(value.array.map { array in (0..<array.count).map { Node(array[$0]) } } ?? [])
        case .string: self = .string(value.string ?? "")
        case .int: self = value.int.map { .integer(Int64($0)) } ?? .other("a number")
        case .bool: self = .boolean(value.bool ?? false)
        case .double: self = .other("a floating-point number")
        case .date, .time, .dateTime: self = .other("a date or time")
        }
    }
}
