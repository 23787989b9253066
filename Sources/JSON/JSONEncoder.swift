/// Writes encodable values as JSON (RFC 8259) for people and programs: keys in snake_case and alphabetical order, a line
/// each, two spaces a level.
///
/// Foundation's encoder does the same, but linked into a program that is started in the middle of a switchover it makes it
/// twice as large, and slows every look at a type: the runtime searches all conformances that there are
/// (docs/performance.md).
package enum JSONText {
    /// - Throws: what the value's own `encode(to:)` throws.
    package static func make(_ value: some Encodable) throws -> String {
        let place = Place()
        try place.put(value, path: [])
        var text = ""
        place.write(to: &text, level: 0)
        return text
    }

    /// `someKeyOfMine` becomes `some_key_of_mine`, and `myURLs` `my_urls`.
    package static func snakeCase(_ key: String) -> String {
        let characters = Array(key)
        var result = ""
        for (index, character) in characters.enumerated() {
            if character.isUppercase, index > 0 {
                let startsWord = index + 1 < characters.count && characters[index + 1].isLowercase
                if !characters[index - 1].isUppercase || startsWord, characters[index - 1] != "_" { result += "_" }
            }
            result += character.lowercased()
        }
        return result
    }

    fileprivate static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// One value that is being encoded, with those in it.
private final class Place {
    private var plain = "null"
    private var list: [Place]?
    private var members: [(key: String, value: Place)]?

    var count: Int { list?.count ?? 0 }

    func put(plain text: String) { plain = text }

    func becomeList() { list = list ?? [] }

    func becomeObject() { members = members ?? [] }

    func append() -> Place {
        let place = Place()
        list?.append(place)
        return place
    }

    func member(_ key: String) -> Place {
        let place = Place()
        members?.append((key, place))
        return place
    }

    func put(_ value: some Encodable, path: [any CodingKey]) throws {
        // The keys of a dictionary are data.
        try value.encode(to: PlaceEncoder(place: self, codingPath: path, keepsKeys: value is any StringKeyed))
    }

    func write(to text: inout String, level: Int) {
        func lines(_ open: String, _ close: String, _ parts: [(String, Place)]) {
            if parts.isEmpty {
                text += open + close
                return
            }
            let indent = String(repeating: "  ", count: level + 1)
            text += open
            for (index, part) in parts.enumerated() {
                text += (index == 0 ? "\n" : ",\n") + indent + part.0
                part.1.write(to: &text, level: level + 1)
            }
            text += "\n" + String(repeating: "  ", count: level) + close
        }
        if let members {
            let sorted = members.sorted { $0.key < $1.key }
            lines("{", "}", sorted.map { (JSONText.quoted($0.key) + " : ", $0.value) })
        } else if let list {
            lines("[", "]", list.map { ("", $0) })
        } else {
            text += plain
        }
    }
}

private protocol StringKeyed {}
extension Dictionary: StringKeyed where Key == String {}

private struct PlaceEncoder: Encoder {
    let place: Place
    let codingPath: [any CodingKey]
    var keepsKeys = false
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        place.becomeObject()
        return KeyedEncodingContainer(Members(place: place, codingPath: codingPath, keepsKeys: keepsKeys))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        place.becomeList()
        return Elements(place: place, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { Single(place: place, codingPath: codingPath) }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let place: Place
    let codingPath: [any CodingKey]
    let keepsKeys: Bool

    private func member(_ key: any CodingKey) -> Place {
        place.member(keepsKeys ? key.stringValue : JSONText.snakeCase(key.stringValue))
    }

    func encodeNil(forKey key: Key) { member(key).put(plain: "null") }

    func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
        try member(key).put(value, path: codingPath + [key])
    }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<
        Nested
    > {
        PlaceEncoder(place: member(key), codingPath: codingPath + [key]).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        PlaceEncoder(place: member(key), codingPath: codingPath + [key]).unkeyedContainer()
    }

    func superEncoder() -> any Encoder { PlaceEncoder(place: place.member("super"), codingPath: codingPath) }

    func superEncoder(forKey key: Key) -> any Encoder {
        PlaceEncoder(place: member(key), codingPath: codingPath + [key])
    }
}

private struct Elements: UnkeyedEncodingContainer {
    let place: Place
    let codingPath: [any CodingKey]
    var count: Int { place.count }

    func encodeNil() { place.append().put(plain: "null") }

    func encode<T: Encodable>(_ value: T) throws { try place.append().put(value, path: codingPath) }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        PlaceEncoder(place: place.append(), codingPath: codingPath).container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
        PlaceEncoder(place: place.append(), codingPath: codingPath).unkeyedContainer()
    }

    func superEncoder() -> any Encoder { PlaceEncoder(place: place.append(), codingPath: codingPath) }
}

private struct Single: SingleValueEncodingContainer {
    let place: Place
    let codingPath: [any CodingKey]

    func encodeNil() { place.put(plain: "null") }
    func encode(_ value: Bool) { place.put(plain: value ? "true" : "false") }
    func encode(_ value: String) { place.put(plain: JSONText.quoted(value)) }
    func encode(_ value: Float) throws { try encode(Double(value)) }

    func encode(_ value: Double) throws {
        guard value.isFinite else {
            throw EncodingError.invalidValue(
                value, .init(codingPath: codingPath, debugDescription: "JSON has no number for \(value)"))
        }
        let text = value.description
        place.put(plain: text.hasSuffix(".0") ? String(text.dropLast(2)) : text)
    }

    func encode(_ value: Int) { put(value) }
    func encode(_ value: Int8) { put(value) }
    func encode(_ value: Int16) { put(value) }
    func encode(_ value: Int32) { put(value) }
    func encode(_ value: Int64) { put(value) }
    func encode(_ value: UInt) { put(value) }
    func encode(_ value: UInt8) { put(value) }
    func encode(_ value: UInt16) { put(value) }
    func encode(_ value: UInt32) { put(value) }
    func encode(_ value: UInt64) { put(value) }

    func encode<T: Encodable>(_ value: T) throws { try place.put(value, path: codingPath) }

    private func put(_ value: some FixedWidthInteger) { place.put(plain: "\(value)") }
}
