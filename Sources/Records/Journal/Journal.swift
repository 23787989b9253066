import CSQLite
package import FDB
import Glibc
package import Policy
import Switchdev
package import System

/// The record of intent: the guest interfaces, their sides, and the operations in progress.
///
/// `state.db` is written before the first netlink write of a redirection and after the last, so a killed process leaves no
/// doubt about the state. The operation that is about to begin is stored beside it (``Intent``). The journal has to
/// survive processes but not the kernel, which loses its FDB too, so commits do not wait for a disk.
package final class Journal {

    package let database: Database
    package let locks: LockFile
    package let known = KnownRecords()
    /// Rows of the guests that this process holds (``Claim``): a lock of its own would not stop it.
    var held: [Int64] = []
    /// This boot (/proc/sys/kernel/random/boot_id).
    package let boot: String
    /// The inode of the calling thread's network namespace.
    package let namespace: Int64

    private static let schema = """
        CREATE TABLE IF NOT EXISTS guest(
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, side TEXT NOT NULL,
            phase TEXT NOT NULL, goal TEXT, sticky INTEGER NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, proof TEXT NOT NULL DEFAULT 'missing', kind TEXT NOT NULL DEFAULT 'unknown',
            revision INTEGER NOT NULL DEFAULT 1);
        CREATE TABLE IF NOT EXISTS port(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, role TEXT NOT NULL, name TEXT NOT NULL,
            ifindex INTEGER NOT NULL, eswitch INTEGER NOT NULL, learning INTEGER NOT NULL,
            backup INTEGER NOT NULL,
            PRIMARY KEY (guest, role)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS address(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, mac INTEGER NOT NULL, vlan INTEGER NOT NULL,
            PRIMARY KEY (namespace, bridge, mac, vlan)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS address_of_guest ON address(guest);
        CREATE INDEX IF NOT EXISTS port_by_interface ON port(ifindex);
        CREATE TABLE IF NOT EXISTS bracket(
            guest INTEGER PRIMARY KEY REFERENCES guest(id) ON DELETE CASCADE, opened_ns INTEGER NOT NULL,
            means TEXT NOT NULL, owns_clsact INTEGER NOT NULL);
        PRAGMA user_version = \(Journal.version);
        """
    /// The schema's version. The journal does not survive a reboot, so only the previous version is converted, for an upgrade
    /// while guests are prepared.
    private static let version: Int64 = 4
    /// The tables are unchanged; the new version keeps away programs that do not know ``Intent``.
    private static let conversion = """
        CREATE INDEX IF NOT EXISTS port_by_interface ON port(ifindex);
        PRAGMA user_version = \(Journal.version);
        """

    /// Opens the journal for reading; nil if there is none yet.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` if it cannot be read.
    package init?(reading folder: StateFolder) throws(ControllerError) {
        guard folder.hasJournal else { return nil }
        let locks = LockFile(descriptor: open(folder.lockFile, O_RDONLY | O_CLOEXEC))
        // Without the lock file no operation was begun, and no process is working.
        guard locks.descriptor >= 0 || errno == ENOENT else {
            throw ControllerError(
                .precondition, "cannot read \(folder.lockFile): \(String(cString: strerror(errno)))",
                remedy: "run as root")
        }
        do throws(DatabaseError) {
            let database = try Database(path: folder.stateFile, readOnly: true)
            if try database.run("PRAGMA user_version").first?.integer(0) == Journal.version - 1 {
                _ = try Journal.openDatabase(folder)
            }
            self.database = database
        } catch {
            throw ControllerError(.precondition, "cannot read the journal \(error)", remedy: "run as root")
        }
        self.locks = locks
        boot = SystemFile.firstLine(of: "/proc/sys/kernel/random/boot_id") ?? "unknown"
        namespace = Journal.readNamespace()
    }

    /// Opens the journal for a verb about a guest that must exist: it is not made when it is missing.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    package convenience init(writing folder: StateFolder, for id: GuestID) throws(ControllerError) {
        guard folder.hasJournal else { throw .unknown(id, noJournal: folder) }
        try self.init(folder: folder)
    }

    /// Opens the journal to read about a guest that must exist.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    package static func reading(
        _ folder: StateFolder, for id: GuestID
    ) throws(ControllerError) -> Journal {
        guard let journal = try Journal(reading: folder) else { throw .unknown(id, noJournal: folder) }
        return journal
    }

    /// Opens the journal in a folder, which is made when it is missing.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` if the folder or the files cannot be written.
    package init(folder: StateFolder) throws(ControllerError) {
        try folder.create()
        // Created before the database: a process that sees state.db can rely on the lock file.
        let locks = LockFile(descriptor: open(folder.lockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0o600))
        guard locks.descriptor >= 0 else {
            throw StateFolder.unwritable(folder.lockFile, String(cString: strerror(errno)))
        }
        do throws(DatabaseError) {
            database = try Journal.openDatabase(folder)
        } catch {
            throw StateFolder.unwritable(error.path, error.message)
        }
        self.locks = locks
        boot = SystemFile.firstLine(of: "/proc/sys/kernel/random/boot_id") ?? "unknown"
        namespace = Journal.readNamespace()
    }

    private static func openDatabase(_ folder: StateFolder) throws(DatabaseError) -> Database {
        let database = try Database(path: folder.stateFile)
        // These settings apply to the connection.
        try database.execute("PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; PRAGMA journal_mode = TRUNCATE")
        let found = try version(of: database, folder.stateFile)
        if found != Journal.version { try update(database, folder) }
        return database
    }

    private static func update(_ database: borrowing Database, _ folder: StateFolder) throws(DatabaseError) {
        try database.transaction(
            { () throws(DatabaseError) in
                // Another process may have created the tables first.
                switch try version(of: database, folder.stateFile) {
                case 0:
                    // Remove the intents for guests of a deleted journal.
                    _ = truncate(folder.lockFile, 0)
                    try database.execute(schema)
                case Journal.version: break
                default: try database.execute(conversion)
                }
            }, mapping: { $0 })
    }

    private static func version(of database: borrowing Database, _ path: String) throws(DatabaseError) -> Int64 {
        let version = try database.run("PRAGMA user_version").first?.integer(0) ?? 0
        guard [0, Journal.version - 1, Journal.version].contains(version) else {
            throw DatabaseError(path: path, code: SQLITE_MISMATCH, message: "written by another version of fdbsteer")
        }
        return version
    }

    // MARK: - Reading

    /// All guests of this network namespace, by name.
    package func records() throws(ControllerError) -> [GuestRecord] {
        try load("WHERE namespace = \(namespace) ORDER BY name")
    }

    /// One guest; nil if it is unknown in this network namespace.
    package func record(_ id: GuestID) throws(ControllerError) -> GuestRecord? {
        guard let record = try load("WHERE name = ?", [.text(id.text)]).first else { return nil }
        guard record.namespace == namespace else {
            throw ControllerError(
                .precondition, "guest \(id) was prepared in another network namespace",
                remedy: "run fdbsteer there (nsenter --net), or use another --state folder for this one")
        }
        return record
    }

    /// A guest that must be known, and prepared in this boot unless `anyBoot`.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    package func guest(_ id: GuestID, anyBoot: Bool = false) throws(ControllerError) -> GuestRecord {
        guard let record = try record(id) else { throw .unknown(id) }
        guard anyBoot || record.boot == boot else {
            throw ControllerError(
                .precondition, "guest \(id) was prepared before the last reboot, which emptied the bridge's table",
                remedy: "release it and prepare it anew")
        }
        return record
    }

    /// One guest by its row; nil when there is none in this network namespace.
    package func record(row: Int64) throws(ControllerError) -> GuestRecord? {
        try load("WHERE id = ? AND namespace = \(namespace)", [.integer(row)]).first
    }

    /// The number of writes to each guest's record, by row. A reader that keeps copies learns which ones to read again.
    package func revisions() throws(ControllerError) -> [Int64: Int64] {
        try reading { () throws(DatabaseError) in
            let rows = try database.run("SELECT id, revision FROM guest WHERE namespace = ?", .integer(namespace))
            return Dictionary(rows.map { ($0.integer(0) ?? 0, $0.integer(1) ?? 0) }) { $1 }
        }
    }

    /// The guest that owns an address on a bridge of this network namespace.
    package func owner(of address: Address, bridge: String) throws(ControllerError) -> String? {
        try reading { () throws(DatabaseError) in
            try database.run(
                "SELECT guest.name FROM address JOIN guest ON guest.id = address.guest "
                    + "WHERE address.namespace = ? AND address.bridge = ? AND mac = ? AND vlan = ?",
                [.integer(namespace), .text(bridge)] + address.columns
            ).first?.text(0)
        }
    }

    // MARK: - Writing

    /// The row of a guest of any network namespace; nil if it is unknown.
    package func row(of id: GuestID) throws(ControllerError) -> Int64? {
        try reading { () throws(DatabaseError) in
            try database.run("SELECT id FROM guest WHERE name = ?", .text(id.text)).first?.integer(0)
        }
    }

    /// Adds a guest whose preparation begins, and claims it.
    package func claim(preparing guest: GuestInterface) throws(ControllerError) -> Claim {
        var row: Int64 = 0
        try writing { () throws(DatabaseError) in
            try database.run(
                "INSERT INTO guest(name, side, phase, goal, sticky, boot, namespace, bridge, kind) "
                    + "VALUES(?,?,?,?,?,?,?,?,?)",
                .text(guest.id.text), .text(guest.side.rawValue), .text(GuestPhase.preparing.rawValue),
                .text(guest.side.rawValue), .integer(guest.isSticky ? 1 : 0), .text(boot), .integer(namespace),
                .text(guest.bridge.name), .text(guest.kind.rawValue))
            row = database.lastRow
            let roles = [("bridge", guest.bridge), ("primary", guest.primary), ("standby", guest.standby)]
            for (role, port) in roles + (guest.uplink.map { [("uplink", $0)] } ?? []) {
                try database.run(
                    "INSERT INTO port VALUES(?,?,?,?,?,?,?)", .integer(row), .text(role), .text(port.name),
                    .integer(Int64(port.index)), .integer(port.isEswitchPort ? 1 : 0),
                    .integer(port.learningToRestore ? 1 : 0), .integer(port.backupToClear ? 1 : 0))
            }
            if let nic = guest.nic { try insert(nic, row: row) }
            try database.insert(
                into: "address",
                guest.addresses.map {
                    [.integer(row), .integer(namespace), .text(guest.bridge.name)] + $0.columns
                })
        }
        let record = GuestRecord(
            row: row, guest: guest, phase: .preparing, goal: guest.side, boot: boot, namespace: namespace,
            proof: .missing, revision: 1)
        return try Claim(record, in: self)
    }

    /// Records that no operation is in progress, and records the guest's side and the proof from hardware.
    ///
    /// - Parameter endsBracket: a bracket was open, and is now closed.
    func settle(
        row: Int64, side: Side, proof: OffloadProof.Status, endsBracket: Bool = false
    ) throws(ControllerError) {
        try writing(row) { () throws(DatabaseError) in
            if endsBracket { try database.run("DELETE FROM bracket WHERE guest = ?", .integer(row)) }
            try database.run(
                "UPDATE guest SET phase = 'pinned', goal = NULL, side = ?, proof = ?, revision = revision + 1 "
                    + "WHERE id = ?", .text(side.rawValue), .text(proof.rawValue), .integer(row))
        }
    }

    /// Records the state of a guest's bracket: the operation that is about to begin, or that the bracket is open.
    ///
    /// - Parameters:
    ///   - side: the side before the bracket, or the guest's side while the bracket is being closed.
    ///   - proof: what is known about the hardware; nil if nothing new is known.
    func bracket(
        _ phase: GuestPhase, _ bracket: Bracket, row: Int64, side: Side, goal: Side, proof: OffloadProof.Status? = nil
    ) throws(ControllerError) {
        try writing(row) { () throws(DatabaseError) in
            try database.run(
                "INSERT INTO bracket VALUES(?,?,?,?) ON CONFLICT(guest) DO UPDATE SET opened_ns = excluded.opened_ns, "
                    + "means = excluded.means, owns_clsact = excluded.owns_clsact",
                .integer(row), .integer(bracket.openedAt), .text(bracket.means.rawValue),
                .integer(bracket.ownsClsact ? 1 : 0))
            try database.run(
                "UPDATE guest SET phase = ?, side = ?, goal = ?, proof = coalesce(?, proof), revision = revision + 1 "
                    + "WHERE id = ?",
                .text(phase.rawValue), .text(side.rawValue), .text(goal.rawValue),
                proof.map { .text($0.rawValue) } ?? .null, .integer(row))
        }
    }

    /// Those who keep copies of a record are to read it anew; within a transaction.
    func countWrite(row: Int64) throws(DatabaseError) {
        try database.run("UPDATE guest SET revision = revision + 1 WHERE id = ?", .integer(row))
    }

    /// Forgets a guest.
    func remove(row: Int64) throws(ControllerError) {
        try writing(row) { () throws(DatabaseError) in
            try database.run("DELETE FROM guest WHERE id = ?", .integer(row))
        }
    }

    // MARK: - Helpers

    /// - Parameter row: the guest whose record is written; nil for a record that was not read before.
    package func writing(_ row: Int64? = nil, _ body: () throws(DatabaseError) -> Void) throws(ControllerError) {
        if let row { known.write(row) }
        do throws(DatabaseError) {
            try database.transaction(body) { $0 }
        } catch {
            throw StateFolder.unwritable(error.path, error.message)
        }
    }

    package func reading<T>(_ body: () throws(DatabaseError) -> T) throws(ControllerError) -> T {
        do throws(DatabaseError) {
            return try body()
        } catch {
            throw ControllerError(.precondition, "cannot read the journal \(error)")
        }
    }

    private static func readNamespace() -> Int64 {
        var information = stat()
        guard stat("/proc/thread-self/ns/net", &information) == 0 else { return 0 }
        return Int64(information.st_ino)
    }
}

extension ControllerError {
    /// A guest that nobody has prepared in this network namespace.
    ///
    /// - Parameter folder: where there is no journal at all.
    static func unknown(_ id: GuestID, noJournal folder: StateFolder? = nil) -> ControllerError {
        if let folder {
            return ControllerError(
                .precondition, "guest \(id) is not known: there is no journal \(folder.stateFile)",
                remedy: "prepare the guest first, or name the right folder by --state or FDBSTEER_STATE")
        }
        return ControllerError(
            .precondition, "guest \(id) is not known",
            remedy: "prepare it first; \"fdbsteer status\" lists the guests")
    }
}
