import Switchdev

/// The database of redirections that `history` and `metrics` ask, made of the lines of the log (``EventLog``) by those who ask.
package struct History: ~Copyable {
    package let database: Database
    let folder: StateFolder

    /// What version 1 had neither of: notes, and the column `evidence`. The table `log` came with version 3; in the one that it
    /// replaces, version 2 had how much of its file beside the database was read.
    private static let schema = """
        CREATE TABLE IF NOT EXISTS redirection(
            id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, guest TEXT NOT NULL, verb TEXT NOT NULL,
            side_before TEXT NOT NULL, side_after TEXT NOT NULL, strategy TEXT NOT NULL, outcome TEXT NOT NULL,
            proof TEXT, move_ns INTEGER, total_ns INTEGER, bridge TEXT NOT NULL, message TEXT, evidence TEXT);
        CREATE TABLE IF NOT EXISTS result(
            redirection INTEGER NOT NULL REFERENCES redirection(id), address TEXT NOT NULL, primitive TEXT NOT NULL,
            port TEXT NOT NULL, error TEXT);
        CREATE INDEX IF NOT EXISTS redirection_of_guest ON redirection(guest);
        CREATE INDEX IF NOT EXISTS result_of_redirection ON result(redirection);
        CREATE TABLE IF NOT EXISTS note(redirection INTEGER NOT NULL REFERENCES redirection(id), text TEXT NOT NULL);
        CREATE INDEX IF NOT EXISTS note_of_redirection ON note(redirection);
        CREATE TABLE log(id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, skipped INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS backlog(first TEXT NOT NULL, bytes INTEGER NOT NULL);
        INSERT INTO log SELECT first, bytes, 0 FROM backlog;
        DROP TABLE backlog;
        PRAGMA user_version = 3;
        """
    /// Version 4 added who acted, the signal, and the table of verbs that were refused or timed out.
    private static let version4 = """
        ALTER TABLE redirection ADD COLUMN by_whom TEXT;
        ALTER TABLE redirection ADD COLUMN uid INTEGER;
        ALTER TABLE redirection ADD COLUMN signal TEXT;
        ALTER TABLE redirection ADD COLUMN waited_ns INTEGER;
        CREATE TABLE refusal(
            time_ns INTEGER NOT NULL, guest TEXT NOT NULL, by_whom TEXT NOT NULL, uid INTEGER, kind TEXT NOT NULL,
            message TEXT NOT NULL);
        CREATE INDEX refusal_of_guest ON refusal(guest);
        """
    /// Version 5 added a column that tells opening from closing a bracket, and the sides of refused redirections.
    private static let version5 = """
        ALTER TABLE redirection ADD COLUMN bracket_change TEXT;
        ALTER TABLE refusal ADD COLUMN side_before TEXT;
        ALTER TABLE refusal ADD COLUMN side_after TEXT;
        ALTER TABLE refusal ADD COLUMN bracket_change TEXT;
        PRAGMA user_version = \(History.version);
        """
    /// A file of a newer version is still appended to, because tables and columns are only added.
    private static let version: Int64 = 5

    /// Opens the database. It is made when it is missing, and one of an earlier version is converted.
    ///
    /// - Throws: ``DatabaseError``.
    package init(folder: StateFolder) throws(DatabaseError) {
        let database = try Database(path: folder.historyFile)
        if try database.userVersion() < History.version {
            // Versions before 3 had a write-ahead log. It stays where one of them is running.
            try? database.execute("PRAGMA journal_mode = DELETE")
            try database.transaction(
                { () throws(DatabaseError) in
                    let version = try database.userVersion()
                    // Another process was faster.
                    if version >= History.version { return }
                    if version == 1 { try database.execute("ALTER TABLE redirection ADD COLUMN evidence TEXT") }
                    if version < 3 { try database.execute(History.schema) }
                    if version < 4 { try database.execute(History.version4) }
                    try database.execute(History.version5)
                }, mapping: { $0 })
        }
        self.database = database
        self.folder = folder
    }

    /// Inserts the rows of a line; the caller has a transaction.
    func insert(_ line: ReadLine) throws(DatabaseError) {
        if !line.refusal.isEmpty {
            try database.run("INSERT INTO refusal(\(ReadLine.refusalColumns)) VALUES(?,?,?,?,?,?,?,?,?)", line.refusal)
        }
        if line.redirection.isEmpty { return }
        let places = String(repeating: ",?", count: line.redirection.count - 1)
        try database.run("INSERT INTO redirection(\(ReadLine.columns)) VALUES(?\(places))", line.redirection)
        let row = SQLValue.integer(database.lastRow)
        try database.insert(into: "result", line.results.map { [row] + $0 })
        try database.insert(into: "note", line.notes.map { [row, $0] })
    }

    /// The newest redirections, refusals and time-outs that match a filter, newest first.
    package func entries(_ filter: HistoryFilter) throws(DatabaseError) -> [HistoryEntry] {
        let redirections = try database.run(
            "SELECT \(History.columns) FROM redirection\(filter.condition("outcome")) ORDER BY id DESC LIMIT ?",
            filter.parameters
        ).map(History.entry)
        let refusals = try database.run(
            "SELECT \(ReadLine.refusalColumns) FROM refusal\(filter.condition("kind")) ORDER BY rowid DESC LIMIT ?",
            filter.parameters
        ).map(HistoryEntry.init(refusal:))
        // Both are sorted already.
        if refusals.isEmpty { return redirections }
        return Array((redirections + refusals).sorted { $0.time > $1.time }.prefix(filter.limit))
    }

    /// The number of the last redirection, of one guest or of all; nil if there is none.
    func lastNumber(of guest: String?) throws(DatabaseError) -> Int64? {
        let condition = guest == nil ? "" : "WHERE guest = ? "
        return try database.run(
            "SELECT id FROM redirection \(condition)ORDER BY id DESC LIMIT 1", guest.map { [SQLValue.text($0)] } ?? []
        ).first?.integer(0)
    }

    /// One redirection; nil if there is none with that number.
    package func entry(id: Int64) throws(DatabaseError) -> HistoryEntry? {
        try database.run("SELECT \(History.columns) FROM redirection WHERE id = ?", .integer(id)).first.map(
            History.entry)
    }

    private static let columns =
        "id, time_ns, guest, verb, side_before, side_after, strategy, outcome, proof, move_ns, total_ns, bridge, message, "
        + "(SELECT count(*) FROM result WHERE redirection = redirection.id), by_whom, uid, signal, waited_ns, bracket_change"

    private static func entry(_ row: [SQLValue]) -> HistoryEntry {
        HistoryEntry(
            number: row.integer(0), time: row.integer(1) ?? 0, guest: row.text(2) ?? "",
            verb: row.text(3) ?? "", from: row.text(4) ?? "", to: row.text(5) ?? "", strategy: row.text(6) ?? "",
            bracketChange: row.text(18), outcome: row.text(7) ?? "", proof: row.text(8),
            moveNanoseconds: row.integer(9),
            totalNanoseconds: row.integer(10), bridge: row.text(11) ?? "", message: row.text(12),
            addressCount: Int(row.integer(13) ?? 0), by: row.text(14), uid: row.integer(15), signal: row.text(16),
            waitedNanoseconds: row.integer(17))
    }
}
