extension JSON {
    /// Encodes a value by the rules of docs/json.md: the keys of its types become snake_case, with `ns` for nanoseconds; a ``Time``
    /// becomes two members; integers stay where every reader of JSON is exact; the members of an object are in alphabetical order.
    ///
    /// Foundation's encoder does the same, but linked into a program that is started in the middle of a switchover it
    /// doubles the program's size and slows every cast: the runtime searches all conformances of the process
    /// (docs/performance.md).
    ///
    /// - Throws: what the value's own `encode(to:)` throws, and `EncodingError` for a number that is not finite.
    package init(encoding value: some Encodable) throws {
        let place = Place()
        try place.encode(value)
        self = place.value
    }

    /// `someKeyOfMine` becomes `some_key_of_mine`, `someURLKey` `some_url_key`, and `waitedNanoseconds` `waited_ns`.
    static func snakeCase(_ key: String) -> String {
        // Most keys are one word: "guest".
        if !key.utf8.contains(where: { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") }) { return key }
        let unit = "Nanoseconds"
        if key.hasSuffix(unit) { return snakeCase(String(key.dropLast(unit.count))) + "_ns" }
        let letters = Array(key.utf8)
        func isUpper(_ index: Int) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(letters[index]) }
        func isLower(_ index: Int) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(letters[index]) }
        var result: [UInt8] = []
        for (index, letter) in letters.enumerated() {
            guard isUpper(index) else {
                result.append(letter)
                continue
            }
            let startsWord = index + 1 < letters.count && isLower(index + 1)
            if index > 0, !isUpper(index - 1) || startsWord, letters[index - 1] != UInt8(ascii: "_") {
                result.append(UInt8(ascii: "_"))
            }
            result.append(letter + 32)
        }
        return String(decoding: result, as: UTF8.self)
    }
}

extension JSON: Encodable {
    /// Gives an encoder of ``init(encoding:)`` this value as it is.
    ///
    /// - Throws: `EncodingError` for another encoder.
    public func encode(to encoder: any Encoder) throws {
        guard let place = encoder as? Place else {
            throw EncodingError.invalidValue(
                self, .init(codingPath: encoder.codingPath, debugDescription: "only JSON(encoding:) takes JSON"))
        }
        place.put(self)
    }

    /// A number. Many readers of JSON have doubles for numbers (RFC 8259, 6): a count that has passed the last exact one stays there.
    package static func count(_ value: Int64) -> JSON {
        let last = (Int64(1) << 53) - 1
        return .integer(max(-last, min(last, value)))
    }
}

/// The keys of a dictionary are data: they stay as they are.
private protocol StringKeyed {}
extension Dictionary: StringKeyed where Key == String {}

/// A value under construction: its encoder, and the container of a single value and of a list.
private final class Place: Encoder, SingleValueEncodingContainer, UnkeyedEncodingContainer {
    /// An element, or the value of a member.
    enum Part {
        case done(JSON)
        case open(Place)

        var value: JSON {
            switch self {
            case .done(let value): value
            case .open(let place): place.value
            }
        }
    }

    /// It has this one: a strong reference would keep both forever, in the daemon.
    private unowned let parent: Place?
    private let key: (any CodingKey)?
    var codingPath: [any CodingKey] { (parent?.codingPath ?? []) + (key.map { [$0] } ?? []) }
    var userInfo: [CodingUserInfoKey: Any] { [:] }
    var count: Int { elements?.count ?? 0 }
    private var plain = JSON.null
    private var elements: [Part]?
    private var members: [(name: String, part: Part)]?
    private var keepsKeys = false

    init(in parent: Place? = nil, _ key: (any CodingKey)? = nil) {
        self.parent = parent
        self.key = key
    }

    var value: JSON {
        if let members {
            return .object(members.sorted { $0.name < $1.name }.map { JSON.Member($0.name, $0.part.value) })
        }
        return elements.map { .array($0.map(\.value)) } ?? plain
    }

    private func name(_ key: some CodingKey) -> String {
        keepsKeys ? key.stringValue : JSON.snakeCase(key.stringValue)
    }

    /// A member whose value is still to be encoded.
    func member(_ key: some CodingKey) -> Place {
        let place = Place(in: self, key)
        members?.append((name(key), .open(place)))
        return place
    }

    func add(_ key: some CodingKey, _ value: JSON) { members?.append((name(key), .done(value))) }
    func add(_ further: [JSON.Member]) { members? += further.map { ($0.name, .done($0.value)) } }

    /// Where the next encoded value goes: into a new element of a list, otherwise here.
    private var next: Place {
        if elements == nil { return self }
        let place = Place(in: self)
        elements?.append(.open(place))
        return place
    }

    func put(_ value: JSON) {
        if elements == nil { plain = value } else { elements?.append(.done(value)) }
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        if members == nil {
            members = []
            members?.reserveCapacity(8)
        }
        return KeyedEncodingContainer(Members(place: self))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        elements = elements ?? []
        return self
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { self }

    func nestedContainer<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        next.container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { next.unkeyedContainer() }
    func superEncoder() -> any Encoder { next }

    func encodeNil() { put(.null) }
    func encode(_ value: Bool) { put(.bool(value)) }
    func encode(_ value: String) { put(.string(value)) }
    func encode(_ value: some Encodable & FixedWidthInteger) { put(.count(Int64(clamping: value))) }

    func encode(_ value: some Encodable & BinaryFloatingPoint) throws {
        guard value.isFinite else {
            throw EncodingError.invalidValue(
                value, .init(codingPath: codingPath, debugDescription: "JSON has no number for \(value)"))
        }
        put(.number(Double(value)))
    }

    func encode<T: Encodable>(_ value: T) throws {
        let place = next
        // A dictionary is one reference: no other value is worth the cast.
        place.keepsKeys = MemoryLayout<T>.size == MemoryLayout<[String: Int]>.size && value is any StringKeyed
        try value.encode(to: place)
    }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    private enum Parent: String, CodingKey { case `super` }

    let place: Place
    var codingPath: [any CodingKey] { place.codingPath }

    func encodeNil(forKey key: Key) { place.add(key, .null) }
    func encode(_ value: Bool, forKey key: Key) { place.add(key, .bool(value)) }
    func encode(_ value: String, forKey key: Key) { place.add(key, .string(value)) }
    func encode(_ value: some Encodable & FixedWidthInteger, forKey key: Key) {
        place.add(key, .count(Int64(clamping: value)))
    }

    func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
        guard T.self == JSON.Time.self, let time = value as? JSON.Time else {
            return try place.member(key).encode(value)
        }
        if time.wrappedValue != 0 { place.add(time.members(named: JSON.snakeCase(key.stringValue))) }
    }

    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> {
        place.member(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        place.member(key).unkeyedContainer()
    }

    func superEncoder() -> any Encoder { place.member(Parent.super) }
    func superEncoder(forKey key: Key) -> any Encoder { place.member(key) }
}
