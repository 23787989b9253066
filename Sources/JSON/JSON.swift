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
    public var description: String {
        var text = ""
        write(to: &text, level: nil)
        return text
    }

    /// JSON for people: a line for each member and element, two spaces a level.
    package var pretty: String {
        var text = ""
        write(to: &text, level: 0)
        return text
    }

    /// - Parameter level: how deep the value stands; nil for the compact style.
    private func write(to text: inout String, level: Int?) {
        let inner = level.map { $0 + 1 }
        func startLine(_ level: Int?) {
            if let level { text += "\n" + String(repeating: "  ", count: level) }
        }
        func list<Part>(_ open: String, _ parts: [Part], _ close: String, write: (Part) -> Void) {
            text += open
            for (index, part) in parts.enumerated() {
                if index > 0 { text += "," }
                startLine(inner)
                write(part)
            }
            if !parts.isEmpty { startLine(level) }
            text += close
        }
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value):
            let digits = String(value)
            text += !value.isFinite ? "null" : digits.hasSuffix(".0") ? String(digits.dropLast(2)) : digits
        case .string(let value): JSON.quote(value, to: &text)
        case .array(let elements): list("[", elements, "]") { $0.write(to: &text, level: inner) }
        case .object(let members):
            list("{", members, "}") { member in
                JSON.quote(member.name, to: &text)
                text += level == nil ? ":" : " : "
                member.value.write(to: &text, level: inner)
            }
        }
    }

    private static func quote(_ value: String, to text: inout String) {
        let digits = Array("0123456789abcdef".unicodeScalars)
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case let control where control.value < 0x20:
                text += "\\u00"
                text.unicodeScalars.append(digits[Int(control.value >> 4)])
                text.unicodeScalars.append(digits[Int(control.value & 15)])
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
