package import Policy

/// The signals that a guest's redirection waits for.
public struct WaitView: Hashable, Sendable, Encodable {
    /// The signals as the caller named them; the first to arrive ends the wait.
    public let signals: [String]
    /// The start of the wait, in nanoseconds since 1970.
    public let since: Int64
    /// The time at which the wait ends without a signal, in nanoseconds since 1970.
    public let until: Int64
}

extension Journal {
    /// Created by the first wait; its rows are valid only in phase `waiting`.
    private static let waitSchema = """
        CREATE TABLE IF NOT EXISTS wait(
            guest INTEGER PRIMARY KEY REFERENCES guest(id) ON DELETE CASCADE, signals TEXT NOT NULL,
            since INTEGER NOT NULL, until INTEGER NOT NULL);
        """

    /// Records that a redirection of a guest waits for a signal; a guest with an operation in progress keeps its phase.
    package func beginWait(_ wait: SignalWait, _ record: GuestRecord, goal: Side, now: Int64) throws(ControllerError) {
        try writing(record.row) { () throws(DatabaseError) in
            try database.execute(Journal.waitSchema)
            try database.run(
                "INSERT OR REPLACE INTO wait VALUES(?,?,?,?)", .integer(record.row),
                .text(wait.signals.map(\.description).joined(separator: "\n")), .integer(now),
                .integer(now + wait.timeout))
            guard record.phase == .pinned else { return }
            try database.run(
                "UPDATE guest SET phase = ?, goal = ?, revision = revision + 1 WHERE id = ?",
                .text(GuestPhase.waiting.rawValue), .text(goal.rawValue), .integer(record.row))
        }
    }

    /// Records the end of a wait; does nothing in another phase.
    package func endWait(row: Int64) throws(ControllerError) {
        let isWaiting = try reading { () throws(DatabaseError) in
            try database.run("SELECT 1 FROM guest WHERE id = ? AND phase = 'waiting'", .integer(row)).first != nil
        }
        guard isWaiting else { return }
        try writing(row) { () throws(DatabaseError) in
            try database.run(
                "UPDATE guest SET phase = 'pinned', goal = NULL, revision = revision + 1 WHERE id = ? AND phase = 'waiting'",
                .integer(row))
        }
    }

    /// The wait of a guest.
    package func wait(of guest: String) -> WaitView? {
        guard
            let row = try? database.run(
                "SELECT signals, since, until FROM wait JOIN guest ON guest.id = wait.guest WHERE name = ?",
                .text(guest)
            ).first, let signals = row.text(0), let since = row.integer(1), let until = row.integer(2)
        else { return nil }
        return WaitView(signals: signals.split(separator: "\n").map(String.init), since: since, until: until)
    }
}
