import Glibc
package import Policy
import Switchdev

/// The append-only record of redirections, which survives reboots.
///
/// It is written after the move, outside its critical path. The daemon writes to its database. A process that lives for
/// one redirection writes to a file beside it (``HistoryBacklog``), which is merged before the database is read. A power
/// failure may lose the rows of the last second, because commits go to a write-ahead log without waiting for the disk.
/// Each process reads that log when it opens it, and SQLite's own checkpoints never shorten it if each process writes
/// once: a switch took 20 ms after 1,200 of them. A long log is therefore written back and emptied here.
package struct History: ~Copyable {
    package let database: Database
    /// The size of the write-ahead log, in bytes, at which it is written back and emptied: about a dozen redirections.
    private static let logLimit = 64 << 10
    private let logFile: String
    private let folder: StateFolder

    /// Small pages, because a redirection writes five, and each process reads the whole log when it opens it.
    private static let schema = """
        PRAGMA page_size = 1024;
        PRAGMA journal_mode = WAL;
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
        PRAGMA user_version = \(History.version);
        """
    /// Version 1 had neither notes nor evidence. A file of a newer version is still appended to, because tables are only added.
    private static let version: Int64 = 2

    package init(folder: StateFolder, readOnly: Bool = false) throws(DatabaseError) {
        let database = try Database(path: folder.historyFile, readOnly: readOnly)
        database.keepLogOnClose()
        if !readOnly {
            let version = try database.run("PRAGMA user_version").first?.integer(0) ?? 0
            if version == 1 { try database.execute("ALTER TABLE redirection ADD COLUMN evidence TEXT") }
            if version < History.version { try database.execute(History.schema) }
            try database.execute("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0")
        }
        self.database = database
        logFile = folder.historyFile + "-wal"
        self.folder = folder
    }

    /// Appends a report with its results, after the backlog.
    package func append(_ report: Report) throws(DatabaseError) {
        if let backlog = try HistoryBacklog(reading: folder) { try takeOver(backlog) }
        try database.transaction({ () throws(DatabaseError) in try insert(HistoryRecord(report)) }, mapping: { $0 })
    }

    /// Inserts the rows of a record; the caller has a transaction.
    package func insert(_ record: HistoryRecord) throws(DatabaseError) {
        let places = String(repeating: ",?", count: record.redirection.count - 1)
        try database.run(
            "INSERT INTO redirection(\(HistoryRecord.columns)) VALUES(?\(places))", record.redirection)
        let row = SQLValue.integer(database.lastRow)
        try database.insert(into: "result", record.results.map { [row] + $0.values })
        try database.insert(into: "note", record.notes.map { [row, .text($0)] })
    }

    /// Writes a long log back. This waits for the disk; a reader that blocks it postpones it.
    package func shortenLog() throws(DatabaseError) {
        var information = stat()
        guard stat(logFile, &information) == 0, information.st_size > History.logLimit else { return }
        try database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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
