import FDB
package import Policy
package import Records
import Switchdev
package import System

/// Gives a guest's entries back to the bridge as `prepare` found them, on the side that they are on, and its ports their settings.
/// A guest of which the kernel has nothing any more is forgotten.
package struct Release: GuestVerb {
    package let options: VerbOptions
    /// The caller knows that the network namespace of a guest has gone.
    let forgets: Bool
    package var reach: Journal.Reach { forgets ? .anywhere : .void }

    package init(options: VerbOptions = VerbOptions(), forgets: Bool = false) {
        self.options = options
        self.forgets = forgets
    }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        // Interface indexes of another boot or namespace name other interfaces here.
        if let words = claim.journal.place(of: claim.record).words { return try forget(words, claim, since: clock) }
        if forgets {
            throw ControllerError(
                .precondition,
                "guest \(claim.record.guest.id) was prepared here: forgetting it would leave its entries as they are",
                remedy: "release it without --forget")
        }
        if !options.dryRun { try kernel.requirePrivilege() }
        let (plan, observation) = try Release.plan(claim, on: &kernel)
        if options.dryRun || !plan.isEmpty {
            return carryOut(plan, observation, under: claim, on: &kernel, since: clock)
        }
        return try remove(plan, claim, since: clock)
    }

    /// Removes the record of a guest to which nothing is given back.
    private func remove(
        _ plan: Plan, _ claim: borrowing Claim, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        try claim.write(.removed)
        var report = Report(
            unchanged: plan, .nothingToProve, startedAt: clock.startedAt, after: clock.elapsed, options: options)
        report.outcome = .done
        return report
    }

    /// Removes the record of a guest that was prepared elsewhere, and nothing else.
    private func forget(
        _ words: String, _ claim: borrowing Claim, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let guest = claim.record.guest
        let plan = Plan(
            verb: .release, guest: guest, from: guest.side, to: guest.side, steps: [],
            notes: ["it \(words): there is nothing to give back, its record is forgotten"])
        if options.dryRun {
            let nothing = Observation(bridge: nil, ports: BySide(), entries: [:])
            return Report(planned: plan, startedAt: clock.startedAt, nothing, options: options)
        }
        return try remove(plan, claim, since: clock)
    }

    /// Reads what a release of a guest that was prepared here needs, and plans it.
    static func plan(
        _ claim: borrowing Claim, on kernel: inout Kernel
    ) throws(ControllerError) -> (Plan, Observation) {
        var observation = try kernel.observe(claim.record.guest)
        let record = claim.named(by: observation)
        try kernel.readFilters(of: record.guest, into: &observation)
        let plan = Planner().release(
            record.guest, observation: observation, found: claim.found, neighbours: claim.foundNeighbours,
            isBracketed: record.bracket != nil, isUnfinished: record.phase == .preparing,
            isAtRest: record.phase == .pinned)
        return (record.bracket == nil ? plan : plan.ending(CopyChange(record, isOn: false)), observation)
    }
}

/// What became of a guest that is released, in JSON.
package enum Released: Encodable {
    case released(Report)
    case unknown(GuestID)

    private enum Key: CodingKey { case guest, verb, outcome }

    package func encode(to encoder: any Encoder) throws {
        switch self {
        case .released(let report): try report.encode(to: encoder)
        case .unknown(let id):
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(id.text, forKey: .guest)
            try container.encode(Plan.Verb.release.rawValue, forKey: .verb)
            try container.encode(Report.Result.already.rawValue, forKey: .outcome)
        }
    }
}

extension Release {
    /// Releases a guest, and writes the history.
    ///
    /// - Parameter ifExists: a guest that is not known has been released already.
    /// - Throws: ``ControllerError`` as ``GuestVerb/run(_:on:)``.
    package func run(_ id: GuestID, ifExists: Bool, on host: inout Host) throws(ControllerError) -> Released {
        do throws(ControllerError) {
            return .released(try run(id, on: &host))
        } catch {
            // Another process may have released it meanwhile, so it is looked for afterwards.
            guard ifExists, try Journal(reading: host.folder)?.knows(id) != true else { throw error }
            return .unknown(id)
        }
    }
}
