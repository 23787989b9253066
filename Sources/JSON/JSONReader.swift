/// Reads one JSON value from bytes, with limits on depth and on the number of values.
///
/// An event is decoded on the way to a redirection. Reading a monitor's message into ``JSON`` takes a small part of the time
/// of a general decoder, and hostile bytes can neither trap it nor make it use more memory than the limits allow.
package struct JSONReader {
    /// QEMU nests only a handful of levels.
    package static let depthLimit = 32
    /// A line of the greatest length could hold half a million values.
    package static let valueLimit = 100_000

    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var values = 0

    /// The value of a text; nil if it is not JSON, if something follows it, or if it exceeds a limit.
    package static func read(_ bytes: UnsafeRawBufferPointer) -> JSON? {
        var reader = JSONReader(bytes: bytes)
        guard let value = reader.value(depth: 0) else { return nil }
        reader.skipSpace()
        return reader.position == bytes.count ? value : nil
    }

    private init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Finds the members of an object without reading their values.
    ///
    /// - Parameters:
    ///   - bytes: a text.
    ///   - found: is called with the name of each member and the bytes of its value, in their order. The value is no JSON if its
    ///     bytes are none; strings and brackets in it are whole.
    /// - Returns: false for a text that is no object, or goes on after it.
    package static func members(
        of bytes: UnsafeRawBufferPointer, found: (String, UnsafeRawBufferPointer) -> Void
    ) -> Bool {
        var reader = JSONReader(bytes: bytes)
        guard reader.takeAfterSpace(UInt8(ascii: "{")) else { return false }
        repeat {
            reader.skipSpace()
            guard reader.peek() == UInt8(ascii: "\""), let name = reader.string(),
                reader.takeAfterSpace(UInt8(ascii: ":"))
            else { return false }
            reader.skipSpace()
            let start = reader.position
            guard reader.skipValue() else { return false }
            found(name, UnsafeRawBufferPointer(rebasing: bytes[start..<reader.position]))
        } while reader.takeAfterSpace(UInt8(ascii: ","))
        guard reader.takeAfterSpace(UInt8(ascii: "}")) else { return false }
        reader.skipSpace()
        return reader.position == bytes.count
    }

    /// Passes over a value by its brackets and strings.
    private mutating func skipValue() -> Bool {
        let start = position
        var depth = 0
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""): guard skipString() else { return false }
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                position += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 0 { return position > start }
                depth -= 1
                position += 1
            case UInt8(ascii: ","), 0x20, 0x0a, 0x0d, 0x09:
                if depth == 0 { return position > start }
                position += 1
            default: position += 1
            }
        }
        return false
    }

    private mutating func skipString() -> Bool {
        position += 1
        while let byte = peek() {
            position += byte == UInt8(ascii: "\\") ? 2 : 1
            if byte == UInt8(ascii: "\"") { return true }
        }
        return false
    }

    // MARK: - Values

    private mutating func value(depth: Int) -> JSON? {
        skipSpace()
        values += 1
        guard depth < JSONReader.depthLimit, values <= JSONReader.valueLimit, let first = peek() else { return nil }
        switch first {
        case UInt8(ascii: "{"): return object(depth: depth)
        case UInt8(ascii: "["): return array(depth: depth)
        case UInt8(ascii: "\""): return string().map(JSON.string)
        case UInt8(ascii: "t"): return take("true") ? .bool(true) : nil
        case UInt8(ascii: "f"): return take("false") ? .bool(false) : nil
        case UInt8(ascii: "n"): return take("null") ? .null : nil
        default: return number()
        }
    }

    private mutating func object(depth: Int) -> JSON? {
        position += 1
        var members: [JSON.Member] = []
        if takeAfterSpace(UInt8(ascii: "}")) { return .object(members) }
        repeat {
            skipSpace()
            guard peek() == UInt8(ascii: "\""), let name = string(), takeAfterSpace(UInt8(ascii: ":")),
                let value = value(depth: depth + 1)
            else { return nil }
            members.append(JSON.Member(name, value))
        } while takeAfterSpace(UInt8(ascii: ","))
        return takeAfterSpace(UInt8(ascii: "}")) ? .object(members) : nil
    }

    private mutating func array(depth: Int) -> JSON? {
        position += 1
        var elements: [JSON] = []
        if takeAfterSpace(UInt8(ascii: "]")) { return .array(elements) }
        repeat {
            guard let value = value(depth: depth + 1) else { return nil }
            elements.append(value)
        } while takeAfterSpace(UInt8(ascii: ","))
        return takeAfterSpace(UInt8(ascii: "]")) ? .array(elements) : nil
    }

    private mutating func number() -> JSON? {
        let start = position
        var isInteger = true
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
            case UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): isInteger = false
            default: return finishNumber(from: start, isInteger)
            }
            position += 1
        }
        return finishNumber(from: start, isInteger)
    }

    private func finishNumber(from start: Int, _ isInteger: Bool) -> JSON? {
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        guard let first = text.utf8.first(where: { $0 != UInt8(ascii: "-") }),
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
        else { return nil }
        if isInteger, let value = Int64(text) { return .integer(value) }
        return Double(text).map(JSON.number)
    }

    // MARK: - Strings

    /// A string, from its opening quote.
    private mutating func string() -> String? {
        position += 1
        let start = position
        while let byte = peek() {
            if byte == UInt8(ascii: "\"") {
                defer { position += 1 }
                return String(decoding: bytes[start..<position], as: UTF8.self)
            }
            if byte == UInt8(ascii: "\\") { return escapedString(from: start) }
            guard byte >= 0x20 else { return nil }
            position += 1
        }
        return nil
    }

    /// A string that has an escape at the current position.
    private mutating func escapedString(from start: Int) -> String? {
        var text = Array(bytes[start..<position])
        while let byte = peek() {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): guard appendEscape(to: &text) else { return nil }
            case 0..<0x20: return nil
            default: text.append(byte)
            }
        }
        return nil
    }

    /// Appends the character after a backslash.
    private mutating func appendEscape(to text: inout [UInt8]) -> Bool {
        guard let byte = peek() else { return false }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            guard var scalar = hexadecimal() else { return false }
            if (0xd800..<0xdc00).contains(scalar), take("\\u"), let low = hexadecimal(), (0xdc00..<0xe000).contains(low)
            {
                scalar = 0x10000 + (scalar - 0xd800) << 10 + (low - 0xdc00)
            }
            // Half a surrogate pair is not a character.
            text += Array(String(Unicode.Scalar(scalar) ?? "\u{fffd}").utf8)
        default: return false
        }
        return true
    }

    private mutating func hexadecimal() -> UInt32? {
        guard position + 4 <= bytes.count else { return nil }
        var value: UInt32 = 0
        for byte in bytes[position..<(position + 4)] {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
            default: return nil
            }
        }
        position += 4
        return value
    }

    // MARK: - Bytes

    private func peek() -> UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func takeAfterSpace(_ byte: UInt8) -> Bool {
        skipSpace()
        guard peek() == byte else { return false }
        position += 1
        return true
    }

    private mutating func take(_ word: StaticString) -> Bool {
        let end = position + word.utf8CodeUnitCount
        guard end <= bytes.count else { return false }
        for (index, byte) in bytes[position..<end].enumerated() where byte != word.utf8Start[index] { return false }
        position = end
        return true
    }
}

extension JSON {
    /// Reads one value from bytes.
    ///
    /// - Returns: nil if it is not JSON, nests more than 32 levels, or holds more than 100,000 values.
    public init?(_ bytes: UnsafeRawBufferPointer) {
        guard let value = JSONReader.read(bytes) else { return nil }
        self = value
    }

    /// Reads one value from text, as ``init(_:)-(UnsafeRawBufferPointer)`` does.
    public init?(text: String) {
        var text = text
        guard let value = text.withUTF8({ JSON(UnsafeRawBufferPointer($0)) }) else { return nil }
        self = value
    }
}
