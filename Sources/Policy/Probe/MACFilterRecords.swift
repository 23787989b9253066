extension MACFilterVerdict {
    /// The form in the history: one letter a finding, then usability and order.
    package var record: String {
        func letter(_ flag: Bool?) -> String { flag.map { $0 ? "y" : "n" } ?? "-" }
        let flags = [
            earlyFilter, staleFilter, duplicates, loopbackBlackhole, entryWinsOverUnreadVF, clearingWorks, lateMACWorks,
            promiscuityHelps, unknownReachesPF,
        ]
        return flags.map(letter).joined() + " \(usableForFailover.rawValue) \(order.rawValue)"
    }

    /// - Returns: nil if the text is not in the form of ``record``.
    package init?(record: String) {
        let words = record.split(separator: " ")
        guard words.count == 3, words[0].count == 9, let usability = Usability(rawValue: String(words[1])),
            let order = Order(rawValue: String(words[2]))
        else { return nil }
        let flags = words[0].map { letter -> Bool? in letter == "-" ? nil : letter == "y" }
        earlyFilter = flags[0] ?? false
        staleFilter = flags[1] ?? false
        duplicates = flags[2] ?? false
        loopbackBlackhole = flags[3]
        entryWinsOverUnreadVF = flags[4]
        clearingWorks = flags[5] ?? false
        lateMACWorks = flags[6] ?? false
        promiscuityHelps = flags[7]
        unknownReachesPF = flags[8] ?? false
        usableForFailover = usability
        self.order = order
    }
}

extension MACFilterCounts {
    /// The form in the history: words and numbers.
    package var record: String {
        let flags = (parts.isLate ? "l" : "-") + (parts.isPromiscuous ? "p" : "-") + (tagged ? "t" : "-")
        let counters = [pfCounter, vfCounter].map { $0.map(String.init) ?? "-" }.joined(separator: " ")
        return
            "\(parts.phase.rawValue) \(parts.placement.rawValue) \(flags) \(source.rawValue) \(sent) \(pf) \(vf) \(wire) "
            + "\(both) \(nowhere) \(counters)"
    }

    /// - Returns: nil if the text is not in the form of ``record``.
    package init?(record: String) {
        let words = record.split(separator: " ").map(String.init)
        let numbers = words.dropFirst(4).prefix(6).compactMap { Int($0) }
        guard words.count == 12, numbers.count == 6, let phase = MACFilterProbe.Phase(rawValue: words[0]),
            let placement = MACFilterProbe.Placement(rawValue: words[1]), let source = Source(rawValue: words[3]),
            words.suffix(2).allSatisfy({ $0 == "-" || UInt64($0) != nil })
        else { return nil }
        let flags = words[2]
        self.init(
            .init(phase, placement, isLate: flags.contains("l"), isPromiscuous: flags.contains("p")), from: source,
            tagged: flags.contains("t"), sent: numbers[0], pf: numbers[1], vf: numbers[2], wire: numbers[3],
            both: numbers[4], nowhere: numbers[5])
        pfCounter = UInt64(words[10])
        vfCounter = UInt64(words[11])
    }
}
