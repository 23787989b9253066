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
        PRAGMA user_version = \(History.version);
        """
    /// A file of a newer version is still appended to, because tables are only added.
    private static let version: Int64 = 3

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
                    try database.execute(History.schema)
                }, mapping: { $0 })
        }
        self.database = database
        self.folder = folder
    }

    /// Inserts the rows of a line; the caller has a transaction.
    func insert(_ line: ReadLine) throws(DatabaseError) {
        if line.redirection.isEmpty { return }
        let places = String(repeating: ",?", count: line.redirection.count - 1)
        try database.run("INSERT INTO redirection(\(ReadLine.columns)) VALUES(?\(places))", line.redirection)
        let row = SQLValue.integer(database.lastRow)
        try database.insert(into: "result", line.results.map { [row] + $0 })
        try database.insert(into: "note", line.notes.map { [row, $0] })
    }

    /// The last redirections, the newest first.
    package func entries(guest: String?, limit: Int) throws(DatabaseError) -> [HistoryEntry] {
        let condition = guest == nil ? "" : "WHERE guest = ? "
        let parameters = (guest.map { [SQLValue.text($0)] } ?? []) + [.integer(Int64(limit))]
        return try database.run(
            "SELECT \(History.columns) FROM redirection \(condition)ORDER BY id DESC LIMIT ?", parameters
        ).map(History.entry)
    }

    /// One redirection; nil if there is none with that number.
    package func entry(id: Int64) throws(DatabaseError) -> HistoryEntry? {
        try database.run("SELECT \(History.columns) FROM redirection WHERE id = ?", .integer(id)).first.map(
            History.entry)
    }

    private static let columns =
        "id, time_ns, guest, verb, side_before, side_after, strategy, outcome, proof, move_ns, total_ns, bridge, message, "
        + "(SELECT count(*) FROM result WHERE redirection = redirection.id)"

    private static func entry(_ row: [SQLValue]) -> HistoryEntry {
        HistoryEntry(
            id: row.integer(0) ?? 0, timeNanoseconds: row.integer(1) ?? 0, guest: row.text(2) ?? "",
            verb: row.text(3) ?? "", from: row.text(4) ?? "", to: row.text(5) ?? "", strategy: row.text(6) ?? "",
            outcome: row.text(7) ?? "", proof: row.text(8), moveNanoseconds: row.integer(9),
            totalNanoseconds: row.integer(10), bridge: row.text(11) ?? "", message: row.text(12),
            addresses: Int(row.integer(13) ?? 0))
    }
}

/// One line of the history.
package struct HistoryEntry: Hashable, Sendable, Encodable {
    /// The number of the redirection; it counts up.
    package let id: Int64
    /// The start, in nanoseconds since 1970 (CLOCK_REALTIME).
    package let timeNanoseconds: Int64
    /// The guest interface's name.
    package let guest: String
    /// The verb.
    package let verb: String
    /// The side before.
    package let from: String
    /// The side afterwards, if the redirection succeeded.
    package let to: String
    /// `cut`.
    package let strategy: String
    /// The outcome as spelled in ``Report/Result``.
    package let outcome: String
    /// What is known about the hardware.
    package let proof: String?
    /// From the first netlink write to the last acknowledgement, in nanoseconds.
    package let moveNanoseconds: Int64?
    /// From the call to the commit, in nanoseconds.
    package let totalNanoseconds: Int64?
    /// The bridge's name.
    package let bridge: String
    /// What failed.
    package let message: String?
    /// The number of addresses that were changed.
    package let addresses: Int
}
