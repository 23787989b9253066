package import Policy
package import Records
import Switchdev
package import System

/// Opens a bracket: from now on each frame for the guest reaches both of its ports, until the bracket is closed.
///
/// The copy from the standby to the primary is made first, then the entries move to the standby, where they are not
/// there yet. The same call again says "already". A bracket closes by ``CloseBracket`` and by ``Abort`` only.
package struct OpenBracket: GuestVerb {
    /// Where the guest is to be, `primary` or `standby`.
    let goal: Side
    package var destination: Side? { goal }
    package var bracketChange: BracketChange? { .opens }
    package let options: VerbOptions
    /// The guest's bridge and ports as they were read beforehand and are still; nil to read them.
    let ready: Observation?
    /// How many frames a second the guest gets.
    let rate: Rate
    /// The primary has lost its carrier.
    let isForCarrier: Bool

    /// How many frames a second a guest gets.
    enum Rate {
        /// It is measured, which takes a tenth of a second.
        case toMeasure
        /// It was seen beforehand; nil when it was not.
        case seen(UInt64?)
    }

    package init(to goal: Side, options: VerbOptions = VerbOptions()) {
        self.init(to: goal, options: options, ready: nil, rate: .toMeasure)
    }

    init(to goal: Side, options: VerbOptions, ready: Observation?, rate: Rate, isForCarrier: Bool = false) {
        self.goal = goal
        self.options = options
        self.ready = ready
        self.rate = rate
        self.isForCarrier = isForCarrier
    }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        var record = claim.record
        if record.phase == .bracketed, record.goal == goal { return already(record, on: &kernel, since: clock) }
        guard record.phase == .pinned else { throw record.unfinished }
        if record.guest.side == goal {
            let plan = Plan(verb: .switch, guest: record.guest, from: goal, to: goal, steps: [], notes: [])
            return Report(plan, startedAt: clock.startedAt, options: options)
        }
        let observation = try kernel.observe(record, to: goal, ready: ready)
        record = claim.named(by: observation)
        try Planner.requireBracket(record, to: goal, observation: observation, options: options)
        try requireRate(record.guest, on: &kernel)
        if !options.dryRun { try kernel.requirePrivilege() }
        let footing = try kernel.footing(record.guest, isTrying: !options.dryRun)
        var bracket = Bracket(footing, now: Stopwatch.realTime, sharesClsact: try claim.sharesClsact())
        bracket.isForCarrier = isForCarrier
        let copy = CopyChange(
            record, bracket: bracket, isOn: true, specification: try kernel.specification(record, observation))
        let plan = try Planner().openBracket(
            record, to: goal, copy: copy, observation: observation,
            notes: bracket.notes(footing, record.guest, observation))
        var report = carryOut(plan, observation, under: claim, on: &kernel, since: clock)
        if report.outcome == .done {
            var opened = record
            opened.bracket = bracket
            report.bracket = kernel.view(opened, goal: goal)
            report.notes.append("the bracket is open, by \(bracket.means.rawValue)")
        }
        return report
    }

    private func already(_ record: GuestRecord, on kernel: inout Kernel, since clock: Stopwatch) -> Report {
        let plan = Plan(
            verb: .switch, guest: record.guest, from: record.guest.side, to: goal, steps: [],
            notes: ["a bracket is open already; it closes by \(record.closing)"], strategy: .bracket, books: .nothing)
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.bracket = kernel.view(record)
        return report
    }

    /// Refuses while the guest's port sends too many frames: all of them would take the slow path.
    private func requireRate(_ guest: GuestInterface, on kernel: inout Kernel) throws(ControllerError) {
        guard options.bracketMaxRate > 0, guest.side != .remote, let port = guest.port(of: guest.side) else { return }
        let seen =
            switch rate {
            case .toMeasure: try kernel.rate(of: port)
            case .seen(let rate): rate
            }
        // A port whose counters have just begun says nothing: its guest is as likely below the limit.
        guard let rate = seen, rate > options.bracketMaxRate else { return }
        throw ControllerError(
            .precondition,
            "\(port.name) sends \(rate) frames a second to guest \(guest.id), and a bracket is allowed up to "
                + "\(options.bracketMaxRate)",
            remedy: "wait until it is less, raise the limit, or use --strategy cut")
    }
}
