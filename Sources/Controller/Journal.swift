import CNetlink
import FDB
import CSQLite
import Glibc
public import Switchdev

/// The record of intent: which guest interfaces there are, where they belong, and what is under way.
///
/// `state.db` is written before the first netlink write of a redirection and after the last, so that a killed process
/// leaves no doubt. It needs to outlive processes, not the kernel, whose FDB does not outlive it either: commits do not
/// wait for a disk.
public struct Journal: ~Copyable {
    /// What is under way with a guest.
    public enum Phase: String, Hashable, Sendable {
        /// Nothing: the entries are where `side` says.
        case pinned
        /// `prepare` has not ended.
        case preparing
        /// A redirection has not ended.
        case switching
        /// `release` has not ended.
        case releasing
    }

    /// A guest interface with what is under way.
    public struct Record: Hashable, Sendable {
        /// The row, which is also the byte of the lock file that its owner locks.
        public let row: Int64
        /// The guest interface; its side is the one before what is under way.
        public let guest: GuestInterface
        /// What is under way.
        public let phase: Phase
        /// Where it is to go, while something is under way.
        public let goal: Side?
        /// The boot that the interface indexes belong to.
        public let boot: String
        /// The inode of the network namespace that the ports are in.
        public let namespace: Int64
        /// What was known of hardware when the guest came to its side.
        public let proof: OffloadProof.Status
    }

    let database: Database
    let locks: LockFile
    /// This boot (/proc/sys/kernel/random/boot_id).
    public let boot: String
    /// The inode of the calling thread's network namespace.
    public let namespace: Int64

    private static let schema = """
        CREATE TABLE IF NOT EXISTS guest(
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, side TEXT NOT NULL,
            phase TEXT NOT NULL, goal TEXT, sticky INTEGER NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, proof TEXT NOT NULL DEFAULT 'missing');
        CREATE TABLE IF NOT EXISTS port(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, role TEXT NOT NULL, name TEXT NOT NULL,
            ifindex INTEGER NOT NULL, eswitch INTEGER NOT NULL, learning INTEGER NOT NULL,
            PRIMARY KEY (guest, role)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS address(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, mac INTEGER NOT NULL, vlan INTEGER NOT NULL,
            PRIMARY KEY (namespace, bridge, mac, vlan)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS address_of_guest ON address(guest);
        PRAGMA user_version = \(Journal.version);
        """
    /// The schema's version. The journal does not outlive a reboot, so older ones are not converted.
    private static let version: Int64 = 2

    /// Opens the journal for reading; nil when there is none yet.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when it cannot be read.
    public init?(reading folder: StateFolder) throws(ControllerError) {
        guard folder.hasJournal else { return nil }
        do throws(DatabaseError) {
            database = try Database(path: folder.stateFile, readOnly: true)
        } catch {
            throw ControllerError(.precondition, "cannot read the journal \(error)", remedy: "run as root")
        }
        locks = LockFile(descriptor: open(folder.lockFile, O_RDONLY | O_CLOEXEC))
        boot = Journal.readBoot()
        namespace = Journal.readNamespace()
    }

    /// Opens the journal in a folder, which is made when it is missing.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the folder or the files cannot be written.
    public init(folder: StateFolder) throws(ControllerError) {
        try folder.create()
        let database = try Journal.openDatabase(folder.stateFile)
        let lockFile = open(folder.lockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lockFile >= 0 else {
            throw StateFolder.unwritable(folder.lockFile, String(cString: strerror(errno)))
        }
        locks = LockFile(descriptor: lockFile)
        self.database = database
        boot = Journal.readBoot()
        namespace = Journal.readNamespace()
    }

    private static func openDatabase(_ path: String) throws(ControllerError) -> Database {
        do throws(DatabaseError) {
            let database = try Database(path: path)
            let version = try database.run("PRAGMA user_version").first?.integer(0) ?? 0
            guard version == 0 || version == Journal.version else {
                throw DatabaseError(
                    path: path, code: SQLITE_MISMATCH, message: "written by another version of fdbsteer")
            }
            // The settings are per connection.
            try database.execute("PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; PRAGMA journal_mode = TRUNCATE")
            if version == 0 {
                try database.transaction({ () throws(DatabaseError) in try database.execute(schema) }, mapping: { $0 })
            }
            return database
        } catch {
            throw StateFolder.unwritable(error.path, error.message)
        }
    }

    // MARK: - Reading

    /// All guests of this network namespace, by name.
    public func records() throws(ControllerError) -> [Record] {
        try load("WHERE namespace = \(namespace) ORDER BY name")
    }

    /// One guest, nil when it is not known in this network namespace.
    public func record(_ id: GuestID) throws(ControllerError) -> Record? {
        guard let record = try load("WHERE name = ?", [.text(id.text)]).first else { return nil }
        guard record.namespace == namespace else {
            throw ControllerError(
                .precondition, "guest \(id) was prepared in another network namespace",
                remedy: "run fdbsteer there (nsenter --net), or use another --state folder for this one")
        }
        return record
    }

    /// The guest that owns an address on a bridge of this network namespace.
    func owner(of address: Address, bridge: String) throws(ControllerError) -> String? {
        try reading { () throws(DatabaseError) in
            try database.run(
                "SELECT guest.name FROM address JOIN guest ON guest.id = address.guest "
                    + "WHERE address.namespace = ? AND address.bridge = ? AND mac = ? AND vlan = ?",
                .integer(namespace), .text(bridge), .integer(Int64(address.mac.value)),
                .integer(Int64(address.vlan?.rawValue ?? 0))
            ).first?.text(0)
        }
    }

    // MARK: - Writing

    /// Takes a guest's lock until the process ends or ``unlock(row:)``.
    ///
    /// - Throws: ``ControllerError`` of code `busy` when another process has it.
    func lock(_ record: Record) throws(ControllerError) {
        guard cn_lock_byte(locks.descriptor, record.row, 0) == 0 else {
            throw ControllerError(
                .busy, "another redirection of guest \(record.guest.id) is running (\(record.phase.rawValue))",
                remedy: "wait for it; \"fdbsteer status \(record.guest.id)\" shows it")
        }
    }

    /// Whether another process holds a guest's lock.
    func isLocked(_ record: Record) -> Bool { cn_is_byte_locked(locks.descriptor, record.row) != 0 }

    /// Whether another process holds a byte of the lock file.
    func isByteLocked(_ offset: Int64) -> Bool { cn_is_byte_locked(locks.descriptor, offset) != 0 }

    /// Locks a byte of the lock file until the process ends; false when another process has it.
    func lockByte(_ offset: Int64) -> Bool { cn_lock_byte(locks.descriptor, offset, 0) == 0 }

    func unlock(row: Int64) { _ = cn_lock_byte(locks.descriptor, row, 1) }

    /// Adds a guest whose preparation begins, and locks it.
    func begin(preparing guest: GuestInterface) throws(ControllerError) -> Record {
        var row: Int64 = 0
        try writing { () throws(DatabaseError) in
            try database.run(
                "INSERT INTO guest(name, side, phase, goal, sticky, boot, namespace, bridge) VALUES(?,?,?,?,?,?,?,?)",
                .text(guest.id.text), .text(guest.side.rawValue), .text(Phase.preparing.rawValue),
                .text(guest.side.rawValue), .integer(guest.isSticky ? 1 : 0), .text(boot), .integer(namespace),
                .text(guest.bridge.name))
            row = database.lastRow
            let roles = [("bridge", guest.bridge), ("primary", guest.primary), ("standby", guest.standby)]
            for (role, port) in roles + (guest.uplink.map { [("uplink", $0)] } ?? []) {
                try database.run(
                    "INSERT INTO port VALUES(?,?,?,?,?,?)", .integer(row), .text(role), .text(port.name),
                    .integer(Int64(port.index)), .integer(port.isEswitchPort ? 1 : 0),
                    .integer(port.learningToRestore ? 1 : 0))
            }
            if let nic = guest.nic { try insert(nic, row: row) }
            try database.insert(
                into: "address",
                guest.addresses.map { address in
                    [
                        .integer(row), .integer(namespace), .text(guest.bridge.name),
                        .integer(Int64(address.mac.value)), .integer(Int64(address.vlan?.rawValue ?? 0)),
                    ]
                })
        }
        let record = Record(
            row: row, guest: guest, phase: .preparing, goal: guest.side, boot: boot, namespace: namespace,
            proof: .missing)
        try lock(record)
        return record
    }

    /// Records what is about to be done to a guest.
    func begin(_ phase: Phase, row: Int64, goal: Side) throws(ControllerError) {
        try writing { () throws(DatabaseError) in
            try database.run(
                "UPDATE guest SET phase = ?, goal = ? WHERE id = ?", .text(phase.rawValue), .text(goal.rawValue),
                .integer(row))
        }
    }

    /// Records that nothing is under way any more, where the guest is, and what is known of hardware.
    func settle(row: Int64, side: Side, proof: OffloadProof.Status) throws(ControllerError) {
        try writing { () throws(DatabaseError) in
            try database.run(
                "UPDATE guest SET phase = 'pinned', goal = NULL, side = ?, proof = ? WHERE id = ?",
                .text(side.rawValue), .text(proof.rawValue), .integer(row))
        }
    }

    /// Forgets a guest.
    func remove(row: Int64) throws(ControllerError) {
        try writing { () throws(DatabaseError) in
            try database.run("DELETE FROM guest WHERE id = ?", .integer(row))
        }
    }

    // MARK: - Plumbing

    func writing(_ body: () throws(DatabaseError) -> Void) throws(ControllerError) {
        do throws(DatabaseError) {
            try database.transaction(body) { $0 }
        } catch {
            throw StateFolder.unwritable(error.path, error.message)
        }
    }

    func reading<T>(_ body: () throws(DatabaseError) -> T) throws(ControllerError) -> T {
        do throws(DatabaseError) {
            return try body()
        } catch {
            throw ControllerError(.precondition, "cannot read the journal \(error)")
        }
    }

    private func load(_ condition: String, _ parameters: [SQLValue] = []) throws(ControllerError) -> [Record] {
        try reading { () throws(DatabaseError) in
            let select = "SELECT id, name, side, phase, goal, sticky, boot, namespace, proof FROM guest \(condition)"
            var records: [Record] = []
            for row in try database.run(select, parameters) {
                if let record = try load(row) { records.append(record) }
            }
            return records
        }
    }

    private func load(_ row: [SQLValue]) throws(DatabaseError) -> Record? {
        guard let number = row.integer(0), let name = row.text(1), let id = try? GuestID(name),
            let side = row.text(2).flatMap(Side.init), let phase = row.text(3).flatMap(Phase.init),
            let boot = row.text(6), let namespace = row.integer(7)
        else { return nil }
        var ports: [String: PortIdentity] = [:]
        for port in try database.run(
            "SELECT role, name, ifindex, eswitch, learning FROM port WHERE guest = ?", .integer(number))
        {
            guard let role = port.text(0), let name = port.text(1), let index = port.integer(2) else { continue }
            ports[role] = PortIdentity(
                name: name, index: Int32(truncatingIfNeeded: index), isEswitchPort: port.integer(3) == 1,
                learningToRestore: port.integer(4) == 1)
        }
        let addresses = try database.run(
            "SELECT mac, vlan FROM address WHERE guest = ? ORDER BY mac, vlan", .integer(number)
        ).compactMap { address -> Address? in
            guard let mac = address.integer(0), let vlan = address.integer(1) else { return nil }
            return try? Address(
                mac: MACAddress(value: UInt64(bitPattern: mac)),
                vlan: VLANID(rawValue: UInt16(truncatingIfNeeded: vlan)))
        }
        guard let bridge = ports["bridge"], let primary = ports["primary"], let standby = ports["standby"] else {
            return nil
        }
        var guest = GuestInterface(
            id: id, bridge: bridge, primary: primary, standby: standby, uplink: ports["uplink"],
            addresses: addresses, side: side, isSticky: row.integer(5) == 1)
        // The port to the NIC is everybody's, so that the entries of such guests are always sticky.
        if guest.isSticky { guest.nic = try loadNIC(row: number) }
        return Record(
            row: number, guest: guest, phase: phase, goal: row.text(4).flatMap(Side.init), boot: boot,
            namespace: namespace, proof: row.text(8).flatMap(OffloadProof.Status.init) ?? .missing)
    }

    private static func readBoot() -> String {
        let file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "unknown" }
        defer { close(file) }
        return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
            let count = read(file, buffer.baseAddress, buffer.count)
            return String(decoding: buffer.prefix(max(0, count)).prefix { $0 > 0x20 }, as: UTF8.self)
        }
    }

    private static func readNamespace() -> Int64 {
        var information = stat()
        guard stat("/proc/thread-self/ns/net", &information) == 0 else { return 0 }
        return Int64(information.st_ino)
    }
}

/// The file whose bytes are locked, one a guest; locks end with the process.
struct LockFile: ~Copyable {
    let descriptor: Int32

    deinit { close(descriptor) }
}
