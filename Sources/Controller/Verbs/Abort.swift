import FDB
package import Policy
package import Records
import Switchdev
package import System

/// Ends a redirection that a dead process left, on the side where the guest was; nothing when nothing was changed.
package struct Abort: GuestVerb {
    package let options: VerbOptions

    package init(options: VerbOptions = VerbOptions()) { self.options = options }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let guest = claim.record.guest
        switch claim.record.phase {
        case .pinned:
            let plan = Plan(
                verb: .abort, guest: guest, from: guest.side, to: guest.side, steps: [],
                notes: ["no redirection of \(guest.id) is under way; nothing was changed"])
            if options.dryRun {
                let nothing = Observation(bridge: nil, ports: BySide(), entries: [:])
                return Report(planned: plan, startedAt: clock.startedAt, nothing, options: options)
            }
            return Report(plan, startedAt: clock.startedAt, options: options)
        case .preparing:
            return try Release(options: options).run(under: claim, on: &kernel, since: clock)
        case .switching, .releasing, .opening, .bracketed, .closing:
            return try putBack(claim, on: &kernel, since: clock)
        }
    }

    /// Brings the entries of a guest to the side that the journal says, and records that nothing is under way.
    ///
    /// - Parameter arrival: the side where a switch has brought them already: there they stay.
    func putBack(
        _ claim: borrowing Claim, at arrival: Side? = nil, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let record = claim.record
        defer {
            // A release that did not end has removed it.
            if !options.dryRun { _ = try? kernel.restoreGuard(of: record.guest) }
        }
        if record.bracket != nil {
            return try CloseBracket(at: record.guest.side, verb: .abort, options: options).run(
                under: claim, on: &kernel, since: clock)
        }
        let side = arrival ?? record.guest.side
        var report = try Switch(to: side, verb: .abort, options: options, renews: arrival != nil).run(
            under: claim, on: &kernel, since: clock)
        if record.phase != .pinned, report.outcome == .already { report.outcome = .done }
        return report
    }
}
