import Policy
import Records
import Switchdev
import System

/// Brings an open bracket that its opener left to what it should be, and leaves it open.
struct RepairBracket {
    let options: VerbOptions

    /// - Returns: what was done, and the report of entries that were moved, for the history.
    func run(
        under claim: borrowing Claim, on kernel: inout Kernel
    ) throws(ControllerError) -> (result: Reconciliation, report: Report?) {
        let goal = claim.record.goal ?? claim.record.guest.side
        let observation = try kernel.observe(claim.record, to: goal)
        let record = claim.named(by: observation)
        let plan = try Planner().openBracket(record, to: goal, copy: nil, observation: observation)
        let side = record.servingSide(observation)
        var done: [String] = []
        var report: Report?
        // Nothing is copied while the standby delivers nothing.
        if side == .standby, kernel.view(record)?.isCopyRight == false {
            done.append(options.dryRun ? "its copy would be made anew" : "its copy was made anew")
            if !options.dryRun { try remakeCopy(claim, goal: goal, observation, on: &kernel) }
        }
        if !plan.isEmpty {
            let what = plan.changes.isEmpty ? "settings and groups" : "\(plan.changes.count) entries"
            if options.dryRun {
                done.append("\(what) would be put right on \(side.rawValue)")
            } else {
                var execution = Execution(plan, options: options, clock: Stopwatch())
                let moved = execution.run(under: claim, on: &kernel)
                report = moved
                done.append(
                    moved.exitCode == 0
                        ? "\(what) put right on \(side.rawValue)"
                        : "\(what) are wrong still: \(moved.failures.joined(separator: "; "))")
            }
        }
        let words = kernel.view(record).map { "bracket to \(goal.rawValue) \($0.words); stays open: \(record.closing)" }
        let result = Reconciliation(
            guest: record.guest.id.text, message: ([words ?? "bracket"] + done).joined(separator: "; "),
            ok: (report?.exitCode ?? 0) == 0, changed: !done.isEmpty && !options.dryRun)
        return (result, report)
    }

    /// Makes the copy of an open bracket anew, by what can make it now.
    private func remakeCopy(
        _ claim: borrowing Claim, goal: Side, _ observation: Observation, on kernel: inout Kernel
    ) throws(ControllerError) {
        let record = claim.named(by: observation)
        guard let old = record.bracket else { return }
        let footing = try kernel.footing(record.guest, isTrying: true)
        let now = Bracket(footing, now: old.openedAt, sharesClsact: try claim.sharesClsact())
        let bracket = Bracket(
            openedAt: old.openedAt, means: now.means,
            ownsClsact: now.ownsClsact || (old.ownsClsact && now.means == .clsact), isForCarrier: old.isForCarrier)
        try claim.write(.bracket(.bracketed, bracket, side: record.guest.side, goal: goal, proof: nil))
        let specification = try kernel.specification(record, observation)
        try kernel.remake(
            CopyChange(record, bracket: bracket, isOn: true, specification: specification), insteadOf: old)
    }
}
