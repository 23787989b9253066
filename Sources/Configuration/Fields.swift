import FDB
import Policy
import System

/// The keys of one table, taken one by one; the remaining ones are unknown keys.
struct Fields {
    private let path: String
    private let table: Table
    private var known: [String] = []

    /// - Parameters:
    ///   - table: the keys and values.
    ///   - path: the table's name in messages, "" for the outermost.
    init(_ table: Table, path: String) {
        self.table = table
        self.path = path
    }

    /// The full name of a key.
    func name(_ key: String) -> String { path.isEmpty ? key : path + "." + key }

    /// The line of a key; nil if it is missing.
    func line(_ key: String) -> Int? { table.entries[key]?.line }

    /// Takes a key's value if it is present and valid.
    mutating func take<T>(_ key: String, _ kind: Kind<T>, _ problems: inout Problems) -> T? {
        known.append(key)
        guard let entry = table.entries[key] else { return nil }
        guard let value = kind.convert(entry.node) else {
            let fault = kind.fault(entry.node) ?? " must be \(kind.words), not \(entry.node.words)"
            problems.add(line: entry.line, name(key) + fault)
            return nil
        }
        return value
    }

    /// Takes a key's value into a variable, which is unchanged if the key is missing or invalid.
    mutating func take<T>(_ key: String, _ kind: Kind<T>, into variable: inout T, _ problems: inout Problems) {
        if let value = take(key, kind, &problems) { variable = value }
    }

    /// Takes a key's value into an optional variable.
    mutating func take<T>(_ key: String, _ kind: Kind<T>, into variable: inout T?, _ problems: inout Problems) {
        if let value = take(key, kind, &problems) { variable = value }
    }

    /// Reports the keys that were not taken.
    func finish(_ problems: inout Problems) {
        let unknown = table.entries.filter { !known.contains($0.key) }
        for (key, entry) in unknown.sorted(by: { $0.value.line < $1.value.line }) {
            let suggestion =
                Nearest.question(to: key, in: known).map { "; \($0)" } ?? "; there are "
                + known.joined(separator: ", ")
            problems.add(line: entry.line, "\(name(String(key.prefix(80)))) is unknown" + suggestion)
        }
    }
}

/// The type of value that a key accepts.
struct Kind<Value> {
    /// The type in words, to follow "must be".
    let words: String
    /// What is wrong with one element of an array, to follow the key: `[1]: ...`; nil for other faults.
    var fault: (Node) -> String? = { _ in nil }
    /// Converts a value; nil if it is not of this type.
    let convert: (Node) -> Value?

    /// An array of strings.
    ///
    /// - Parameters:
    ///   - words: the type in words.
    ///   - count: how many elements it may have.
    ///   - element: converts one element; the error it throws says why that one cannot be used.
    static func array<Element>(
        _ words: String, _ count: ClosedRange<Int>, _ element: @escaping (String) throws -> Element
    ) -> Kind where Value == [Element] {
        func fault(_ node: Node) -> String? {
            guard case .array(let nodes) = node, count.contains(nodes.count) else { return nil }
            for (index, node) in nodes.enumerated() {
                guard case .string(let text) = node, !text.utf8.contains(0) else {
                    return "[\(index)] must be a string, not \(node.words)"
                }
                do { _ = try element(text) } catch { return "[\(index)]: \(error)" }
            }
            return nil
        }
        return Kind(words: words, fault: fault) { node in
            guard case .array(let nodes) = node, count.contains(nodes.count), fault(node) == nil else { return nil }
            return nodes.compactMap { node in if case .string(let text) = node { try? element(text) } else { nil } }
        }
    }
}

/// Why a text cannot be an element of an array.
private struct Unusable: Error, CustomStringConvertible {
    let description: String
}

extension Kind where Value == String {
    /// An absolute path of at most `most` bytes, which the kernel limits for sockets.
    static func path(_ what: String, most: Int = 4095) -> Kind {
        Kind(words: "the absolute path of \(what), at most \(most) bytes") { node in
            guard case .string(let text) = node, text.hasPrefix("/"), text.utf8.count <= most, !text.utf8.contains(0)
            else { return nil }
            return text
        }
    }

    /// The name of an interface, or an alternative one, which has at most 127 bytes (ALTIFNAMSIZ).
    static var interface: Kind { name("an interface's name", most: 127) }

    /// The name of a bridge port, as `prepare` takes it: an interface, an alternative name, `pf0vf3` or `pci/ADDRESS`.
    static var port: Kind {
        name("a bridge port's name, such as \"tap0\", \"pf0vf3\" or \"pci/0000:03:00.5\"", most: 127)
    }

    private static func name(_ what: String, most: Int) -> Kind {
        Kind(words: "\(what), at most \(most) bytes") { node in
            guard case .string(let text) = node, (1...most).contains(text.utf8.count),
                text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f })
            else { return nil }
            return text
        }
    }

    /// A word that QEMU accepts as a device's id.
    static var deviceID: Kind {
        Kind(words: "the id of a QEMU device: letters, digits, '-', '.', '_', '/', at most 255") { node in
            guard case .string(let text) = node, (1...255).contains(text.utf8.count) else { return nil }
            let isUsable = text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
                    || [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "/")].contains(byte)
            }
            return isUsable ? text : nil
        }
    }

    /// libvirt's name of a domain, which virsh prints between apostrophes.
    static var domain: Kind {
        Kind(words: "libvirt's name of a domain: 1 to 255 bytes on one line, without \"'\"") { node in
            guard case .string(let text) = node, (1...255).contains(text.utf8.count) else { return nil }
            return text.utf8.contains { $0 < 0x20 || $0 == UInt8(ascii: "'") } ? nil : text
        }
    }
}

extension Kind where Value == [String] {
    /// A program and its arguments.
    static var command: Kind {
        Kind(words: "an array of 1 to 64 strings: a program and its arguments") { node in
            guard case .array(let nodes) = node, (1...64).contains(nodes.count) else { return nil }
            let words = nodes.compactMap { node -> String? in
                if case .string(let text) = node, !text.utf8.contains(0) { text } else { nil }
            }
            return words.count == nodes.count && words.first?.isEmpty == false ? words : nil
        }
    }

    /// Interfaces.
    static var interfaces: Kind {
        array("an array of 1 to 64 interfaces' names", 1...64) { text in
            let name = Kind<String>.interface
            guard let name = name.convert(.string(text)) else {
                throw Unusable(description: "\"\(text)\" is not \(name.words)")
            }
            return name
        }
    }
}

extension Kind where Value == [Address] {
    /// The guest's addresses.
    static var macs: Kind {
        array("an array of strings MAC or MAC/VLAN, such as [\"52:54:00:12:34:56\"]", 1...Int.max) { text in
            let address = try Address(text)
            if Sentinel.isSentinel(address.mac) {
                throw Unusable(
                    description: "\(address) has the prefix 02:fd:b5, which fdbsteer keeps for its sentinels")
            }
            return address
        }
    }
}

extension Kind where Value == Bool {
    static var flag: Kind {
        Kind(words: "true or false") { node in if case .boolean(let flag) = node { flag } else { nil } }
    }
}

extension Kind where Value == Int {
    static func integer(_ range: ClosedRange<Int>, of unit: String) -> Kind {
        Kind(words: "a whole number of \(unit) from \(range.lowerBound) to \(range.upperBound)") { node in
            guard case .integer(let number) = node, let number = Int(exactly: number), range.contains(number) else {
                return nil
            }
            return number
        }
    }
}

extension Kind where Value == Int64 {
    /// A duration as text, in nanoseconds.
    static func duration(_ range: ClosedRange<Int64>) -> Kind {
        let bounds = "\(DurationText.text(range.lowerBound)) to \(DurationText.text(range.upperBound))"
        return Kind(words: "a duration from \(bounds) as text, such as \"90s\"") { node in
            guard case .string(let text) = node, let nanoseconds = DurationText.nanoseconds(text),
                range.contains(nanoseconds)
            else { return nil }
            return nanoseconds
        }
    }
}

extension Kind where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    static var word: Kind {
        let words = Value.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
        return Kind(words: "one of \(words)") { node in
            if case .string(let text) = node { Value(rawValue: text) } else { nil }
        }
    }
}

extension Kind where Value == [AnnouncementRequest.Owned] {
    static var addresses: Kind {
        array("an array of at most 64 strings IP or IP=MAC[/VLAN]", 0...64) { try AnnouncementRequest.Owned($0) }
    }
}
