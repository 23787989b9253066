import Policy
import Records
import System

/// Brackets that stay open: all of the guest's frames pass the CPU meanwhile, and nobody may be there to close them.
extension Keeper {
    /// When open brackets are looked at next (CLOCK_MONOTONIC, nanoseconds).
    package var bracketsDue: Int64 { openBrackets.values.min() ?? .max }

    /// A guest's record is as told now.
    mutating func noteBracket(_ record: GuestRecord) {
        guard record.bracketGoal != nil else {
            openBrackets[record.row] = nil
            set(record.row, .bracket, [])
            return
        }
        let left = record.since + bracketTimeout - Stopwatch.realTime
        // It was opened after the one of which an earlier daemon told.
        if left > 0 { earlierConditions.end([.bracket]) { $1 == record.row } }
        openBrackets[record.row] = monotonicNanoseconds() + max(0, left)
    }

    /// Brackets may be open for so long before that is a condition, in nanoseconds.
    package mutating func setBracketTimeout(_ timeout: Int64) {
        guard timeout != bracketTimeout else { return }
        bracketTimeout = timeout
        for row in Array(openBrackets.keys) {
            if let record = watch.records[row] { noteBracket(record) }
        }
    }

    /// Tells of brackets that are open for too long. A command that waits closes its own, and the policy that follows a guest tells
    /// itself.
    package mutating func judgeBrackets() {
        let now = monotonicNanoseconds()
        for (row, due) in openBrackets where due <= now {
            openBrackets[row] = now + bracketTimeout
            guard let record = watch.records[row], let goal = record.bracketGoal else { continue }
            let id = record.guest.id
            guard !isTold(row), journal.wait(of: id.text) == nil else {
                set(row, .bracket, [])
                continue
            }
            set(
                row, .bracket,
                [
                    Condition(
                        Condition.bracketOpen, .problem, "",
                        "its bracket has been open for longer than \(DurationText.text(bracketTimeout)): all of its frames pass the CPU",
                        remedy:
                            "fdbsteer switch \(id) --to \(goal.rawValue) --close, once the guest is there; fdbsteer abort \(id) "
                            + "gives it up")
                ])
        }
    }

    /// The policy that follows a guest tells of its bracket. It knows nothing while the monitor is not heard.
    private func isTold(_ row: Int64) -> Bool {
        guard let ward = wards[row], ward.isFollowed else { return false }
        return ward.word != nil || ward.conditions.found(by: .monitor).isEmpty
    }
}
