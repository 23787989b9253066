package import JSON

/// One line of the history.
package struct HistoryEntry: Hashable, Sendable, Encodable {
    /// The redirection's number, which counts up; nil for a refusal or a time-out, which has no report.
    package let number: Int64?
    /// The start, in nanoseconds since 1970 (CLOCK_REALTIME).
    @JSON.Time package private(set) var time: Int64
    /// The guest interface's name.
    package let guest: String
    /// The verb.
    package let verb: String
    /// The side before; empty where it is not known of what was refused.
    package let from: String
    /// The side afterwards, if the redirection succeeded; of what was refused the side that was asked for, empty for none.
    package let to: String
    /// `cut` or `bracket`; empty for what was refused.
    package let strategy: String
    /// What was done to the bracket, or tried, as spelled in ``BracketChange``; nil also for what earlier versions did.
    package let bracketChange: String?
    /// The outcome as spelled in ``Report/Result``; `refused` also for a verb that was refused before it planned anything, and
    /// `timeout` where no signal came.
    package let outcome: String
    /// What is known about the hardware.
    package let proof: String?
    /// From the first netlink write to the last acknowledgement, in nanoseconds.
    package let moveNanoseconds: Int64?
    /// From the call, or from the signal, to the commit, in nanoseconds: the work without the wait.
    package let totalNanoseconds: Int64?
    /// The bridge's name; empty for what was refused.
    package let bridge: String
    /// What failed.
    package let message: String?
    /// The number of addresses that were changed.
    package let addressCount: Int
    /// The program, and its verb; nil for redirections by earlier versions.
    package let by: String?
    /// The user, by number: who has called sudo(8), or the process's own.
    package let uid: Int64?
    /// The signal that was waited for.
    package let signal: String?
    /// How long it was waited for, in nanoseconds.
    package let waitedNanoseconds: Int64?
}

extension HistoryEntry {
    /// - Parameter row: of the table `refusal`, in the order of ``ReadLine/refusalColumns``.
    init(refusal row: [SQLValue]) {
        let by = row.text(2) ?? ""
        let words = by.split(separator: " ")
        self.init(
            number: nil, time: row.integer(0) ?? 0, guest: row.text(1) ?? "",
            verb: words.count > 1 && words[0] == "fdbsteer" ? String(words[1]) : "", from: row.text(6) ?? "",
            to: row.text(7) ?? "", strategy: "", bracketChange: row.text(8), outcome: row.text(4) ?? "", proof: nil,
            moveNanoseconds: nil, totalNanoseconds: nil, bridge: "",
            message: row.text(5), addressCount: 0, by: by, uid: row.integer(3), signal: nil, waitedNanoseconds: nil)
    }
}

/// Which lines of the history are wanted.
package struct HistoryFilter: Hashable, Sendable {
    /// Of one guest; nil for all.
    package let guest: String?
    /// From this time on, in nanoseconds since 1970; nil for all.
    package let since: Int64?
    /// With one of these outcomes; empty for all.
    package let outcomes: [String]
    /// At most so many.
    package let limit: Int

    /// Makes a filter from its parts.
    package init(guest: String? = nil, since: Int64? = nil, outcomes: [String] = [], limit: Int) {
        self.guest = guest
        self.since = since
        self.outcomes = outcomes
        self.limit = limit
    }

    /// The condition of a SELECT with ``parameters``.
    ///
    /// - Parameter column: the one that has the outcome.
    func condition(_ column: String) -> String {
        var parts: [String] = []
        if guest != nil { parts.append("guest = ?") }
        if since != nil { parts.append("time_ns >= ?") }
        if !outcomes.isEmpty {
            parts.append("\(column) IN (" + outcomes.map { _ in "?" }.joined(separator: ",") + ")")
        }
        return parts.isEmpty ? "" : " WHERE " + parts.joined(separator: " AND ")
    }

    /// The values of ``condition(_:)``, and the limit.
    var parameters: [SQLValue] {
        (guest.map { [.text($0)] } ?? []) + (since.map { [.integer($0)] } ?? []) + outcomes.map { .text($0) }
            + [.integer(Int64(limit))]
    }
}
