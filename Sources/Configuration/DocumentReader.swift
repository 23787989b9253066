/// Reads the part of TOML 1.0 (https://toml.io/en/v1.0.0) that a configuration needs: tables, arrays of tables, bare keys,
/// strings on one line, whole numbers, booleans, and arrays of these. Each document that it accepts means the same to a full
/// parser. It refuses dotted and quoted keys, inline tables and multi-line strings, and names them.
///
/// The parser is our own because the available one, toml++ through TOMLKit 0.6, is not safe on broken files: a header such as
/// `[.a]`, or `a = []` before `[a.b]`, fails an assertion in debug builds and is undefined behaviour in others. It also gives
/// no lines of keys, which error messages need.
///
/// Time and memory are linear in the length of the text, and the recursion of nested arrays is limited.
struct DocumentReader {
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1

    private var root = Table(line: 1)
    private var lists: [String: (line: Int, tables: [Table])] = [:]
    /// The table that receives keys, and its name.
    private var current = Table(line: 1)
    private var section: (name: String, isInList: Bool)?

    private static let mostNested = 8

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Throws: the first ``SyntaxError``.
    static func read(_ bytes: [UInt8]) throws(SyntaxError) -> Table {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw SyntaxError(line: firstLine(notUTF8In: bytes), message: "this is not UTF-8")
        }
        var reader = DocumentReader(bytes)
        // Skips the byte order mark that some editors write.
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { reader.position = 3 }
        return try reader.document()
    }

    private static func firstLine(notUTF8In bytes: [UInt8]) -> Int {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        return 1 + (lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0)
    }

    private mutating func document() throws(SyntaxError) -> Table {
        while true {
            try skip(linesToo: true)
            guard let byte = next else { break }
            if byte == UInt8(ascii: "[") { try header() } else { try pair() }
            try skip(linesToo: false)
            guard next == nil || next == UInt8(ascii: "\n") else {
                throw failure("nothing may follow here but a comment")
            }
        }
        endSection()
        for (name, list) in lists {
            root.entries[name] = .init(line: list.line, node: .array(list.tables.map { .table($0) }))
        }
        return root
    }

    // MARK: - Lines

    private mutating func header() throws(SyntaxError) {
        position += 1
        let isInList = next == UInt8(ascii: "[")
        if isInList { position += 1 }
        try skip(linesToo: false)
        let name = try key()
        try skip(linesToo: false)
        for _ in 0..<(isInList ? 2 : 1) {
            guard next == UInt8(ascii: "]") else {
                throw failure("a header is [name] or [[name]]" + (next == UInt8(ascii: ".") ? ", without dots" : ""))
            }
            position += 1
        }
        endSection()
        let earlier = root.entries[name]?.line ?? (isInList ? nil : lists[name]?.line)
        if let earlier { throw failure("\(name) is there already, in line \(earlier)") }
        section = (name, isInList)
        current = Table(line: line)
    }

    /// Stores the table that received keys.
    private mutating func endSection() {
        guard let section else {
            root = current
            return
        }
        if section.isInList {
            lists[section.name, default: (current.line, [])].tables.append(current)
        } else {
            root.entries[section.name] = .init(line: current.line, node: .table(current))
        }
    }

    private mutating func pair() throws(SyntaxError) {
        let line = line
        let name = try key()
        try skip(linesToo: false)
        guard next == UInt8(ascii: "=") else {
            throw failure(
                next == UInt8(ascii: ".")
                    ? "keys with dots are not used here: write [\(name)] and the rest of the key below it"
                    : "a key is followed by \"=\" and its value")
        }
        position += 1
        try skip(linesToo: false)
        let node = try value(depth: 0)
        if let earlier = current.entries[name] {
            throw SyntaxError(line: line, message: "\(name) is there already, in line \(earlier.line)")
        }
        current.entries[name] = .init(line: line, node: node)
    }

    private mutating func key() throws(SyntaxError) -> String {
        let start = position
        while let byte = next, DocumentReader.isBare(byte) { position += 1 }
        guard position > start else {
            let isQuoted = next == UInt8(ascii: "\"") || next == UInt8(ascii: "'")
            throw failure(
                isQuoted
                    ? "keys are written without quotation marks here"
                    : "a name of letters, digits, '_' and '-' should stand here")
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    // MARK: - Values

    private mutating func value(depth: Int) throws(SyntaxError) -> Node {
        switch next {
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return .string(try string())
        case UInt8(ascii: "["): return .array(try array(depth: depth + 1))
        case UInt8(ascii: "{"): throw failure("inline tables are not used here: write a [header] and its keys below it")
        default: return try scalar()
        }
    }

    private mutating func array(depth: Int) throws(SyntaxError) -> [Node] {
        guard depth <= DocumentReader.mostNested else { throw failure("arrays are nested too deeply") }
        position += 1
        var nodes: [Node] = []
        while true {
            try skip(linesToo: true)
            if next == UInt8(ascii: "]") { break }
            nodes.append(try value(depth: depth))
            try skip(linesToo: true)
            if next == UInt8(ascii: "]") { break }
            guard next == UInt8(ascii: ",") else {
                throw failure("values of an array are parted by ','; it ends with ']'")
            }
            position += 1
        }
        position += 1
        return nodes
    }

    private mutating func scalar() throws(SyntaxError) -> Node {
        let start = position
        while let byte = next,
            DocumentReader.isBare(byte) || [UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: ":")].contains(byte)
        {
            position += 1
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        switch text {
        case "":
            throw failure("a value is missing: a string in quotation marks, a whole number, true, false or an array")
        case "true": return .boolean(true)
        case "false": return .boolean(false)
        default: break
        }
        if let integer = DocumentReader.integer(text) {
            guard let value = integer else { throw failure("the number \(text.prefix(80)) is too large") }
            return .integer(value)
        }
        guard let first = text.utf8.first, DocumentReader.digits.contains(first) || "+-.".utf8.contains(first) else {
            throw failure("\(text.prefix(80)) is no value: strings stand in quotation marks")
        }
        return .other(text.contains(".") ? "the number \(text.prefix(80))" : "\(text.prefix(80))")
    }

    /// - Returns: nil if the text is not a whole number, `.some(nil)` if the number does not fit.
    private static func integer(_ text: String) -> Int64?? {
        var digits = Substring(text)
        var radix = 10
        if let base = ["0x": 16, "0o": 8, "0b": 2][digits.prefix(2)] {
            radix = base
            digits = digits.dropFirst(2)
        } else {
            if let sign = digits.first, sign == "+" || sign == "-" { digits = digits.dropFirst() }
            if digits.hasPrefix("0") && digits.utf8.count > 1 { return nil }
        }
        let groups = digits.split(separator: "_", omittingEmptySubsequences: false)
        let isNumber = groups.allSatisfy { group in
            !group.isEmpty && group.allSatisfy { $0.isASCII && $0.hexDigitValue.map { $0 < radix } == true }
        }
        guard isNumber else { return nil }
        return .some(Int64((text.hasPrefix("-") ? "-" : "") + groups.joined(), radix: radix))
    }

    private mutating func string() throws(SyntaxError) -> String {
        let quote = bytes[position]
        guard !bytes[position...].starts(with: [quote, quote, quote]) else {
            throw failure("strings over several lines are not used here: write it on one line")
        }
        position += 1
        var text: [UInt8] = []
        while true {
            guard let byte = next, byte != UInt8(ascii: "\n") else { throw failure("the string's end is missing") }
            if byte == quote {
                position += 1
                return String(decoding: text, as: UTF8.self)
            }
            if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                text += String(try escape()).utf8
            } else {
                guard byte >= 0x20 && byte != 0x7f || byte == 0x09 else {
                    throw failure("control characters are not allowed in a string")
                }
                text.append(byte)
                position += 1
            }
        }
    }

    private mutating func escape() throws(SyntaxError) -> Unicode.Scalar {
        position += 1
        let letter = next
        position += 1
        switch letter {
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            let count = letter == UInt8(ascii: "u") ? 4 : 8
            let digits = bytes.dropFirst(position).prefix(count)
            let isHex = digits.allSatisfy { DocumentReader.digits.contains($0) || (0x61...0x66).contains($0 | 0x20) }
            if digits.count == count, isHex, let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16),
                let scalar = Unicode.Scalar(value)
            {
                position += count
                return scalar
            }
        default: break
        }
        throw failure("there is no such escape; write a backslash as \\\\, or the string in '")
    }

    // MARK: - Bytes

    private static let digits: ClosedRange<UInt8> = 0x30...0x39

    private static func isBare(_ byte: UInt8) -> Bool {
        digits.contains(byte) || (0x61...0x7a).contains(byte | 0x20) || byte == UInt8(ascii: "_")
            || byte == UInt8(ascii: "-")
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func failure(_ message: String) -> SyntaxError { SyntaxError(line: line, message: message) }

    /// Skips spaces and a comment, and line ends as well if `linesToo` is set.
    private mutating func skip(linesToo: Bool) throws(SyntaxError) {
        while let byte = next {
            switch byte {
            case 0x20, 0x09: position += 1
            case 0x0d:
                guard position + 1 < bytes.count, bytes[position + 1] == 0x0a else {
                    throw failure("a carriage return without a line feed")
                }
                position += 1
            case 0x0a:
                if !linesToo { return }
                position += 1
                line += 1
            case UInt8(ascii: "#"):
                while let byte = next, byte != 0x0a {
                    let endsLine = byte == 0x0d && position + 1 < bytes.count && bytes[position + 1] == 0x0a
                    guard byte >= 0x20 && byte != 0x7f || byte == 0x09 || endsLine else {
                        throw failure("control characters are not allowed in a comment")
                    }
                    position += 1
                }
            default: return
            }
        }
    }
}
