import CNetlink
package import FDB
package import Policy
import Switchdev
import System

/// The state of a NIC before a probe: everything that the probe may change. It is written to the journal before the first
/// change.
package struct NICSnapshot: Hashable {
    /// A VF.
    package struct Function: Hashable {
        /// The number of the VF.
        package let number: UInt32
        /// The PCI address.
        package let device: String
        /// The MAC that was set for the VF; all zero for none.
        package let mac: MACAddress
        /// The driver that was bound to the VF.
        package let driver: String?
        /// The only driver that may bind to the VF (`driver_override`).
        package let override: String?
        /// The netdev of the VF's driver, in this namespace.
        package let interface: String?
        /// That netdev was up.
        package let isUp: Bool

        /// Makes a VF from its fields.
        package init(
            number: UInt32, device: String, mac: MACAddress, driver: String?, override: String?, interface: String?,
            isUp: Bool
        ) {
            self.number = number
            self.device = device
            self.mac = mac
            self.driver = driver
            self.override = override
            self.interface = interface
            self.isUp = isUp
        }
    }

    /// The PF's netdev and its interface index.
    package let pf: String
    package let pfIndex: Int32
    /// The address to probe.
    package let address: Address
    /// The VF to probe.
    package let function: Function
    /// Another VF, which sends frames.
    package let sibling: Function?

    /// Makes a snapshot from its fields.
    package init(pf: String, pfIndex: Int32, address: Address, function: Function, sibling: Function?) {
        self.pf = pf
        self.pfIndex = pfIndex
        self.address = address
        self.function = function
        self.sibling = sibling
    }

    /// The prefix of the names of VLAN devices that a probe creates.
    package static let vlanPrefix = "fdbsprobe"
}

extension NICSnapshot {
    /// The form in the journal: a line for the NIC, then one for each VF.
    package var record: String {
        let lines =
            [[pf, "\(pfIndex)", address.description]]
            + [function, sibling].compactMap { $0 }.map { function in
                [
                    "\(function.number)", function.device, function.mac.description, function.driver ?? "-",
                    function.override ?? "-", function.interface ?? "-", function.isUp ? "up" : "down",
                ]
            }
        return lines.map { $0.joined(separator: " ") }.joined(separator: "\n")
    }

    /// - Returns: nil if the text is not in the form of ``record``.
    package init?(record: String) {
        let lines = record.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        guard let first = lines.first, first.count == 3, let index = Int32(first[1]),
            let address = try? Address(first[2])
        else { return nil }
        var functions: [Function] = []
        for words in lines.dropFirst() {
            guard words.count == 7, let number = UInt32(words[0]), let mac = MACAddress(words[2]) else { return nil }
            func word(_ index: Int) -> String? { words[index] == "-" ? nil : words[index] }
            functions.append(
                Function(
                    number: number, device: words[1], mac: mac, driver: word(3), override: word(4),
                    interface: word(5), isUp: words[6] == "up"))
        }
        guard let function = functions.first, functions.count <= 2 else { return nil }
        self.init(
            pf: first[0], pfIndex: index, address: address, function: function,
            sibling: functions.count == 2 ? functions[1] : nil)
    }
}

/// A probe that has not finished, as the journal keeps it.
package struct ProbeRecord {
    private let journal: Journal
    private let row: Int64
    package let boot: String
    package let snapshot: NICSnapshot

    /// The byte of the lock file, after those of the guests.
    private var byte: Int64 { 1 << 40 + row }

    private static let table = """
        CREATE TABLE IF NOT EXISTS probe(
            id INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, namespace INTEGER NOT NULL, snapshot TEXT NOT NULL)
        """

    /// The probes of a journal's network namespace that have not finished.
    package static func all(in journal: Journal) throws(ControllerError) -> [ProbeRecord] {
        try journal.reading { () throws(DatabaseError) in
            guard try journal.database.hasTable("probe") else { return [] }
            return try journal.database.run(
                "SELECT id, boot, snapshot FROM probe WHERE namespace = ? ORDER BY id", .integer(journal.namespace)
            ).compactMap { row in
                guard let number = row.integer(0), let boot = row.text(1),
                    let snapshot = row.text(2).flatMap(NICSnapshot.init(record:))
                else { return nil }
                return ProbeRecord(journal: journal, row: number, boot: boot, snapshot: snapshot)
            }
        }
    }

    /// Records the state of a NIC before a probe changes it, and locks the record.
    package static func begin(_ snapshot: NICSnapshot, in journal: Journal) throws(ControllerError) -> ProbeRecord {
        var row: Int64 = 0
        try journal.writing { () throws(DatabaseError) in
            try journal.database.execute(ProbeRecord.table)
            try journal.database.run(
                "INSERT INTO probe(boot, namespace, snapshot) VALUES(?,?,?)", .text(journal.boot),
                .integer(journal.namespace), .text(snapshot.record))
            row = journal.database.lastRow
        }
        let record = ProbeRecord(journal: journal, row: row, boot: journal.boot, snapshot: snapshot)
        guard record.lock() else {
            throw ControllerError(.busy, "another process ends this probe already", remedy: "try again")
        }
        return record
    }

    /// Deletes the record after everything was restored.
    package func end() throws(ControllerError) {
        try journal.writing { () throws(DatabaseError) in
            try journal.database.run("DELETE FROM probe WHERE id = ?", .integer(row))
        }
    }

    /// Whether another process holds the record's lock.
    package var isLocked: Bool { cn_is_byte_locked(journal.locks.descriptor, byte) != 0 }

    /// Locks the record until the process ends; false if another process has it.
    package func lock() -> Bool { cn_lock_byte(journal.locks.descriptor, byte, 0) == 0 }
}
