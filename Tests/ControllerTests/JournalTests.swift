@testable import Controller
import FDB
import Glibc
import Switchdev
import Testing

/// The journal's file.
@Suite struct JournalTests {
    /// The schema of version 2, as it was written.
    private static let version2 = """
        CREATE TABLE guest(
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, side TEXT NOT NULL,
            phase TEXT NOT NULL, goal TEXT, sticky INTEGER NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, proof TEXT NOT NULL DEFAULT 'missing');
        CREATE TABLE port(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, role TEXT NOT NULL, name TEXT NOT NULL,
            ifindex INTEGER NOT NULL, eswitch INTEGER NOT NULL, learning INTEGER NOT NULL,
            PRIMARY KEY (guest, role)) WITHOUT ROWID;
        CREATE TABLE address(
            guest INTEGER NOT NULL REFERENCES guest(id) ON DELETE CASCADE, namespace INTEGER NOT NULL,
            bridge TEXT NOT NULL, mac INTEGER NOT NULL, vlan INTEGER NOT NULL,
            PRIMARY KEY (namespace, bridge, mac, vlan)) WITHOUT ROWID;
        """

    private static func inFolder(_ body: (StateFolder) throws -> Void) throws {
        var template = Array("/tmp/fdbsteer-journal-XXXXXX".utf8CString)
        _ = try #require(mkdtemp(&template))
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            for file in ["state.db", "state.db-journal", "lock"] { unlink("\(path)/\(file)") }
            rmdir(path)
        }
        try body(StateFolder(path))
    }

    @Test(arguments: [false, true])
    func theVersionBeforeIsConverted(byReader: Bool) throws {
        try JournalTests.inFolder { folder in
            var information = stat()
            #expect(stat("/proc/thread-self/ns/net", &information) == 0)
            let old = try Database(path: folder.stateFile)
            try old.execute("BEGIN")
            let namespace = "\(information.st_ino)"
            try old.execute(JournalTests.version2)
            try old.execute(
                """
                INSERT INTO guest VALUES(1,'vm1','standby','pinned',NULL,0,'b',\(namespace),'br0','proven');
                INSERT INTO port VALUES(1,'bridge','br0',3,0,0),(1,'primary','vf0',4,0,1),(1,'standby','tap0',5,0,1);
                INSERT INTO address VALUES(1,\(namespace),'br0',90520730730497,0);
                PRAGMA user_version = 2;
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
            let first = try journal.begin(preparing: try guest(1, primary: 10)).row
            let second = try journal.begin(preparing: try guest(2, primary: 11)).row
            // The bridge is nobody's port.
            #expect(try journal.used([3, 10, 11, 20, 21], byOthersThan: first) == [11, 20])
            #expect(try journal.used([10, 20], byOthersThan: second) == [10, 20])
            try journal.remove(row: second)
            #expect(try journal.used([11, 20], byOthersThan: first).isEmpty)
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
            let row = try journal.begin(preparing: guest).row
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
}
