package import Policy

/// The signals that a guest's redirection waits for.
package struct WaitView: Hashable, Sendable, Encodable {
    /// The signals as the caller named them; the first to arrive ends the wait.
    package let signals: [String]
    /// The start of the wait, in nanoseconds since 1970.
    package let since: Int64
    /// The time at which the wait ends without a signal, in nanoseconds since 1970.
    package let until: Int64
}

extension Claim {
    /// Created by the first wait; its rows are valid only in phase `waiting`.
    private static let waitSchema = """
        CREATE TABLE IF NOT EXISTS wait(
            guest INTEGER PRIMARY KEY REFERENCES guest(id) ON DELETE CASCADE, signals TEXT NOT NULL,
            since INTEGER NOT NULL, until INTEGER NOT NULL);
        """

    /// Records that a redirection of a guest waits for a signal; one with something under way stays in its phase.
    package func beginWait(_ wait: SignalWait, goal: Side, now: Int64) throws(ControllerError) {
        let (journal, record) = (journal, record)
        try journal.writing(record.row) { () throws(DatabaseError) in
            try journal.database.execute(Claim.waitSchema)
            try journal.database.run(
                "INSERT OR REPLACE INTO wait VALUES(?,?,?,?)", .integer(record.row),
                .text(wait.signals.map(\.description).joined(separator: "\n")), .integer(now),
                .integer(now + wait.timeout))
            guard record.phase == .pinned else { return }
            try journal.database.run(
                "UPDATE guest SET phase = ?, goal = ?, revision = revision + 1 WHERE id = ?",
                .text(GuestPhase.waiting.rawValue), .text(goal.rawValue), .integer(record.row))
        }
    }

    /// Records that nothing is waited for any more; nothing in another phase.
    package func endWait() throws(ControllerError) {
        let (journal, record) = (journal, record)
        let isWaiting = try journal.reading { () throws(DatabaseError) in
            try journal.database.run("SELECT 1 FROM guest WHERE id = ? AND phase = 'waiting'", .integer(record.row))
                .first != nil
        }
        guard isWaiting else { return }
        try journal.writing(record.row) { () throws(DatabaseError) in
            try journal.database.run(
                "UPDATE guest SET phase = 'pinned', goal = NULL, revision = revision + 1 WHERE id = ? AND phase = 'waiting'",
                .integer(record.row))
        }
    }
}
