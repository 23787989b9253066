import FDB
package import Policy

extension Journal {
    private static let legacyTable = """
        CREATE TABLE IF NOT EXISTS legacy(
            guest INTEGER PRIMARY KEY REFERENCES guest(id) ON DELETE CASCADE, pf TEXT NOT NULL, ifindex INTEGER NOT NULL,
            vf INTEGER NOT NULL, had_entry INTEGER NOT NULL,
            had_mac INTEGER NOT NULL, filter_order TEXT NOT NULL)
        """

    package func insert(_ nic: LegacyNIC, row: Int64) throws(DatabaseError) {
        try database.execute(Journal.legacyTable)
        try database.run(
            "INSERT INTO legacy VALUES(?,?,?,?,?,?,?)", .integer(row), .text(nic.pf.name),
            .integer(Int64(nic.pf.index)),
            .integer(Int64(nic.vf)), .integer(nic.hadEntry ? 1 : 0),
            .integer(Int64(nic.hadMAC.value)), .text(nic.order.rawValue))
    }

    package func loadNIC(row: Int64) throws(DatabaseError) -> LegacyNIC? {
        guard try database.hasTable("legacy") else { return nil }
        guard
            let columns = try database.run(
                "SELECT pf, ifindex, vf, had_entry, had_mac, filter_order FROM legacy WHERE guest = ?", .integer(row)
            ).first, let name = columns.text(0), let index = columns.integer(1), let vf = columns.integer(2)
        else { return nil }
        return LegacyNIC(
            pf: PortIdentity(name: name, index: Int32(truncatingIfNeeded: index), isEswitchPort: false),
            vf: UInt32(truncatingIfNeeded: vf), hadEntry: columns.integer(3) == 1,
            hadMAC: MACAddress(value: UInt64(bitPattern: columns.integer(4) ?? 0)),
            order: columns.text(5).flatMap(MACFilterVerdict.Order.init) ?? .makeBeforeBreak)
    }
}
