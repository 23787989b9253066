import FDB
package import Policy
package import Records
import Switchdev
package import System

/// Gives a guest's entries back to the bridge: learned, on the side that they are on, with the ports' old settings.
package struct Release: GuestVerb {
    package let options: VerbOptions
    package var takesAnyBoot: Bool { true }

    package init(options: VerbOptions = VerbOptions()) { self.options = options }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        if !options.dryRun { try kernel.requirePrivilege() }
        var record = claim.record
        var observation = Observation(bridge: nil, ports: BySide(), entries: [:])
        // Interface indexes of an earlier boot name other interfaces now.
        if record.boot == claim.journal.boot {
            observation = try kernel.observe(record.guest)
            record = claim.named(by: observation)
            try kernel.readFilters(of: record.guest, into: &observation)
        }
        var plan = Planner().release(
            record.guest, observation: observation, isUnfinished: record.phase == .preparing)
        if record.bracket != nil { plan = plan.ending(CopyChange(record, isOn: false)) }
        if options.dryRun || !plan.isEmpty {
            return carryOut(plan, observation, under: claim, on: &kernel, since: clock)
        }
        try claim.write(.removed)
        var report = Report(
            unchanged: plan, .nothingToProve, startedAt: clock.startedAt, after: clock.elapsed, options: options)
        report.outcome = .done
        return report
    }
}
