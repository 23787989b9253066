public import Switchdev

/// What a plan tells the journal at one moment.
public enum JournalChange: Hashable, Sendable {
    /// Nothing.
    case none
    /// This is about to be done, with the guest going to a side.
    case intent(GuestPhase, goal: Side)
    /// A bracket is about to be opened or closed, or is open. `side` is where the guest was before the bracket, and where it is
    /// while the bracket is being closed.
    case bracket(GuestPhase, Bracket, side: Side, goal: Side, proof: KnownProof?)
    /// Nothing is under way any more; the guest is on a side.
    case settled(Side, proof: KnownProof, endsBracket: Bool)
    /// The guest is on the side where it was; only what is known of hardware may be news.
    case confirmed(Side)
    /// The guest is forgotten.
    case removed

    /// What is known of hardware at that moment.
    public enum KnownProof: Hashable, Sendable {
        /// What the execution of the plan showed.
        case shown
        /// What was known before.
        case earlier(OffloadProof.Status)
    }
}

/// What a plan tells the journal: before the first write, when everything holds, and when it was undone.
public struct Books: Hashable, Sendable {
    /// Before the first write.
    public let begin: JournalChange
    /// When everything holds.
    public let commit: JournalChange
    /// When it failed, and everything is as before.
    public let rollBack: JournalChange

    /// For a plan that changes nothing that the journal knows.
    package static let nothing = Books(begin: .none, commit: .none, rollBack: .none)

    /// For a plan without a bracket.
    package static func cut(_ verb: Plan.Verb, from: Side, to: Side) -> Books {
        let undone = JournalChange.settled(from, proof: .earlier(.missing), endsBracket: false)
        let done = JournalChange.settled(to, proof: .shown, endsBracket: false)
        switch verb {
        // The guest's record is written with phase `preparing` before its plan is carried out.
        case .prepare: return Books(begin: .none, commit: done, rollBack: .removed)
        case .switch, .abort, .reconcile:
            return Books(begin: .intent(.switching, goal: to), commit: done, rollBack: undone)
        case .release: return Books(begin: .intent(.releasing, goal: to), commit: .removed, rollBack: undone)
        case .repair: return Books(begin: .none, commit: .confirmed(to), rollBack: .none)
        }
    }

    /// For a plan that opens a bracket.
    ///
    /// - Parameter isMove: it moves entries, so that what was known of hardware no longer holds.
    package static func opening(_ bracket: Bracket, _ record: GuestRecord, to goal: Side, isMove: Bool) -> Books {
        let side = record.guest.side
        return Books(
            begin: .bracket(.opening, bracket, side: side, goal: goal, proof: nil),
            commit: .bracket(
                .bracketed, bracket, side: side, goal: goal, proof: isMove ? .shown : .earlier(record.proof)),
            rollBack: .settled(side, proof: .earlier(isMove ? .missing : record.proof), endsBracket: true))
    }

    /// For a plan that closes a bracket on a side. From its beginning on the guest is there, whatever happens to this process.
    ///
    /// - Parameter isMove: it moves entries, so that what was known of hardware no longer holds.
    package static func closing(_ bracket: Bracket, _ record: GuestRecord, at side: Side, isMove: Bool) -> Books {
        let goal = record.goal ?? side
        return Books(
            begin: .bracket(.closing, bracket, side: side, goal: goal, proof: nil),
            commit: .settled(side, proof: isMove ? .shown : .earlier(record.proof), endsBracket: true),
            rollBack: .bracket(record.phase, bracket, side: record.guest.side, goal: goal, proof: nil))
    }
}
