/// Where each key of a TOML text stands, for error messages, and whether the text is of a kind that the parser may see.
///
/// The parser tells no lines of keys. Its tables are nested as deep as a key has dots, and freed by recursion, so that a key
/// of 100,000 dots would overflow the stack: dots, brackets and line ends are counted here first. Strings over several lines,
/// which no key takes, are refused, so that a string ends with its line and the counts are right. NUL would cut the text short,
/// as it is handed over as a C string.
struct LineIndex {
    private var lines: [String: Int] = [:]
    /// What must not reach the parser: line and reason.
    private(set) var hazard: (line: Int, reason: String)?

    private static let mostDots = 64
    private static let mostBrackets = 8

    private var section = ""
    private var guests: [String: Int] = [:]
    private var depth = 0

    init(_ bytes: [UInt8]) {
        var number = 1
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            scan(line, number)
            if hazard != nil { return }
            number += 1
        }
    }

    /// The line of a key, or of the nearest table around it; nil for none.
    func line(of path: String) -> Int? {
        var path = path[...]
        while !path.isEmpty {
            if let line = lines[String(path)] { return line }
            guard let dot = path.lastIndex(of: ".") else { return nil }
            path = path[..<dot]
        }
        return nil
    }

    private mutating func scan(_ line: ArraySlice<UInt8>, _ number: Int) {
        let isOutside = depth == 0
        var quote: UInt8?
        var dots = 0
        var equals: Int?
        var position = line.startIndex
        while position < line.endIndex {
            let byte = line[position]
            if byte < 0x20 && byte != 0x09 && byte != 0x0d || byte == 0x7f {
                hazard = (number, "control characters are not allowed")
                return
            }
            if let open = quote {
                if byte == UInt8(ascii: "\\"), open == UInt8(ascii: "\"") { position += 1 }
                if byte == open { quote = nil }
            } else {
                switch byte {
                case UInt8(ascii: "#"): position = line.endIndex
                case UInt8(ascii: "\""), UInt8(ascii: "'"):
                    if line[position...].starts(with: [byte, byte, byte]) {
                        hazard = (number, "strings over several lines are not used here: write it on one line")
                        return
                    }
                    quote = byte
                case UInt8(ascii: "."): dots += 1
                case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
                case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
                case UInt8(ascii: "="): equals = equals ?? position
                default: break
                }
            }
            if dots > LineIndex.mostDots || depth > LineIndex.mostBrackets {
                hazard = (number, "keys and brackets are nested too deeply")
                return
            }
            position += 1
        }
        // Wrong, but the parser's to tell.
        depth = max(0, depth)
        guard isOutside else { return }
        let text = line.drop { $0 == 0x20 || $0 == 0x09 }
        if text.first == UInt8(ascii: "[") {
            enter(text, number)
        } else if let equals {
            let key = LineIndex.name(line[..<equals])
            let path = section.isEmpty ? key : section + "." + key
            lines[path] = lines[path] ?? number
        }
    }

    private mutating func enter(_ header: ArraySlice<UInt8>, _ number: Int) {
        let isArray = header.starts(with: [UInt8(ascii: "["), UInt8(ascii: "[")])
        section = LineIndex.name(header.dropFirst(isArray ? 2 : 1).prefix { $0 != UInt8(ascii: "]") })
        if isArray {
            let count = guests[section, default: 0]
            guests[section] = count + 1
            lines[section] = lines[section] ?? number
            section += "[\(count)]"
        }
        lines[section] = lines[section] ?? number
    }

    private static func name(_ bytes: ArraySlice<UInt8>) -> String {
        let spared: Set<UInt8> = [0x20, 0x09, 0x0d, UInt8(ascii: "\""), UInt8(ascii: "'")]
        return String(decoding: bytes.filter { !spared.contains($0) }, as: UTF8.self)
    }
}
