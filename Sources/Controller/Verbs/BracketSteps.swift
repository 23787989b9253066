import Glibc
import Netlink
import Policy
import Records
import Switchdev
import System

extension Host {
    // MARK: - Driving

    /// Makes or removes a copy; what it carried goes into the report before it is gone.
    mutating func copy(_ change: CopyChange, report: inout Report) -> Redirection.Event {
        let bracket = change.bracket
        do throws(NetlinkError) {
            if change.isOn {
                try Copies.install(
                    change.specification, by: bracket.means, portName: change.portName,
                    ownsClsact: bracket.ownsClsact, using: &socket)
            } else {
                let state = try? Copies.state(change.specification, by: bracket.means, using: &socket)
                try Copies.remove(
                    change.specification, by: bracket.means, ownsClsact: bracket.ownsClsact, using: &socket)
                var view = BracketView(bracket, goal: report.to, state: state, now: Stopwatch.realTime)
                view.isOpen = false
                report.bracket = view
                report.notes.append("the bracket \(view.words)")
            }
            return .done
        } catch {
            return .failed(
                Redirection.Failure(
                    "cannot \(change.isOn ? "make" : "remove") the copy from \(change.portName) to \(change.targetName)",
                    cause: KernelRefusal(error)))
        }
    }

    /// Records what a plan about a bracket is about to do.
    func beginBracket(
        _ plan: Plan, _ record: GuestRecord, _ journal: borrowing Journal
    ) throws(ControllerError) {
        switch plan.bracket {
        case .opening(let bracket):
            try journal.bracket(.opening, bracket, row: record.row, side: plan.from, goal: plan.to)
        case .closing:
            guard let bracket = record.bracket else { return }
            // From here on the guest is where the caller says, whatever happens to this process.
            try journal.bracket(.closing, bracket, row: record.row, side: plan.to, goal: record.goal ?? plan.to)
        case .repairing, nil: break
        }
    }

    /// Records what a plan about a bracket has done.
    func commitBracket(
        _ plan: Plan, _ record: GuestRecord, _ proof: OffloadProof, _ journal: borrowing Journal
    ) throws(ControllerError) {
        // Where no entry was moved, what is known of hardware is what was known before.
        let known = plan.changes.isEmpty ? record.proof : proof.status
        switch plan.bracket {
        case .opening(let bracket):
            try journal.bracket(
                .bracketed, bracket, row: record.row, side: plan.from, goal: plan.to, proof: known)
        case .closing:
            try journal.settle(row: record.row, side: plan.to, proof: known, endsBracket: true)
        case .repairing, nil: break
        }
    }

    /// Records that a plan about a bracket has failed, and everything is as before.
    func rollBackBracket(
        _ plan: Plan, _ record: GuestRecord, _ journal: borrowing Journal
    ) throws(ControllerError) {
        switch plan.bracket {
        case .opening:
            let known = plan.changes.isEmpty ? record.proof : .missing
            try journal.settle(row: record.row, side: plan.from, proof: known, endsBracket: true)
        case .closing:
            guard let bracket = record.bracket else { return }
            try journal.bracket(
                record.phase, bracket, row: record.row, side: record.guest.side, goal: record.goal ?? plan.to)
        case .repairing, nil: break
        }
    }

    // MARK: - Words

    /// What closes a bracket.
    static func closing(_ record: GuestRecord) -> String {
        let id = record.guest.id
        let goal = record.goal ?? record.guest.side
        return
            "\"fdbsteer switch \(id) --to \(goal.rawValue) --close\" when the guest is there, \"fdbsteer abort \(id)\" "
            + "to give it up"
    }

    /// Why another verb has to wait for a bracket; nil without one.
    static func bracketInTheWay(_ record: GuestRecord) -> ControllerError? {
        guard record.bracket != nil else { return nil }
        let id = record.guest.id
        let goal = record.goal ?? record.guest.side
        if record.phase == .bracketed {
            return ControllerError(
                .precondition,
                "a bracket of guest \(id) from \(record.guest.side.rawValue) to \(goal.rawValue) is open",
                remedy: closing(record))
        }
        return ControllerError(
            .precondition, "the \(record.phase.rawValue) of a bracket of guest \(id) did not end",
            remedy: "run \"fdbsteer abort \(id)\" first")
    }

    static func unfinished(_ record: GuestRecord) -> ControllerError {
        ControllerError(
            .precondition, "an earlier \(record.phase.rawValue) of guest \(record.guest.id) did not end",
            remedy: "run \"fdbsteer abort \(record.guest.id)\" first")
    }
}
