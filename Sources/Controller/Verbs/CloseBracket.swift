package import Policy
package import Records
import Switchdev
package import System

/// Closes a bracket on the side where the guest is: the entries go there, and the copy ends.
package struct CloseBracket: GuestVerb {
    /// Where the guest is by the caller's word: the bracket's goal when there is evidence that it has come there, the side where it
    /// was when it has not.
    let side: Side
    package var destination: Side? { side }
    package var bracketChange: BracketChange? { .closes }
    package let options: VerbOptions
    /// On whose behalf.
    let verb: Plan.Verb
    /// The guest's bridge and ports as they were read beforehand and are still; nil to read them.
    let ready: Observation?

    package init(
        at side: Side, verb: Plan.Verb = .switch, options: VerbOptions = VerbOptions(), ready: Observation? = nil
    ) {
        self.side = side
        self.verb = verb
        self.options = options
        self.ready = ready
    }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let record = claim.record
        if verb == .switch {
            if record.phase == .pinned { return try closed(record, since: clock) }
            guard record.phase == .bracketed else { throw record.unfinished }
            guard side == record.goal || side == record.guest.side || side == .standby else {
                throw ControllerError(
                    .precondition,
                    "the bracket of guest \(record.guest.id) is from \(record.guest.side.rawValue) to "
                        + (record.goal?.rawValue ?? "nowhere"), remedy: "close it on one of these sides")
            }
        }
        if !options.dryRun { try kernel.requirePrivilege() }
        let observation = try kernel.observe(record, to: side, ready: ready)
        let named = claim.named(by: observation)
        let plan = try Planner().closeBracket(
            named, at: side, copy: CopyChange(named, isOn: false), observation: observation, verb: verb)
        return carryOut(plan, observation, under: claim, on: &kernel, since: clock)
    }

    /// No bracket is open: fine when the guest is where the caller says.
    private func closed(_ record: GuestRecord, since clock: Stopwatch) throws(ControllerError) -> Report {
        let guest = record.guest
        guard guest.side == side else {
            throw ControllerError(
                .precondition, "no bracket of guest \(guest.id) is open, and it is on \(guest.side.rawValue)",
                remedy: "\"fdbsteer switch \(guest.id) --to \(side.rawValue)\" moves it")
        }
        let plan = Plan(
            verb: .switch, guest: guest, from: side, to: side, steps: [],
            notes: ["no bracket of \(guest.id) is open; nothing was changed"])
        return Report(plan, startedAt: clock.startedAt, options: options)
    }
}
