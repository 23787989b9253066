import JSON

extension QMPEvent {
    /// Parses a line of `virsh qemu-monitor-event --loop`, with or without `--timestamp`.
    ///
    /// The lines are `event NAME at SECONDS.MICROS for domain 'DOMAIN': DATA`, or with a time before them and none after the
    /// name (virsh of libvirt 9.0). libvirt owns the monitors of its guests; this gives its users the same signals.
    ///
    /// virsh quotes nothing: a domain's name and the data may contain what ends the name. The name ends where the rest of the line is
    /// an object of JSON, or nothing. That is so at one place at most: inside an object an apostrophe stands in a string, and what
    /// follows it there has an odd number of quotation marks.
    ///
    /// - Returns: the event and the domain's name; nil for any other line.
    public static func virsh(line: some StringProtocol) -> (event: QMPEvent, domain: String)? {
        let bytes = Array(line.utf8)
        guard let start = bytes.starts(with: "event ".utf8) ? 6 : index(after: ": event ", in: bytes[...]) else {
            return nil
        }
        let name = bytes[start...].prefix { $0 != 0x20 }
        guard !name.isEmpty, let domain = index(after: " for domain '", in: bytes[name.endIndex...]) else { return nil }
        var end = domain
        var content: JSON?
        for _ in 0..<mostQuotes where content == nil {
            guard let next = index(after: "': ", in: bytes[end...]) else { break }
            end = next
            content = data(bytes[next...])
        }
        guard let content else { return nil }
        let middle = String(decoding: bytes[name.endIndex..<domain], as: UTF8.self).split(separator: " ")
        return (
            QMPEvent(
                Name(rawValue: String(decoding: name, as: UTF8.self)), time: time(middle), data: content),
            String(decoding: bytes[domain..<(end - 3)], as: UTF8.self)
        )
    }

    /// So many places of a line may end a domain's name: each costs a reading of the rest.
    private static let mostQuotes = 16

    /// What `at SECONDS.MICROS` says.
    private static func time(_ words: [Substring]) -> Int64? {
        guard words.first == "at", words.count > 1 else { return nil }
        let parts = words[1].split(separator: ".")
        let stamp = parts.compactMap { Int64($0) }
        guard parts.count == 2, stamp.count == 2 else { return nil }
        return time(.object([.init("seconds", .integer(stamp[0])), .init("microseconds", .integer(stamp[1]))]))
    }

    /// The data of an event, an object or nothing; nil for everything else.
    private static func data(_ bytes: ArraySlice<UInt8>) -> JSON? {
        let details = bytes.drop { $0 == 0x20 }.prefix { $0 != 0x0a && $0 != 0x0d }
        if details.isEmpty || details.elementsEqual("(null)".utf8) || details.elementsEqual("<null>".utf8) {
            return .null
        }
        guard details.first == UInt8(ascii: "{"), let value = details.withUnsafeBytes({ JSON($0) }),
            case .object = value
        else { return nil }
        return value
    }

    /// The index after the first occurrence of a text; nil if it does not occur.
    private static func index(after text: String, in bytes: ArraySlice<UInt8>) -> Int? {
        let wanted = Array(text.utf8)
        var index = bytes.startIndex
        while index + wanted.count <= bytes.endIndex {
            if bytes[index] == wanted[0], bytes[index...].starts(with: wanted) { return index + wanted.count }
            index += 1
        }
        return nil
    }
}
