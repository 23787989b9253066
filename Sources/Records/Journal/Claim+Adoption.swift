package import FDB
package import Policy

/// Addresses that a guest got by asking for them. They are stored like other addresses, and also listed as adopted.
extension Claim {
    /// Created by the first adoption.
    private static let adoptionSchema = """
        CREATE TABLE IF NOT EXISTS adopted(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, mac INTEGER NOT NULL, vlan INTEGER NOT NULL,
            PRIMARY KEY (guest, mac, vlan)) WITHOUT ROWID;
        """

    /// The addresses that a guest got by asking.
    package var adopted: Set<Address> {
        let rows =
            (try? journal.database.run("SELECT mac, vlan FROM adopted WHERE guest = ?", .integer(record.row))) ?? []
        return Set(rows.compactMap { Address(columns: $0) })
    }

    /// Adds addresses to a guest; an address of another guest on the same bridge is refused.
    package func adopt(_ addresses: [Address]) throws(ControllerError) {
        let (journal, record) = (journal, record)
        for address in addresses {
            guard let owner = try journal.owner(of: address, bridge: record.guest.bridge.name) else { continue }
            throw ControllerError(.precondition, "address \(address) belongs to guest \(owner)")
        }
        try journal.writing(record.row) { () throws(DatabaseError) in
            try journal.database.execute(Claim.adoptionSchema)
            for address in addresses {
                try journal.database.run(
                    "INSERT INTO address(guest, namespace, bridge, mac, vlan) VALUES(?,?,?,?,?)",
                    [.integer(record.row), .integer(record.namespace), .text(record.guest.bridge.name)]
                        + address.columns)
                try journal.database.run(
                    "INSERT INTO adopted VALUES(?,?,?)", [.integer(record.row)] + address.columns)
            }
            try journal.countWrite(row: record.row)
        }
    }

    /// Takes adopted addresses away from a guest.
    package func drop(_ addresses: [Address]) throws(ControllerError) {
        let (journal, record) = (journal, record)
        try journal.writing(record.row) { () throws(DatabaseError) in
            for address in addresses {
                let parameters: [SQLValue] = [.integer(record.row)] + address.columns
                try journal.database.run("DELETE FROM address WHERE guest = ? AND mac = ? AND vlan = ?", parameters)
                try journal.database.run("DELETE FROM adopted WHERE guest = ? AND mac = ? AND vlan = ?", parameters)
            }
            try journal.countWrite(row: record.row)
        }
    }
}
