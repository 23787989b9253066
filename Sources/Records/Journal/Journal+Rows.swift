import FDB
package import Policy
import Switchdev

/// Conversion of the journal's rows to records.
extension Journal {
    private static let columns =
        "id, name, side, phase, goal, sticky, boot, namespace, proof, kind, opened_ns, means, owns_clsact, revision"

    /// Reads guests with three statements, whatever their number, in one transaction: the results are consistent, and the file
    /// is locked once.
    package func load(_ condition: String, _ parameters: [SQLValue] = []) throws(ControllerError) -> [GuestRecord] {
        try reading { () throws(DatabaseError) in
            try database.run("BEGIN")
            // The transaction only reads, so a failed COMMIT changes nothing.
            defer { _ = try? database.run("COMMIT") }
            let rows = try database.run(
                "SELECT \(Journal.columns) FROM guest LEFT JOIN bracket ON bracket.guest = guest.id \(condition)",
                parameters)
            if rows.isEmpty { return [] }
            // One guest, as a redirection reads it, needs only simpler statements.
            let one = rows.count == 1 ? rows[0].integer(0) : nil
            let chosen = one == nil ? "IN (SELECT id FROM guest \(condition))" : "= ?"
            let parameters = one.map { [.integer($0)] } ?? parameters
            let ports = try database.run(
                "SELECT role, name, ifindex, eswitch, learning, backup, guest FROM port WHERE guest \(chosen)",
                parameters)
            let addresses = try database.run(
                "SELECT mac, vlan, guest FROM address WHERE guest \(chosen) ORDER BY namespace, bridge, mac, vlan",
                parameters)
            var records: [GuestRecord] = []
            if rows.count == 1 {
                // A redirection reads one guest, and needs no dictionaries.
                if let record = Journal.record(rows[0], ports: ports, addresses: addresses) { records = [record] }
            } else {
                let portsOf = Dictionary(grouping: ports) { $0.integer(6) ?? 0 }
                let addressesOf = Dictionary(grouping: addresses) { $0.integer(2) ?? 0 }
                records = rows.compactMap { row in
                    let number = row.integer(0) ?? 0
                    return Journal.record(row, ports: portsOf[number] ?? [], addresses: addressesOf[number] ?? [])
                }
            }
            for index in records.indices {
                records[index] = withIntent(records[index])
                // The port to a NIC in legacy mode is shared, so the entries of these guests are always sticky.
                if records[index].guest.isSticky { records[index].guest.nic = try loadNIC(row: records[index].row) }
            }
            try known.read(records, from: database)
            return records
        }
    }

    /// Makes a record from its rows.
    private static func record(_ row: [SQLValue], ports portRows: [[SQLValue]], addresses rows: [[SQLValue]])
        -> GuestRecord?
    {
        guard let number = row.integer(0), let name = row.text(1), let id = try? GuestID(name),
            let side = row.text(2).flatMap(Side.init), let phase = row.text(3).flatMap(GuestPhase.init),
            let boot = row.text(6), let namespace = row.integer(7)
        else { return nil }
        let ports = portRows.compactMap { port -> (role: String, port: PortIdentity)? in
            guard let role = port.text(0), let name = port.text(1), let index = port.integer(2) else { return nil }
            let identity = PortIdentity(
                name: name, index: Int32(truncatingIfNeeded: index), isEswitchPort: port.integer(3) == 1,
                learningToRestore: port.integer(4) == 1, backupToClear: port.integer(5) == 1)
            return (role, identity)
        }
        func port(_ role: String) -> PortIdentity? { ports.first { $0.role == role }?.port }
        let addresses = rows.compactMap { Address(columns: $0) }
        guard let bridge = port("bridge"), let primary = port("primary"), let standby = port("standby") else {
            return nil
        }
        var guest = GuestInterface(
            id: id, bridge: bridge, primary: primary, standby: standby, uplink: port("uplink"),
            addresses: addresses, side: side, isSticky: row.integer(5) == 1)
        guest.kind = row.text(9).flatMap(GuestKind.init) ?? .unknown
        var record = GuestRecord(
            row: number, guest: guest, phase: phase, goal: row.text(4).flatMap(Side.init), boot: boot,
            namespace: namespace, proof: row.text(8).flatMap(OffloadProof.Status.init) ?? .missing,
            revision: row.integer(13) ?? 0)
        if let opened = row.integer(10), let means = row.text(11).flatMap(CopyMeans.init) {
            record.bracket = Bracket(openedAt: opened, means: means, ownsClsact: row.integer(12) == 1)
        }
        return record
    }

    /// Row, side, phase, proof, boot, number of addresses and revision of each guest in this network namespace.
    package func rowsOfTallies() throws(ControllerError) -> [[SQLValue]] {
        try reading { () throws(DatabaseError) in
            try database.run(
                "SELECT id, side, phase, proof, boot, (SELECT count(*) FROM address WHERE guest = guest.id), "
                    + "revision FROM guest "
                    + "WHERE namespace = ? ORDER BY id", .integer(namespace))
        }
    }

    /// A number that changes when another connection has written.
    package func dataVersion() throws(ControllerError) -> Int64 {
        try reading { () throws(DatabaseError) in try database.dataVersion() }
    }

    /// What a guest waits for.
    package func wait(of guest: String) -> WaitView? {
        guard
            let row = try? database.run(
                "SELECT signals, since, until FROM wait JOIN guest ON guest.id = wait.guest WHERE name = ?",
                .text(guest)
            ).first, let signals = row.text(0), let since = row.integer(1), let until = row.integer(2)
        else { return nil }
        return WaitView(signals: signals.split(separator: "\n").map(String.init), since: since, until: until)
    }

    // MARK: - NICs in legacy mode

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
            order: columns.text(5).flatMap(FilterOrder.init) ?? .makeBeforeBreak)
    }
}

extension Address {
    /// The columns `mac` and `vlan` of the journal; VLAN 0 stands for none.
    var columns: [SQLValue] { [.integer(Int64(mac.value)), .integer(Int64(vlan?.rawValue ?? 0))] }

    /// - Parameter columns: begin with ``columns``.
    init?(columns: [SQLValue]) {
        guard let mac = columns.integer(0), let vlan = columns.integer(1),
            let address = try? Address(
                mac: MACAddress(value: UInt64(bitPattern: mac)),
                vlan: VLANID(rawValue: UInt16(truncatingIfNeeded: vlan)))
        else { return nil }
        self = address
    }
}
