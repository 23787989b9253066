package import FDB
package import Policy
package import Records
import Switchdev
package import System

/// Redirects a guest's addresses to a side by one move, now (strategy `cut`).
package struct Switch: GuestVerb {
    /// Where to.
    let side: Side
    package var destination: Side? { side }
    package let options: VerbOptions
    /// On whose behalf.
    let verb: Plan.Verb
    /// The guest's bridge and ports as they were read beforehand and are still; nil to read them.
    let ready: Observation?
    /// Makes entries anew that an eswitch port has already: nobody knows whether hardware has followed.
    let renews: Bool
    /// Addresses that stay where they are, as their neighbours do: a control plane has them elsewhere.
    let spared: Set<Address>?
    /// Called as soon as frames reach the guest there, before anything is read again or recorded.
    let arrived: (() -> Void)?

    package init(
        to side: Side, verb: Plan.Verb = .switch, options: VerbOptions = VerbOptions(), ready: Observation? = nil,
        renews: Bool = false, sparing spared: Set<Address>? = nil, arrived: (() -> Void)? = nil
    ) {
        self.renews = renews
        self.spared = spared
        self.arrived = arrived
        self.side = side
        self.verb = verb
        self.options = options
        self.ready = ready
    }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        if verb == .switch { try requireRest(claim.record) }
        if !options.dryRun { try kernel.requirePrivilege() }
        var observation = try kernel.observe(claim.record, to: side, ready: ready)
        let record = claim.named(by: observation)
        try kernel.readFilters(of: record.guest, into: &observation)
        let isProven = record.phase == .pinned && record.proof == .proven
        let plan = try Planner().move(
            record.guest, to: side, observation: observation, isProven: isProven, verb: verb, renewing: renews,
            sparing: spared, contradicts: spared == nil, isAtRest: record.phase == .pinned)
        if options.dryRun || !plan.isEmpty {
            return carryOut(plan, observation, under: claim, on: &kernel, since: clock, written: arrived)
        }
        arrived?()
        // Already in place: the proof recorded at the last move still holds.
        let isSettled = record.guest.side == side && record.phase == .pinned
        let proof = standing(record, isSettled: isSettled)
        if !isSettled {
            if plan.guest.isGated { claim.noteLocks(of: plan.guest) }
            // Fails with `busy` if the record changed since it was read.
            try claim.write(plan.books.begin)
            try claim.write(plan.books.commit, shown: proof.status)
        }
        return Report(
            unchanged: plan, proof, startedAt: clock.startedAt, after: clock.elapsed, options: options)
    }

    /// Refuses while an earlier verb has not ended, other than a switch.
    private func requireRest(_ record: GuestRecord) throws(ControllerError) {
        if let error = record.bracketInTheWay { throw error }
        guard record.phase == .preparing || record.phase == .releasing else { return }
        throw ControllerError(
            .precondition,
            "an earlier \(record.phase == .preparing ? "prepare" : "release") of guest \(record.guest.id) did not end",
            remedy: "run \"fdbsteer abort \(record.guest.id)\" first")
    }

    /// What is known of hardware when nothing had to be changed.
    private func standing(_ record: GuestRecord, isSettled: Bool) -> OffloadProof {
        if record.guest.eswitchPort == nil, record.guest.nic == nil { return .nothingToProve }
        if isSettled, record.proof == .proven { return .remembered(side) }
        return .missing(
            reason:
                "the entries are right, but not fresh, so that an OFFLOADED flag says nothing; release the guest and "
                + "prepare it anew to renew them")
    }
}
