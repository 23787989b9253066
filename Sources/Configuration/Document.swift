/// A value of a TOML document.
enum Node: Hashable {
    case string(String)
    case integer(Int64)
    case boolean(Bool)
    case array([Node])
    case table(Table)
    /// A floating-point number, a date or another value that no key accepts.
    case other(String)

    /// The kind of the value, in words.
    var words: String {
        switch self {
        case .string(let text): "the string \"\(text.prefix(80))\""
        case .integer(let number): "the number \(number)"
        case .boolean(let flag): "\(flag)"
        case .array: "an array"
        case .table: "a table"
        case .other(let text): text
        }
    }
}

/// A table of a TOML document.
struct Table: Hashable {
    /// A key's value and its line.
    struct Entry: Hashable {
        let line: Int
        let node: Node
    }

    /// The line of its header; 1 for the outermost table.
    let line: Int
    var entries: [String: Entry] = [:]
}

/// The reason why a text is not a document.
struct SyntaxError: Error, Hashable {
    let line: Int
    let message: String
}
