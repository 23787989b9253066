import Exposition
public import Switchdev

/// A verdict that was stored: it holds for every NIC of the same identity.
public struct StoredVerdict: Hashable, Sendable, Encodable {
    /// The NIC.
    public let nic: NICIdentity
    /// When it was found, in nanoseconds since 1970.
    public let timeNanoseconds: Int64
    /// The verdict.
    public let verdict: MACFilterVerdict
    /// The evidence.
    public let states: [MACFilterCounts]

    /// The verdict in words.
    public var words: [String] { verdict.words }
}

extension History {
    /// Made when the first verdict is stored; one row a NIC identity, the newest verdict.
    private static let verdictTable = """
        CREATE TABLE IF NOT EXISTS verdict(
            driver TEXT NOT NULL, pci_id TEXT NOT NULL, firmware TEXT NOT NULL, eswitch_mode TEXT NOT NULL,
            time_ns INTEGER NOT NULL, flags TEXT NOT NULL, counts TEXT NOT NULL,
            PRIMARY KEY (driver, pci_id, firmware, eswitch_mode)) WITHOUT ROWID
        """

    func store(_ stored: StoredVerdict) throws(DatabaseError) {
        try database.execute(History.verdictTable)
        try database.run(
            "INSERT OR REPLACE INTO verdict VALUES(?,?,?,?,?,?,?)", .text(stored.nic.driver), .text(stored.nic.pciID),
            .text(stored.nic.firmware), .text(stored.nic.eswitchMode), .integer(stored.timeNanoseconds),
            .text(stored.verdict.record), .text(stored.states.map(\.record).joined(separator: "\n")))
    }

    /// Every verdict, by NIC.
    func verdicts() throws(DatabaseError) -> [StoredVerdict] {
        guard try database.hasTable("verdict") else { return [] }
        return try database.run(
            "SELECT driver, pci_id, firmware, eswitch_mode, time_ns, flags, counts FROM verdict ORDER BY 1, 2, 3, 4"
        ).compactMap { row in
            guard let driver = row.text(0), let pciID = row.text(1), let firmware = row.text(2), let mode = row.text(3),
                let time = row.integer(4), let verdict = row.text(5).flatMap(MACFilterVerdict.init(record:)),
                let counts = row.text(6)
            else { return nil }
            return StoredVerdict(
                nic: NICIdentity(driver: driver, pciID: pciID, firmware: firmware, eswitchMode: mode),
                timeNanoseconds: time, verdict: verdict,
                states: counts.split(separator: "\n").compactMap { MACFilterCounts(record: String($0)) })
        }
    }
}

extension Host {
    /// Every verdict that was stored on this host.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the history cannot be read.
    public func verdicts() throws(ControllerError) -> [StoredVerdict] {
        guard folder.hasHistory else { return [] }
        do throws(DatabaseError) {
            return try History(folder: folder, readOnly: true).verdicts()
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
    }

    /// The verdict about NICs of an identity; nil when none was probed.
    public func verdict(of nic: NICIdentity) throws(ControllerError) -> StoredVerdict? {
        try verdicts().first { $0.nic == nic }
    }

    /// Stores what a probe found; a failure is only a note.
    func store(_ report: ProbeReport) -> String? {
        guard let verdict = report.verdict else { return nil }
        do throws(DatabaseError) {
            try History(folder: folder).store(
                StoredVerdict(
                    nic: report.nic, timeNanoseconds: Stopwatch.realTime, verdict: verdict, states: report.states))
            return nil
        } catch {
            return "the verdict was not stored: \(error)"
        }
    }
}

extension MACFilterVerdict {
    /// As the history keeps it: one letter a finding, then usability and order.
    var record: String {
        func letter(_ flag: Bool?) -> String { flag.map { $0 ? "y" : "n" } ?? "-" }
        let flags = [
            earlyFilter, staleFilter, duplicates, loopbackBlackhole, entryWinsOverUnreadVF, clearingWorks, lateMACWorks,
            promiscuityHelps, unknownReachesPF,
        ]
        return flags.map(letter).joined() + " \(usableForFailover.rawValue) \(order.rawValue)"
    }

    /// - Returns: nil when it is not what ``record`` makes.
    init?(record: String) {
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
    /// As the history keeps it: words and numbers.
    var record: String {
        let flags = (parts.isLate ? "l" : "-") + (parts.isPromiscuous ? "p" : "-") + (tagged ? "t" : "-")
        let counters = [pfCounter, vfCounter].map { $0.map(String.init) ?? "-" }.joined(separator: " ")
        return
            "\(parts.phase.rawValue) \(parts.placement.rawValue) \(flags) \(source.rawValue) \(sent) \(pf) \(vf) \(wire) "
            + "\(both) \(nowhere) \(counters)"
    }

    /// - Returns: nil when it is not what ``record`` makes.
    init?(record: String) {
        let words = record.split(separator: " ").map(String.init)
        let numbers = words.dropFirst(4).prefix(6).compactMap { Int($0) }
        guard words.count == 12, numbers.count == 6, let phase = MACFilterProbe.Phase(rawValue: words[0]),
            let placement = MACFilterProbe.Placement(rawValue: words[1]), let source = Source(rawValue: words[3])
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

extension StoredVerdict {
    /// The metrics of verdicts about distinct NICs: 1 for what is so.
    static func families(_ verdicts: [StoredVerdict]) -> [MetricFamily] {
        let kind: [LabelName] = ["driver", "pci_id", "firmware", "eswitch_mode"]
        var usable = MetricFamily(
            "fdbsteer_nic_usable_for_failover", .gauge,
            help: "Whether NICs of a kind were found usable for failover, by verdict.", labels: kind + ["verdict"])
        var findings = MetricFamily(
            "fdbsteer_nic_mac_filter", .gauge, help: "Findings of the MAC filter probe about NICs of a kind.",
            labels: kind + ["finding"])
        for stored in verdicts {
            let (nic, verdict) = (stored.nic, stored.verdict)
            for usability in [MACFilterVerdict.Usability.yes, .withCare, .no] {
                usable.set(
                    verdict.usableForFailover == usability ? 1 : 0, nic.driver, nic.pciID, nic.firmware,
                    nic.eswitchMode, usability.rawValue)
            }
            let known: [(String, Bool?)] = [
                ("early_filter", verdict.earlyFilter), ("stale_filter", verdict.staleFilter),
                ("duplicates", verdict.duplicates), ("loopback_blackhole", verdict.loopbackBlackhole),
            ]
            for case (let name, let value?) in known {
                findings.set(value ? 1 : 0, nic.driver, nic.pciID, nic.firmware, nic.eswitchMode, name)
            }
        }
        return [usable, findings]
    }
}
