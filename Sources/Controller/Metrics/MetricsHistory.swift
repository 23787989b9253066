import Exposition
import Policy
import Records

/// What the history amounts to: counts that only rise, folded row by row.
///
/// The history outlives the processes that write it, so counts made from it are right after a restart, and redirections
/// that the command line made are in them.
struct HistoryTotals: Hashable, Sendable {
    /// What redirections are counted by.
    struct Key: Hashable, Sendable {
        let direction: String
        let strategy: String
        let outcome: String
    }

    /// The columns of a row that count.
    struct Row: Hashable, Sendable {
        let id: Int64
        let verb: String
        let direction: String
        let strategy: String
        let outcome: String
        /// In nanoseconds.
        let move: Int64
        /// In nanoseconds; 0 where there was nothing to prove.
        let proof: Int64
    }

    /// The last row that is folded in; rows are numbered upwards and never again the same.
    private(set) var lastID: Int64 = 0
    /// Redirections by side, strategy and outcome.
    private(set) var redirections: [Key: UInt64] = [:]
    /// Verbs of any kind that failed and were put back, completely or not.
    private(set) var rollbacks: UInt64 = 0
    /// From the first netlink write of an entry to the last acknowledgement.
    private(set) var moves = DurationHistogram(bounds: HistoryTotals.bounds)
    /// From the last acknowledgement until hardware had followed.
    private(set) var proofs = DurationHistogram(bounds: HistoryTotals.bounds)

    /// From one netlink request to the default limit of a proof and beyond: 10 us to 10 s, in nanoseconds.
    private static let bounds: [Int64] =
        [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000].flatMap { [$0, 2 * $0, 5 * $0] }
        + [10_000_000_000]
    private static let strategies = Strategy.allCases.map(\.rawValue)
    private static let outcomes = Report.Result.allCases.filter(\.isRecorded).map(\.rawValue)
    /// For a word that this version does not know, so that no file can add label values without end.
    private static let other = "other"

    /// Nothing yet.
    init() {}

    /// Adds one row.
    mutating func fold(_ row: Row) {
        lastID = max(lastID, row.id)
        let isUndone =
            row.outcome == Report.Result.rolledBack.rawValue || row.outcome == Report.Result.notRolledBack.rawValue
        if isUndone { rollbacks += 1 }
        // They pin, unpin, or put back: no traffic is redirected. The daemon counts its repairs by cause.
        let others: [Plan.Verb] = [.prepare, .release, .repair]
        if others.contains(where: { $0.rawValue == row.verb }) { return }
        func known(_ word: String, _ words: [String]) -> String { words.contains(word) ? word : HistoryTotals.other }
        let key = Key(
            direction: known(row.direction, Side.allCases.map(\.rawValue)),
            strategy: known(row.strategy, HistoryTotals.strategies),
            outcome: known(row.outcome, HistoryTotals.outcomes))
        redirections[key, default: 0] += 1
        guard row.outcome == Report.Result.done.rawValue else { return }
        if row.move > 0 { moves.observe(row.move) }
        if row.proof > 0 { proofs.observe(row.proof) }
    }

    /// Adds the rows that were appended since the last call.
    mutating func fold(_ history: borrowing History) throws(DatabaseError) {
        while true {
            let rows = try HistoryTotals.rows(of: history, after: lastID)
            for row in rows { fold(row) }
            if rows.isEmpty { return }
        }
    }

    /// The columns that count, of at most 1,000 rows, in the order of their numbers.
    private static func rows(
        of history: borrowing History, after id: Int64
    ) throws(DatabaseError) -> [Row] {
        // The first line of the evidence has the duration of the proof.
        try history.database.run(
            "SELECT id, verb, side_after, strategy, outcome, move_ns, substr(evidence, 1, 64) FROM redirection WHERE id > ? "
                + "ORDER BY id LIMIT 1000", .integer(id)
        ).map { row in
            Row(
                id: row.integer(0) ?? id, verb: row.text(1) ?? "", direction: row.text(2) ?? "",
                strategy: row.text(3) ?? "", outcome: row.text(4) ?? "", move: row.integer(5) ?? 0,
                proof: row.text(6).flatMap(Evidence.proofNanoseconds(inRecord:)) ?? 0)
        }
    }

    /// The families made of them, with a sample for every known combination from the start.
    var families: [MetricFamily] {
        var redirected = MetricFamily(
            "fdbsteer_redirections_total", .counter,
            help:
                "Redirections by the side asked for, strategy and outcome: those of switch, abort, reconcile and the daemon; "
                + "not prepare and release, and not calls that found everything as asked for.",
            labels: ["direction", "strategy", "outcome"])
        for side in Side.allCases {
            for strategy in HistoryTotals.strategies {
                for outcome in HistoryTotals.outcomes { redirected.set(0, side.rawValue, strategy, outcome) }
            }
        }
        for (key, count) in redirections { redirected.set(count, key.direction, key.strategy, key.outcome) }
        var duration = MetricFamily(
            "fdbsteer_redirection_duration_seconds", .histogram,
            help:
                "Durations of redirections that were done. move: from the first netlink write of an entry to the last "
                + "acknowledgement; proof: from there until hardware had followed, where there is hardware.",
            labels: ["phase"])
        duration.set(.durations(moves), "move")
        duration.set(.durations(proofs), "proof")
        var undone = MetricFamily(
            "fdbsteer_rollbacks_total", .counter,
            help: "Changes of any verb that failed and were put back, completely (outcome rolled_back) or not.")
        undone.set(rollbacks)
        return [redirected, duration, undone]
    }
}

extension Report.Result {
    /// Redirections in the history can have it; only a release is ever incomplete.
    var isRecorded: Bool { self != .planned && self != .already && self != .incomplete }
}
