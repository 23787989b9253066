import FDB
import Glibc
import Lab
import Policy
import Switchdev
import TestSupport
import Testing

@testable import Records

/// The journal's file.
@Suite struct JournalTests {
    /// The schema of version 3 as it was.
    private static let version3 = """
        CREATE TABLE guest(
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, side TEXT NOT NULL,
            phase TEXT NOT NULL, goal TEXT, sticky INTEGER NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, proof TEXT NOT NULL DEFAULT 'missing', kind TEXT NOT NULL DEFAULT 'unknown',
            revision INTEGER NOT NULL DEFAULT 1);
        CREATE TABLE port(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, role TEXT NOT NULL, name TEXT NOT NULL,
            ifindex INTEGER NOT NULL, eswitch INTEGER NOT NULL, learning INTEGER NOT NULL,
            backup INTEGER NOT NULL,
            PRIMARY KEY (guest, role)) WITHOUT ROWID;
        CREATE TABLE address(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, mac INTEGER NOT NULL, vlan INTEGER NOT NULL,
            PRIMARY KEY (namespace, bridge, mac, vlan)) WITHOUT ROWID;
        CREATE TABLE bracket(
            guest INTEGER PRIMARY KEY REFERENCES guest(id) ON DELETE CASCADE, opened_ns INTEGER NOT NULL,
            means TEXT NOT NULL, owns_clsact INTEGER NOT NULL);
        """

    private static func inFolder(_ body: (StateFolder) throws -> Void) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try body(StateFolder(folder.path))
    }

    @Test(arguments: [false, true])
    func theVersionBeforeIsConverted(byReader: Bool) throws {
        try JournalTests.inFolder { folder in
            var information = stat()
            #expect(stat("/proc/thread-self/ns/net", &information) == 0)
            let old = try Database(path: folder.stateFile)
            try old.execute("BEGIN")
            let namespace = "\(information.st_ino)"
            try old.execute(JournalTests.version3)
            try old.execute(
                """
                INSERT INTO guest VALUES(1,'vm1','standby','pinned',NULL,0,'b',\(namespace),'br0','proven','unknown',5);
                INSERT INTO port VALUES(1,'bridge','br0',3,0,0,0),(1,'primary','vf0',4,0,1,0),
                    (1,'standby','tap0',5,0,1,0);
                INSERT INTO address VALUES(1,\(namespace),'br0',90520730730497,0);
                PRAGMA user_version = 3;
                """)
            try old.execute("COMMIT")
            if byReader { _ = try Journal(reading: folder) }
            let journal = try Journal(folder: folder)
            let record = try #require(try journal.records().first)
            #expect(record.guest.kind == .unknown && record.guest.side == .standby && record.bracket == nil)
            #expect(record.guest.addresses.map(\.description) == ["52:54:00:00:00:01"])
            #expect(record.proof == .proven)
        }
    }

    @Test func whoseAPortIs() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            func guest(_ number: Int, primary: Int32) throws -> GuestInterface {
                GuestInterface(
                    id: try GuestID("vm\(number)"), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
                    primary: PortIdentity(name: "p\(number)", index: primary, isEswitchPort: false),
                    standby: PortIdentity(name: "s\(number)", index: 20, isEswitchPort: false), uplink: nil,
                    addresses: [try Address(mac: MACAddress(value: 0x5254_0000_0000 + UInt64(number)))], side: .primary,
                    isSticky: false)
            }
            let first = try journal.claim(preparing: try guest(1, primary: 10)).record.row
            let second = try journal.claim(preparing: try guest(2, primary: 11)).record.row
            func used(_ ports: [Int32], byOthersThan row: Int64) throws -> [Int32] {
                guard let claim = try journal.claim(row: row) else {
                    Issue.record("row \(row) has no guest, or somebody else works with it")
                    return []
                }
                var used: [Int32] = []
                for port in ports where try claim.isUsedByOthers(port) { used.append(port) }
                return used
            }
            // The bridge is nobody's port.
            #expect(try used([3, 10, 11, 20, 21], byOthersThan: first) == [11, 20])
            #expect(try used([10, 20], byOthersThan: second) == [10, 20])
            try journal.remove(row: second)
            #expect(try used([11, 20], byOthersThan: first) == [])
        }
    }

    @Test func aBracketIsRememberedUntilItIsSettled() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            var guest = GuestInterface(
                id: try GuestID("vm1"), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
                primary: PortIdentity(name: "vf0", index: 4, isEswitchPort: false),
                standby: PortIdentity(name: "tap0", index: 5, isEswitchPort: false), uplink: nil,
                addresses: [try Address("52:54:00:00:00:01")], side: .primary, isSticky: false)
            guest.kind = .netFailover
            let row = try journal.claim(preparing: guest).record.row
            try journal.settle(row: row, side: .primary, proof: .proven)
            let bracket = Bracket(openedAt: 17, means: .nftables, ownsClsact: true)
            try journal.bracket(.opening, bracket, row: row, side: .primary, goal: .standby)
            try journal.bracket(.bracketed, bracket, row: row, side: .primary, goal: .standby, proof: .missing)
            let record = try #require(try journal.record(guest.id))
            #expect(record.bracket == bracket && record.phase == .bracketed && record.goal == .standby)
            #expect(record.entrySide == .standby && record.guest.side == .primary)
            #expect(record.guest.kind == .netFailover && record.proof == .missing)
            try journal.settle(row: row, side: .standby, proof: .proven, endsBracket: true)
            let settled = try #require(try journal.record(guest.id))
            #expect(settled.bracket == nil && settled.phase == .pinned && settled.guest.side == .standby)
        }
    }

    private static func prepared(
        _ journal: Journal, _ name: String = "vm1", _ mac: String = "52:54:00:00:00:01"
    ) throws -> GuestRecord {
        let guest = GuestInterface(
            id: try GuestID(name), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
            primary: PortIdentity(name: "vf0", index: 4, isEswitchPort: false),
            standby: PortIdentity(name: "tap0", index: 5, isEswitchPort: false), uplink: nil,
            addresses: [try Address(mac)], side: .primary, isSticky: false)
        let row = try journal.claim(preparing: guest).record.row
        try journal.settle(row: row, side: .primary, proof: .proven)
        return try #require(try journal.record(row: row))
    }

    private static func isHeld(_ record: GuestRecord, in journal: Journal) throws -> Bool {
        if try journal.claim(row: record.row) != nil { return false }
        return journal.claim(record) == nil
    }

    /// A lock keeps other processes off, and not its own: the journal has to.
    @Test func aGuestIsClaimedOnce() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let other = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            do {
                let claim = try journal.claim(record.guest.id)
                #expect(claim.record == record && other.isLocked(record))
                for one in [journal, other] {
                    #expect(try JournalTests.isHeld(record, in: one))
                    let error = #expect(throws: ControllerError.self) { _ = try one.claim(record.guest.id) }
                    #expect(error?.code == .busy)
                }
                // A dry run takes no lock, and needs none.
                let seen = try other.claim(record.guest.id, onlyReads: true).record
                #expect(seen == record)
            }
            #expect(!other.isLocked(record))
            #expect(try !JournalTests.isHeld(record, in: other))
        }
    }

    @Test func anIntentIsSeenByOthersUntilTheRecordIsWritten() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            guard let reader = try Journal(reading: folder) else {
                Issue.record("there is no journal")
                return
            }
            #expect(try reader.record(row: record.row) == record && record.phase == .pinned)
            var begun = record
            for (phase, goal) in [
                (GuestPhase.switching, Side.standby), (.releasing, .remote), (.switching, .primary),
            ] {
                try journal.begin(phase, begun, goal: goal)
                if begun != record {
                    #expect(throws: ControllerError.self, "planned before another had begun") {
                        try journal.begin(.switching, record, goal: .standby)
                    }
                }
                begun = try #require(try journal.record(row: record.row))
                let seen = try #require(try reader.records().first)
                #expect(seen.phase == phase && seen.goal == goal && seen.guest.side == .primary)
            }
            try journal.settle(row: record.row, side: .standby, proof: .missing)
            let settled = try #require(try reader.record(row: record.row))
            #expect(settled.phase == .pinned && settled.goal == nil && settled.guest.side == .standby)
            #expect(throws: ControllerError.self) { try journal.begin(.switching, record, goal: .standby) }
            #expect(try reader.record(row: record.row) == settled, "an old plan was begun")
        }
    }

    /// A plan whose record others have written is detected without reading the record again.
    @Test func aPlanByARecordThatOthersHaveWrittenIsRefused() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let other = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            journal.known.readAll(journal.database.changeCounter, version: try journal.dataVersion())
            #expect(journal.known.isCurrent(record, journal.database.changeCounter))
            _ = try JournalTests.prepared(other, "vm2", "52:54:00:00:00:02")
            #expect(!journal.known.isCurrent(record, journal.database.changeCounter))
            try journal.begin(.switching, record, goal: .standby)
            try journal.settle(row: record.row, side: .standby, proof: .missing)
            #expect(!journal.known.isCurrent(record, journal.database.changeCounter))
            let now = try #require(try journal.record(row: record.row))
            #expect(journal.known.isCurrent(now, journal.database.changeCounter))
            try other.settle(row: record.row, side: .primary, proof: .missing)
            #expect(!journal.known.isCurrent(now, journal.database.changeCounter))
            #expect(throws: ControllerError.self) { try journal.begin(.switching, now, goal: .primary) }
        }
    }

    @Test func anIntentDoesNotOutliveItsJournal() throws {
        try JournalTests.inFolder { folder in
            do {
                let journal = try Journal(folder: folder)
                try journal.begin(.switching, JournalTests.prepared(journal), goal: .standby)
            }
            unlink(folder.stateFile)
            let journal = try Journal(folder: folder)
            #expect(try JournalTests.prepared(journal).phase == .pinned)
        }
    }

    @Test func aWaitDoesNotHideAnIntent() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let wait = SignalWait(signals: [.word], timeout: 1_000_000_000)
            let record = try JournalTests.prepared(journal)
            try journal.begin(.switching, record, goal: .standby)
            let begun = try #require(try journal.record(row: record.row))
            if let claim = journal.claim(begun) {
                try claim.beginWait(wait, goal: .primary, now: 0)
                try claim.endWait()
            } else {
                Issue.record("the guest is held by another")
            }
            #expect(try journal.record(row: record.row) == begun)
            // An intent after a wait is not lost either.
            try journal.settle(row: record.row, side: .primary, proof: .missing)
            let settled = try #require(try journal.record(row: record.row))
            guard let claim = journal.claim(settled) else {
                Issue.record("the guest is held by another")
                return
            }
            try claim.beginWait(wait, goal: .standby, now: 0)
            #expect(try journal.record(row: record.row)?.phase == .waiting)
            try claim.write(.intent(.switching, goal: .standby))
            try claim.endWait()
            #expect(try journal.record(row: record.row)?.phase == .switching)
        }
    }

    @Test func whateverIsInTheFileIsAnIntentOrNone() throws {
        let phases: [GuestPhase] = [.switching, .releasing]
        for phase in phases {
            for goal in Side.allCases {
                for revision in [Int64.min, -1, 0, 1, 1 << 32, .max] {
                    let intent = Journal.Intent(phase, goal: goal, revision: revision)
                    #expect(Journal.Intent(intent.words) == intent)
                    // Half of it, over one of another revision.
                    let other = Journal.Intent(phase, goal: goal, revision: revision &+ 1)
                    #expect(Journal.Intent((intent.words.0, other.words.1)) == nil)
                    #expect(Journal.Intent((other.words.0, intent.words.1)) == nil)
                }
            }
        }
        #expect(Journal.Intent((0, 0)) == nil && Journal.Intent((.max, .max)) == nil)
        let short = Journal.Intents([UInt8](repeating: 0xff, count: 17))
        for row: Int64 in [-1, 0, 1, .max] { #expect(short[row, revision: -1] == nil) }
    }

    /// A writer waits for a transaction of another process, and reports an endless one.
    @Test func aWriterWaitsForAnother() async throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = StateFolder(temporary.path)
        let journal = try Journal(folder: folder)
        let record = try JournalTests.prepared(journal)
        let (begun, begin) = AsyncStream<Void>.makeStream()
        let other = Task.detached {
            let database = try Database(path: folder.stateFile)
            try database.execute("BEGIN IMMEDIATE")
            begin.finish()
            usleep(100_000)
            try database.execute("COMMIT")
        }
        for await _ in begun {}
        try journal.settle(row: record.row, side: .standby, proof: .missing)
        try await other.value
        #expect(try journal.record(record.guest.id)?.guest.side == .standby)

        let endless = try Database(path: folder.stateFile)
        try endless.execute("BEGIN IMMEDIATE")
        let error = #expect(throws: ControllerError.self) {
            try journal.settle(row: record.row, side: .primary, proof: .missing)
        }
        #expect("\(try #require(error))".contains("locked"))
        try endless.execute("COMMIT")
        #expect(try journal.record(record.guest.id)?.guest.side == .standby)
    }
}
