package import Policy
package import Switchdev

/// A stored verdict: it applies to every NIC with the same identity.
package struct StoredVerdict: Hashable, Sendable, Encodable {
    /// The NIC.
    package let nic: NICIdentity
    /// The time of the probe, in nanoseconds since 1970.
    package let timeNanoseconds: Int64
    /// The verdict.
    package let verdict: MACFilterVerdict
    /// The evidence.
    package let states: [MACFilterCounts]

    /// Makes a stored verdict from its fields.
    package init(nic: NICIdentity, timeNanoseconds: Int64, verdict: MACFilterVerdict, states: [MACFilterCounts]) {
        self.nic = nic
        self.timeNanoseconds = timeNanoseconds
        self.verdict = verdict
        self.states = states
    }

    /// The verdict in words.
    package var words: [String] { verdict.words }
}

extension History {
    /// Created when the first verdict is stored; one row for each NIC identity, with the newest verdict.
    private static let verdictTable = """
        CREATE TABLE IF NOT EXISTS verdict(
            driver TEXT NOT NULL, pci_id TEXT NOT NULL, firmware TEXT NOT NULL, eswitch_mode TEXT NOT NULL,
            time_ns INTEGER NOT NULL, flags TEXT NOT NULL, counts TEXT NOT NULL,
            PRIMARY KEY (driver, pci_id, firmware, eswitch_mode)) WITHOUT ROWID
        """

    package func store(_ stored: StoredVerdict) throws(DatabaseError) {
        try database.execute(History.verdictTable)
        try database.run(
            "INSERT OR REPLACE INTO verdict VALUES(?,?,?,?,?,?,?)", .text(stored.nic.driver), .text(stored.nic.pciID),
            .text(stored.nic.firmware), .text(stored.nic.eswitchMode), .integer(stored.timeNanoseconds),
            .text(stored.verdict.record), .text(stored.states.map(\.record).joined(separator: "\n")))
    }

    /// Every verdict, by NIC.
    package func verdicts() throws(DatabaseError) -> [StoredVerdict] {
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
