import CNetlink
import FDB
import Glibc
import JSON
import Policy
import Switchdev
import System

/// The journal of versions before the files: an SQLite database `state.db` of schema 3 or 4, and a file `lock` with 16 bytes a
/// guest that record the operation about to begin. The first process that opens the folder converts both and renames them.
extension Journal {
    /// Makes records of the guests and probes of an earlier version.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the database cannot be read or the folder not be written, of code
    ///   `busy` while a verb of the earlier version runs.
    func convertDatabase(_ paths: StateFolder) throws(ControllerError) {
        let lock = try lockAll()
        defer { withExtendedLifetime(lock) {} }
        guard paths.hasDatabase else { return }
        let documents: [(RecordDocument, GuestRecord)]
        let probes: [(name: String, file: [UInt8])]
        let isUsed: Bool
        do throws(DatabaseError) {
            let database = try EarlierJournal(paths)
            documents = try database.documents()
            probes = try database.probes()
            isUsed = documents.contains { database.isLocked($0.1) }
        } catch {
            throw StateFolder.unwritable(error.path, error.message, remedy: error.remedy ?? StateFolder.elsewhere)
        }
        if isUsed {
            throw ControllerError(
                .busy, "a verb of an earlier version of fdbsteer uses \(paths.stateFile)", remedy: "wait for it")
        }
        for (document, record) in documents { try make(record, document) }
        for (name, file) in probes {
            try folder.replace("probes/\(name).json", by: file, through: "probes/.\(name).new")
        }
        try folder.rename("state.db", "state.db.converted")
        if folder.exists("lock") { try folder.rename("lock", "lock.converted") }
    }
}

/// Reads the journal of an earlier version.
private final class EarlierJournal {
    private let database: Database
    private let locks: Int32

    init(_ paths: StateFolder) throws(DatabaseError) {
        locks = open(paths.path + "/lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        database = try Database(path: paths.stateFile)
        let version = try database.run("PRAGMA user_version").first?.integer(0) ?? 0
        // Zero: it was made, and nothing was written to it.
        guard [0, 3, 4].contains(version) else {
            throw DatabaseError(path: paths.stateFile, code: 0, message: "written by another version of fdbsteer")
        }
    }

    deinit { if locks >= 0 { close(locks) } }

    /// Whether a process of the earlier version is at a guest.
    func isLocked(_ record: GuestRecord) -> Bool { locks >= 0 && cn_is_byte_locked(locks, record.row) != 0 }

    /// The guests of all network namespaces.
    func documents() throws(DatabaseError) -> [(RecordDocument, GuestRecord)] {
        guard try database.hasTable("guest") else { return [] }
        let rows = try database.run(
            "SELECT id, name, side, phase, goal, sticky, boot, namespace, proof, kind, opened_ns, means, owns_clsact, "
                + "revision FROM guest LEFT JOIN bracket ON bracket.guest = guest.id ORDER BY id")
        var documents: [(RecordDocument, GuestRecord)] = []
        for row in rows {
            if let record = try record(row) { documents.append((try document(record), record)) }
        }
        return documents
    }

    private func record(_ row: [SQLValue]) throws(DatabaseError) -> GuestRecord? {
        let number = row.integer(0) ?? 0
        var ports: [String: PortIdentity] = [:]
        for port in try database.run(
            "SELECT role, name, ifindex, eswitch, learning, backup FROM port WHERE guest = ?", .integer(number))
        {
            ports[port.text(0) ?? ""] = PortIdentity(
                name: port.text(1) ?? "", index: Int32(truncatingIfNeeded: port.integer(2) ?? 0),
                isEswitchPort: port.integer(3) == 1, learningToRestore: port.integer(4) == 1,
                backupToClear: port.integer(5) == 1)
        }
        guard let id = row.text(1).flatMap({ try? GuestID($0) }), let side = row.text(2).flatMap(Side.init),

            // Who waited holds nothing up any more.
            let phase = row.text(3).flatMap({ GuestPhase(rawValue: $0 == "waiting" ? "pinned" : $0) }),
            let bridge = ports["bridge"],
            let primary = ports["primary"], let standby = ports["standby"]
        else { return nil }
        var guest = GuestInterface(
            id: id, bridge: bridge, primary: primary, standby: standby, uplink: ports["uplink"],
            addresses: try addresses("address", number).sorted(), side: side, isSticky: row.integer(5) == 1,
            nic: try nic(number))
        guest.kind = row.text(9).flatMap(GuestKind.init) ?? .unknown
        let revision = row.integer(13) ?? 0
        let begun = intent(number, revision)
        var bracket: Bracket?
        if let opened = row.integer(10), let means = row.text(11).flatMap(CopyMeans.init) {
            bracket = Bracket(openedAt: opened, means: means, ownsClsact: row.integer(12) == 1)
        }
        return GuestRecord(
            row: number, guest: guest, phase: begun?.phase ?? phase,
            goal: begun?.goal ?? (phase == .pinned ? nil : row.text(4).flatMap(Side.init)),
            boot: row.text(6) ?? "", namespace: row.integer(7) ?? 0,
            proof: row.text(8).flatMap(OffloadProof.Status.init) ?? .missing, revision: revision, bracket: bracket,
            since: Stopwatch.realTime, by: Doer().label)
    }

    private func document(_ record: GuestRecord) throws(DatabaseError) -> RecordDocument {
        var document = RecordDocument(record)
        let adopted = Set(try addresses("adopted", record.row))
        document["addresses"] = .array(
            record.guest.addresses.map { RecordDocument.address($0, isDeclared: !adopted.contains($0)) })
        return document
    }

    private func addresses(_ table: String, _ guest: Int64) throws(DatabaseError) -> [Address] {
        guard try database.hasTable(table) else { return [] }
        return try database.run("SELECT mac, vlan FROM \(table) WHERE guest = ?", .integer(guest)).compactMap {
            guard let mac = $0.integer(0), let vlan = $0.integer(1) else { return nil }
            return try? Address(
                mac: MACAddress(value: UInt64(bitPattern: mac)),
                vlan: VLANID(rawValue: UInt16(truncatingIfNeeded: vlan)))
        }
    }

    private func nic(_ guest: Int64) throws(DatabaseError) -> LegacyNIC? {
        guard try database.hasTable("legacy"),
            let row = try database.run(
                "SELECT pf, ifindex, vf, had_entry, had_mac, filter_order FROM legacy WHERE guest = ?", .integer(guest)
            ).first
        else { return nil }
        return LegacyNIC(
            pf: PortIdentity(
                name: row.text(0) ?? "", index: Int32(truncatingIfNeeded: row.integer(1) ?? 0), isEswitchPort: false),
            vf: UInt32(truncatingIfNeeded: row.integer(2) ?? 0), hadEntry: row.integer(3) == 1,
            hadMAC: MACAddress(value: UInt64(bitPattern: row.integer(4) ?? 0)),
            order: row.text(5).flatMap(FilterOrder.init) ?? .makeBeforeBreak)
    }

    /// What is about to begin for a guest: the revision, then its lower half over the goal and the phase.
    private func intent(_ guest: Int64, _ revision: Int64) -> (phase: GuestPhase, goal: Side)? {
        var words: (UInt64, UInt64) = (0, 0)
        guard locks >= 0, pread(locks, &words, 16, off_t(guest) &* 16) == 16,
            words.0 == UInt64(bitPattern: revision), words.1 >> 32 == words.0 & 0xffff_ffff
        else { return nil }
        let phases: [UInt64: GuestPhase] = [1: .switching, 2: .releasing]
        let sides: [UInt64: Side] = [1: .primary, 2: .standby, 3: .remote]
        guard let phase = phases[words.1 & 0xff], let goal = sides[words.1 >> 8 & 0xff_ffff] else { return nil }
        return (phase, goal)
    }

    /// The probes that did not end: names and files.
    func probes() throws(DatabaseError) -> [(name: String, file: [UInt8])] {
        guard try database.hasTable("probe") else { return [] }
        return try database.run("SELECT id, boot, namespace, snapshot FROM probe").map { row in
            let file = ProbeRecord.content(
                boot: row.text(1) ?? "", namespace: row.integer(2) ?? 0, snapshot: row.text(3) ?? "")
            return ("\(row.integer(0) ?? 0)", file)
        }
    }
}
