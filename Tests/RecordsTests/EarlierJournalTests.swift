import CNetlink
import FDB
import Glibc
import Lab
import Policy
import Switchdev
import Testing

@testable import Records

/// The journal of an earlier version is taken over.
@Suite struct EarlierJournalTests {
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

    private static func make(_ folder: StateFolder, version: Int) throws {
        var information = stat()
        #expect(stat("/proc/thread-self/ns/net", &information) == 0)
        let namespace = "\(information.st_ino)"
        let boot = TextFile.read("/proc/sys/kernel/random/boot_id").dropLast()
        let old = try Database(path: folder.stateFile)
        try old.execute("PRAGMA foreign_keys = ON; BEGIN")
        try old.execute(EarlierJournalTests.version3)
        try old.execute(
            """
            CREATE TABLE adopted(guest INTEGER NOT NULL, mac INTEGER NOT NULL, vlan INTEGER NOT NULL);
            CREATE TABLE probe(id INTEGER PRIMARY KEY, boot TEXT NOT NULL, namespace INTEGER NOT NULL, snapshot TEXT NOT NULL);
            INSERT INTO guest VALUES(1,'vm1','standby','pinned',NULL,0,'\(boot)',\(namespace),'br0','proven','bond',5);
            INSERT INTO guest VALUES(2,'vm2','primary','bracketed','standby',0,'\(boot)',\(namespace),'br0','missing','unknown',7);
            INSERT INTO guest VALUES(3,'vm3','primary','pinned',NULL,0,'\(boot)',7,'br0','missing','unknown',7);
            INSERT INTO port SELECT id,'bridge','br0',3,0,0,0 FROM guest;
            INSERT INTO port SELECT id,'primary','vf'||id,10+id,0,1,0 FROM guest;
            INSERT INTO port SELECT id,'standby','tap'||id,20+id,0,1,0 FROM guest;
            INSERT INTO address SELECT id,namespace,'br0',90520730730496+id,0 FROM guest;
            INSERT INTO address VALUES(1,\(namespace),'br0',90520730730505,7);
            INSERT INTO adopted VALUES(1,90520730730505,7);
            INSERT INTO bracket VALUES(2,17,'nftables',1);
            INSERT INTO probe VALUES(1,'\(boot)',\(namespace),'pf0 4 52:54:00:00:00:01' || char(10) || '0 0000:01:10.0 02:00:00:00:00:01 - - - up');
            PRAGMA user_version = \(version);
            """)
        try old.execute("COMMIT")
        // A switch of vm1 to primary is about to begin: its revision, and that over the goal and the phase.
        var intents = [UInt64](repeating: 0, count: 6)
        intents[2] = 5
        intents[3] = 5 << 32 | 1 << 8 | 1
        try TextFile.write(intents.withUnsafeBytes { Array($0) }, to: folder.path + "/lock")
    }

    @Test(arguments: [3, 4], [false, true])
    func guestsBracketsIntentsAndProbesAreTakenOver(version: Int, byReader: Bool) throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = StateFolder(temporary.path)
        try EarlierJournalTests.make(folder, version: version)
        if byReader { _ = try Journal(reading: folder) }
        let journal = try Journal(folder: folder)
        let records = try journal.records()
        try #require(records.map(\.guest.id.text) == ["vm1", "vm2"])
        #expect(records[0].phase == .switching && records[0].goal == .primary && records[0].guest.side == .standby)
        #expect(records[0].guest.kind == .bond && records[0].proof == .proven && records[0].bracket == nil)
        #expect(records[0].guest.addresses.map(\.description) == ["52:54:00:00:00:01", "52:54:00:00:00:09/7"])
        let primary = try #require(records[0].guest.primary)
        #expect(primary.learningToRestore && primary.index == 11)
        #expect(records[1].phase == .bracketed && records[1].goal == .standby)
        #expect(records[1].bracket == Bracket(openedAt: 17, means: .nftables, ownsClsact: true))
        // Those of other network namespaces are taken over too.
        #expect(try journal.names() == ["vm1", "vm2", "vm3"])
        let claim = try journal.claim(records[0].guest.id)
        #expect(claim.record.guest.adopted == [try Address("52:54:00:00:00:09/7")])
        #expect(try journal.owner(of: Address("52:54:00:00:00:02"), bridge: 3) == "vm2")
        #expect(try ProbeRecord.names(in: journal) == ["1"])
        let probe = try ProbeRecord("1", in: journal)?.snapshot.function.device
        #expect(probe == "0000:01:10.0")
        #expect(access(folder.stateFile, F_OK) != 0 && access(folder.stateFile + ".converted", F_OK) == 0)
        #expect(access(folder.path + "/lock", F_OK) != 0)
    }

    @Test func whatIsNoJournalIsNamedAndLeft() throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = StateFolder(temporary.path)
        let text = "this is no database, and long enough to be taken for one that is broken\n"
        try TextFile.write(text, to: folder.stateFile)
        let error = #expect(throws: ControllerError.self) { _ = try Journal(folder: folder) }
        #expect("\(try #require(error))".contains("state.db"))
        #expect(TextFile.read(folder.stateFile) == text)
    }
}
