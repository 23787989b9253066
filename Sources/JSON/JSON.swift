/// A JSON value (RFC 8259).
public enum JSON: Hashable, Sendable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A number without fraction and exponent that fits 64 bits.
    case integer(Int64)
    /// Any other number.
    case number(Double)
    /// Text.
    case string(String)
    /// A list.
    case array([JSON])
    /// Members in the order of the text; of members with the same name the last one counts.
    case object([Member])

    /// A member of an object.
    public struct Member: Hashable, Sendable {
        /// Its name.
        public let name: String
        /// Its value.
        public let value: JSON

        /// Makes a member from its parts.
        public init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }

    /// The value of a member; nil if this is not an object, or has no such member.
    public subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name == name }?.value
    }

    /// The text, if this is a string.
    public var text: String? { if case .string(let text) = self { text } else { nil } }

    /// The value, if this is an integer.
    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }

    /// The value, if this is a boolean.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// The elements, if this is an array.
    public var elements: [JSON]? { if case .array(let elements) = self { elements } else { nil } }

    /// The members, if this is an object.
    public var members: [Member]? { if case .object(let members) = self { members } else { nil } }
}

extension JSON: CustomStringConvertible {
    /// Compact JSON, on one line.
    public var description: String { text(level: nil) }

    /// JSON for people: a line for each member and element, two spaces a level.
    package var pretty: String { text(level: 0) }

    /// The bytes of a file: ``pretty``, and a newline.
    package var file: [UInt8] { bytes(level: 0) + [UInt8(ascii: "\n")] }

    /// Appends the value in the compact style.
    package func write(to text: inout [UInt8]) { write(to: &text, level: nil) }

    private func text(level: Int?) -> String {
        String(decoding: bytes(level: level), as: UTF8.self)
    }

    /// The bytes of ``pretty``, as a part that stands so many levels deep in another value.
    package func indented(to level: Int) -> [UInt8] { bytes(level: level) }

    private func bytes(level: Int?) -> [UInt8] {
        var text: [UInt8] = []
        write(to: &text, level: level)
        return text
    }

    /// - Parameter level: how deep the value stands; nil for the compact style.
    private func write(to text: inout [UInt8], level: Int?) {
        switch self {
        case .null: text += "null".utf8
        case .bool(let value): text += (value ? "true" : "false").utf8
        case .integer(let value): JSON.write(value, to: &text)
        case .number(let value):
            let digits = value.isFinite ? String(value) : "null"
            text += digits.hasSuffix(".0") ? digits.utf8.dropLast(2) : digits.utf8[...]
        case .string(let value): JSON.quote(value, to: &text)
        case .array(let elements):
            JSON.list(UInt8(ascii: "["), elements, UInt8(ascii: "]"), to: &text, level) {
                $0.write(to: &$1, level: $2)
            }
        case .object(let members):
            JSON.list(UInt8(ascii: "{"), members, UInt8(ascii: "}"), to: &text, level) { member, text, inner in
                JSON.quote(member.name, to: &text)
                if inner != nil { text.append(UInt8(ascii: " ")) }
                text.append(UInt8(ascii: ":"))
                if inner != nil { text.append(UInt8(ascii: " ")) }
                member.value.write(to: &text, level: inner)
            }
        }
    }

    private static func list<Part>(
        _ open: UInt8, _ parts: [Part], _ close: UInt8, to text: inout [UInt8], _ level: Int?,
        write: (Part, inout [UInt8], _ inner: Int?) -> Void
    ) {
        func startLine(_ level: Int?, _ text: inout [UInt8]) {
            guard let level else { return }
            text.append(UInt8(ascii: "\n"))
            for _ in 0..<2 * level { text.append(UInt8(ascii: " ")) }
        }
        let inner = level.map { $0 + 1 }
        text.append(open)
        for (index, part) in parts.enumerated() {
            if index > 0 { text.append(UInt8(ascii: ",")) }
            startLine(inner, &text)
            write(part, &text, inner)
        }
        if !parts.isEmpty { startLine(level, &text) }
        text.append(close)
    }

    private static func write(_ value: Int64, to text: inout [UInt8]) {
        // The digits of the least value, and its sign.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var (rest, place) = (value.magnitude, digits.count)
            repeat {
                place -= 1
                digits[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            if value < 0 {
                place -= 1
                digits[place] = UInt8(ascii: "-")
            }
            text.append(contentsOf: UnsafeBufferPointer(rebasing: digits[place...]))
        }
    }

    private static func quote(_ value: String, to text: inout [UInt8]) {
        var value = value
        text.append(UInt8(ascii: "\""))
        value.withUTF8 { bytes in
            func isPlain(_ byte: UInt8) -> Bool {
                byte >= 0x20 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
            }
            if bytes.allSatisfy(isPlain) { return text.append(contentsOf: bytes) }
            for byte in bytes { if isPlain(byte) { text.append(byte) } else { escape(byte, to: &text) } }
        }
        text.append(UInt8(ascii: "\""))
    }

    private static func escape(_ byte: UInt8, to text: inout [UInt8]) {
        func digit(_ value: UInt8) -> UInt8 { value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10 }
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
        case UInt8(ascii: "\n"): text += "\\n".utf8
        case UInt8(ascii: "\r"): text += "\\r".utf8
        case UInt8(ascii: "\t"): text += "\\t".utf8
        default: text += "\\u00".utf8 + [digit(byte >> 4), digit(byte & 15)]
        }
    }
}
