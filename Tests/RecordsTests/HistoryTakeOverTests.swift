import Glibc
import Lab
import Policy
import Switchdev
import TestSupport
import Testing

@testable import Records

/// What versions before the log of events have left, and the verdicts' file.
struct HistoryTakeOverTests {
    /// The tables of version 2.
    private static let version2 = """
        PRAGMA page_size = 1024;
        PRAGMA journal_mode = WAL;
        CREATE TABLE redirection(
            id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, guest TEXT NOT NULL, verb TEXT NOT NULL,
            side_before TEXT NOT NULL, side_after TEXT NOT NULL, strategy TEXT NOT NULL, outcome TEXT NOT NULL,
            proof TEXT, move_ns INTEGER, total_ns INTEGER, bridge TEXT NOT NULL, message TEXT, evidence TEXT);
        CREATE TABLE result(
            redirection INTEGER NOT NULL REFERENCES redirection(id), address TEXT NOT NULL, primitive TEXT NOT NULL,
            port TEXT NOT NULL, error TEXT);
        CREATE TABLE note(redirection INTEGER NOT NULL REFERENCES redirection(id), text TEXT NOT NULL);
        CREATE TABLE backlog(first TEXT NOT NULL, bytes INTEGER NOT NULL);
        CREATE TABLE verdict(
            driver TEXT NOT NULL, pci_id TEXT NOT NULL, firmware TEXT NOT NULL, eswitch_mode TEXT NOT NULL,
            time_ns INTEGER NOT NULL, flags TEXT NOT NULL, counts TEXT NOT NULL,
            PRIMARY KEY (driver, pci_id, firmware, eswitch_mode)) WITHOUT ROWID;
        INSERT INTO redirection VALUES(1,7,'vm1','switch','primary','standby','cut','done',NULL,1,2,'br0',NULL,NULL);
        INSERT INTO verdict VALUES('igb','8086:10c9','','none',5,'yyy--yy-n with-care make-before-break','');
        PRAGMA user_version = 2;
        """

    /// A line of the old backlog.
    private static func line(_ time: Int) -> String {
        let row = [
            "\(time)-9", "\(time)", "vm1", "switch", "primary", "standby", "cut", "done", "\\N", "3", "4", "br0",
        ]
        let rest = ["a\\tb\\\\\\n", "\\N", "1", "02:00:00:00:00:01", "replace", "tap0", "\\N", "a note"]
        return "\n" + (row + rest).map { $0 + "\t" }.joined() + "\\.\n"
    }

    private func times(_ folder: Folder) throws -> [Int64] {
        try HistoryReading.entries(HistoryFilter(limit: 100), in: folder.state).map(\.time).reversed()
    }

    private func inUse(_ path: String) -> Bool { access(path, F_OK) == 0 }

    @Test func theBacklogIsMergedOnce() throws {
        let folder = try Folder()
        let lines = (1...3).map(HistoryTakeOverTests.line)
        // The last one was cut off, and one has no guest.
        let broken = lines[0].replacing("vm1", with: "\\N") + lines[0].dropLast(9)
        try TextFile.write(lines.joined() + broken, to: folder.state.backlogFile)
        try folder.append()
        #expect(try times(folder) == [1, 2, 3, 1])
        #expect(!inUse(folder.state.backlogFile))
        let report = try HistoryReading.report(nil, number: 2, in: folder.state)
        #expect(report.entry.message == "a\tb\\\n" && report.entry.proof == nil && report.entry.totalNanoseconds == 4)
        #expect(report.notes == ["a note"])
        #expect(
            report.addresses == [.init(address: "02:00:00:00:00:01", primitive: "replace", port: "tap0", error: nil)])
        // Killed between the commit and the end of the file.
        try TextFile.write(lines.joined() + broken, to: folder.state.backlogFile)
        #expect(try times(folder) == [1, 2, 3, 1])
        #expect(!inUse(folder.state.backlogFile))
    }

    @Test func theVersionBeforeIsConverted() throws {
        let folder = try Folder()
        let lines = (8...9).map(HistoryTakeOverTests.line)
        do {
            let old = try Database(path: folder.state.historyFile)
            try old.execute(HistoryTakeOverTests.version2)
            // Its rows of the first line are there, and the backlog was not emptied any more.
            try old.execute("INSERT INTO backlog VALUES('8-9',\(lines[0].utf8.count - 1))")
        }
        try TextFile.write(lines.joined(), to: folder.state.backlogFile)
        #expect(try times(folder) == [7, 9])
        let history = try History(folder: folder.state)
        let state = try history.database.run(
            "SELECT user_version, journal_mode, (SELECT count(*) FROM sqlite_schema WHERE name IN ('backlog', 'verdict')) "
                + "FROM pragma_user_version, pragma_journal_mode")
        #expect(state == [[.integer(5), .text("delete"), .integer(0)]])
        let verdicts = try StoredVerdict.all(in: folder.state)
        #expect(verdicts.map(\.nic.driver) == ["igb"] && verdicts.first?.time == 5)
        #expect(verdicts.first?.verdict.staleFilter == true)
    }

    /// What version 4 added to version 3, with a redirection and a refusal.
    private static let version4 = """
        ALTER TABLE redirection ADD COLUMN by_whom TEXT;
        ALTER TABLE redirection ADD COLUMN uid INTEGER;
        ALTER TABLE redirection ADD COLUMN signal TEXT;
        ALTER TABLE redirection ADD COLUMN waited_ns INTEGER;
        CREATE TABLE refusal(
            time_ns INTEGER NOT NULL, guest TEXT NOT NULL, by_whom TEXT NOT NULL, uid INTEGER, kind TEXT NOT NULL,
            message TEXT NOT NULL);
        CREATE TABLE log(id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, skipped INTEGER NOT NULL);
        DROP TABLE backlog;
        DROP TABLE verdict;
        PRAGMA user_version = 4;
        """
    private static let rowsOfVersion4 = """
        INSERT INTO redirection(time_ns, guest, verb, side_before, side_after, strategy, outcome, bridge, by_whom, uid)
            VALUES(8,'vm1','switch','primary','standby','bracket','done','br0','fdbsteer switch',0);
        INSERT INTO refusal(time_ns, guest, by_whom, uid, kind, message) VALUES(9,'vm1','fdbsteer switch',0,'refused','no');
        """

    /// Its rows stay as they are, what is new is told of new ones alone, and a process of that version goes on beside.
    @Test func version4KeepsItsRows() throws {
        let folder = try Folder()
        let old = try Database(path: folder.state.historyFile)
        for sql in [HistoryTakeOverTests.version2, HistoryTakeOverTests.version4, HistoryTakeOverTests.rowsOfVersion4] {
            try old.execute(sql)
        }
        var report = try Folder.report(startedAt: 10)
        report.bracketChange = .closes
        #expect(EventLog(folder.state).append(report) == nil)
        EventLog(folder.state).append(
            .refused, guest: "vm1", at: 11, "not now", from: .primary, to: .standby, bracketChange: .closes)
        EventLog(folder.state).append(.timeout, guest: "vm1", at: 12, "no signal")
        func rows() throws -> [String] {
            try HistoryReading.entries(HistoryFilter(limit: 100), in: folder.state).reversed().map {
                "\($0.time) \($0.outcome) \($0.from)>\($0.to) \($0.bracketChange ?? "-")"
            }
        }
        let all = [
            "7 done primary>standby -", "8 done primary>standby -", "9 refused > -",
            "10 done primary>standby closes", "11 refused primary>standby closes", "12 timeout > -",
        ]
        #expect(try rows() == all)
        #expect(try old.userVersion() == 5)
        try old.execute(
            HistoryTakeOverTests.rowsOfVersion4.replacing("(8,", with: "(18,").replacing("(9,", with: "(19,"))
        #expect(try rows() == all + ["18 done primary>standby -", "19 refused > -"])
    }

    @Test func aConversionBesideTheVersionBefore() throws {
        let folder = try Folder()
        let old = try Database(path: folder.state.historyFile)
        try old.execute(HistoryTakeOverTests.version2)
        try folder.append()
        #expect(try times(folder) == [7, 1])
        // It goes on appending rows.
        try old.execute(
            "INSERT INTO redirection(id, time_ns, guest, verb, side_before, side_after, strategy, outcome, proof, move_ns, "
                + "total_ns, bridge, message, evidence) VALUES(9,8,'vm1','switch','primary','standby','cut','done',NULL,1,2,'br0',NULL,NULL)"
        )
        try folder.append()
        #expect(try times(folder) == [7, 1, 8, 1])
    }

    private func report(_ driver: String) -> ProbeReport {
        var report = ProbeReport(
            outcome: .done, nic: .init(driver: driver, pciID: "1:2", firmware: "", eswitchMode: "none"), pf: "pf0",
            vf: 0, address: "02:00:00:00:00:01")
        report.verdict = MACFilterVerdict(record: "yyy--yy-n with-care make-before-break")
        return report
    }

    @Test func aVerdictReplacesTheOneBefore() throws {
        let folder = try Folder()
        #expect(try StoredVerdict.all(in: folder.state).isEmpty)
        #expect(StoredVerdict.store(report("b"), now: 1, in: folder.state) == nil)
        #expect(StoredVerdict.store(report("a"), now: 2, in: folder.state) == nil)
        // A kill has left this.
        try TextFile.write("half", to: folder.state.verdictsFile + ".new")
        #expect(StoredVerdict.store(report("b"), now: 3, in: folder.state) == nil)
        let all = try StoredVerdict.all(in: folder.state)
        #expect(all.map(\.nic.driver) == ["a", "b"] && all.map(\.time) == [2, 3])
        #expect(try StoredVerdict.read(of: report("a").nic, in: folder.state) == all.first)
        #expect(!inUse(folder.state.verdictsFile + ".new") && !inUse(folder.state.historyFile))
    }

    @Test(arguments: ["", "{", "{}", "{\"verdicts\":[{}]}", "{\"verdicts\":7}"])
    func aBrokenFileOfVerdictsIsNamed(_ content: String) throws {
        let folder = try Folder()
        try TextFile.write(content, to: folder.state.verdictsFile)
        let error = #expect(throws: ControllerError.self) { try StoredVerdict.all(in: folder.state) }
        #expect(error?.code == .precondition && error?.message.contains(folder.state.verdictsFile) == true)
        #expect(StoredVerdict.store(report("a"), now: 1, in: folder.state)?.contains("is broken") == true)
        #expect(TextFile.read(folder.state.verdictsFile) == content)
        // The history does not need it.
        try Database(path: folder.state.historyFile).execute(HistoryTakeOverTests.version2)
        #expect(try times(folder) == [7])
        unlink(folder.state.verdictsFile)
        #expect(try times(folder) == [7])
        #expect(try StoredVerdict.all(in: folder.state).map(\.nic.driver) == ["igb"])
    }
}
