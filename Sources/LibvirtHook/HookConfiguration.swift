import FDB
package import Policy
/// What a domain's XML does not tell the hook, from a file of lines `uplink BRIDGE PORT`, `port PCI PORT`, `state FOLDER`,
/// `ignore DOMAIN`, `interfaces bridged`, `gate on`, `neighbour BRIDGE INTERFACE[,...]`, `ip MAC ADDRESS[,...]`.
///
/// A word with blanks or `#` is written in double quotes, in which `\\` stands before a quote or itself; the name after `ignore`
/// may have blanks without them. Lines end as on Unix or on Windows, and a byte order mark is passed over.
package struct HookConfiguration: Hashable, Sendable {
    /// For each bridge the port towards other hosts.
    package var uplinks: [String: String] = [:]
    /// For each VF's PCI address, as `0000:03:00.2`, its port in the bridge, where devlink does not report it.
    package var ports: [String: String] = [:]
    /// The folder for journal and history; nil for the defaults of `fdbsteer`.
    package var state: String?
    /// Domains that the hook ignores.
    package var ignored: Set<String> = []
    /// Interfaces that are no half of a failover pair are guests with one port (`interfaces bridged`, not `interfaces pairs`); nil for
    /// the default, which is no.
    package var takesSingles: Bool?
    /// Guests are prepared with a gate (`prepare --gate`); nil for the default, which is no.
    package var hasGates: Bool?
    /// For each bridge the interfaces on which neighbours follow guests (`prepare --neighbour`).
    package var neighbours: [String: String] = [:]
    /// For each MAC the IP addresses of its guest (`prepare --ip`).
    package var ips: [String: String] = [:]
    /// What is wrong, with its line. Nothing is prepared then, because what the file means to say is not known.
    package var complaints: [String] = []

    /// An empty configuration.
    package init() {}

    /// Parses the bytes of the file; `#` begins a comment.
    package init(_ bytes: [UInt8]) {
        let mark: [UInt8] = [0xef, 0xbb, 0xbf]
        let text = bytes.starts(with: mark) ? bytes.dropFirst(mark.count) : bytes[...]
        for (number, line) in text.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            let line = line.last == 0x0d ? line.dropLast() : line
            if let problem = take(line) {
                complaints.append("line \(number + 1) \(problem): \(String(decoding: line.prefix(200), as: UTF8.self))")
            }
        }
    }

    /// Takes a line; returns what is wrong with it.
    private mutating func take(_ line: ArraySlice<UInt8>) -> String? {
        guard let words = HookConfiguration.words(line) else { return "has a quote that does not end" }
        let texts = words.map(\.text)
        switch (texts.first, texts.count) {
        case (nil, _): return nil
        case (_, 2...) where texts.contains(""): return "has an empty word"
        case ("uplink", 3): return set(\.uplinks, texts[1], texts[2])
        case ("port", 3):
            guard let address = HookConfiguration.pciAddress(texts[1]) else {
                return "names no PCI address such as 0000:03:00.2 or 03:00.2"
            }
            return set(\.ports, address, texts[2])
        case ("neighbour", 3): return set(\.neighbours, texts[1], texts[2])
        case ("ip", 3):
            guard let mac = MACAddress(texts[1]) else { return "names no MAC such as 52:54:00:12:34:56" }
            do { _ = try HookConfiguration.addresses(texts[2]) } catch { return "names no IP addresses: \(error)" }
            return set(\.ips, mac.description, texts[2])
        case ("state", 2):
            guard state == nil || state == texts[1] else { return "says otherwise than a line before" }
            state = texts[1]
        case ("interfaces", 2): return choose(\.takesSingles, texts[0], texts[1], ("bridged", "pairs"))
        case ("gate", 2): return choose(\.hasGates, texts[0], texts[1], ("on", "off"))
        case ("ignore", 2): ignored.insert(texts[1])
        case ("ignore", 3...) where !words.contains(where: \.isQuoted):
            guard let first = words.dropFirst().first, let last = words.last else { return "is not understood" }
            ignored.insert(String(decoding: line[first.start..<last.end], as: UTF8.self))
        default: return "is not understood"
        }
        return nil
    }

    /// IP addresses separated by commas.
    private static func addresses(_ text: String) throws(ControllerError) -> [AnnouncementRequest.Owned] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map { part throws(ControllerError) in
            try AnnouncementRequest.Owned(String(part))
        }
    }

    /// The IP addresses that the file names for a MAC.
    package func ips(of mac: String) -> [AnnouncementRequest.Owned] {
        MACAddress(mac).flatMap { ips[$0.description] }.flatMap { try? HookConfiguration.addresses($0) } ?? []
    }

    private mutating func choose(
        _ choice: WritableKeyPath<HookConfiguration, Bool?>, _ name: String, _ word: String, _ words: (String, String)
    ) -> String? {
        guard word == words.0 || word == words.1 else {
            return "is neither \"\(name) \(words.0)\" nor \"\(name) \(words.1)\""
        }
        if let old = self[keyPath: choice], old != (word == words.0) { return "says otherwise than a line before" }
        self[keyPath: choice] = word == words.0
        return nil
    }

    private mutating func set(
        _ list: WritableKeyPath<HookConfiguration, [String: String]>, _ key: String, _ value: String
    ) -> String? {
        if let old = self[keyPath: list][key], old != value { return "says otherwise than a line before" }
        self[keyPath: list][key] = value
        return nil
    }

    private struct Word {
        var bytes: [UInt8] = []
        var isQuoted = false
        var start: Int
        var end: Int
        var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// The words of a line up to a comment; nil if a quote does not end.
    private static func words(_ line: ArraySlice<UInt8>) -> [Word]? {
        var words: [Word] = []
        var index = line.startIndex
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        while index < line.endIndex {
            if isBlank(line[index]) {
                index += 1
                continue
            }
            if line[index] == UInt8(ascii: "#") { break }
            var word = Word(start: index, end: index)
            if line[index] == UInt8(ascii: "\"") {
                word.isQuoted = true
                index += 1
                while index < line.endIndex, line[index] != UInt8(ascii: "\"") {
                    if line[index] == UInt8(ascii: "\\"), index + 1 < line.endIndex { index += 1 }
                    word.bytes.append(line[index])
                    index += 1
                }
                guard index < line.endIndex else { return nil }
                index += 1
            } else {
                while index < line.endIndex, !isBlank(line[index]), line[index] != UInt8(ascii: "#") {
                    word.bytes.append(line[index])
                    index += 1
                }
            }
            word.end = index
            words.append(word)
        }
        return words
    }

    /// An address in the form of sysfs, `0000:03:00.2`, of one as lspci prints it, with or without its domain; nil for anything else.
    static func pciAddress(_ text: String) -> String? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || parts.count == 3, let last = parts.last else { return nil }
        let place = last.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        func number(_ text: String?, _ digits: ClosedRange<Int>) -> UInt32? {
            guard let text, digits.contains(text.utf8.count), text.utf8.first != UInt8(ascii: "+") else { return nil }
            return UInt32(text, radix: 16)
        }
        guard place.count == 2, let bus = number(parts[parts.count - 2], 1...2), let slot = number(place.first, 1...2),
            let function = number(place.last, 1...1), function < 8, slot < 32,
            let domain = parts.count == 3 ? number(parts[0], 1...8) : 0
        else { return nil }
        return pciAddress(domain: domain, bus: bus, slot: slot, function: function)
    }

    /// An address in the form of sysfs.
    static func pciAddress(domain: UInt32, bus: UInt32, slot: UInt32, function: UInt32) -> String {
        func hexadecimal(_ value: UInt32, _ digits: Int) -> String {
            let plain = String(value, radix: 16)
            return String(repeating: "0", count: max(0, digits - plain.count)) + plain
        }
        return "\(hexadecimal(domain, 4)):\(hexadecimal(bus, 2)):\(hexadecimal(slot, 2)).\(hexadecimal(function, 1))"
    }
}
