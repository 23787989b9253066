import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Checks of single guests, and the repairs and redirections that follow from them.
extension Keeper {
    /// How soon to look again at a guest whose lock another process still holds at the end of its verb, in nanoseconds.
    private static let busyPause: Int64 = 10_000_000
    /// The same in the middle of a verb: its end is heard of, and only a process that dies there leaves nothing to hear.
    static let unfinishedPause: Int64 = 250_000_000
    /// The same after a verb that has ended, while nothing is heard that its record does not say: who calls one after the other is not
    /// to wait for looks.
    static let endedPause: Int64 = 20_000_000
    /// How long a driver may take to report an entry before its flag counts as lost: the kernel announces no flag.
    private static let flagPatience: Int64 = 1_000_000_000

    /// Compares a guest with its record under its lock, and repairs or redirects it if they differ.
    ///
    /// - Parameters:
    ///   - row: the guest.
    ///   - cause: the reason for the check. It does not decide the repair: what the check finds does.
    /// - Throws: ``ControllerError`` when the journal or the kernel cannot be read, or the redirection has no way.
    package mutating func check(_ row: Int64, cause: Watch.Cause) throws(ControllerError) -> Outcome {
        guard let known = watch.records[row] else { return .fine }
        // Most looks find nothing, and must not keep a command from the lock.
        if cause.isVague, wards[row]?.doubt == nil, let seen = try glance(at: known, cause) { return seen }
        guard var claim = try journal.claim(known.guest.id, row: row) else { return try later(known, cause) }
        let record = claim.record
        guard record.boot == journal.boot else {
            forget(row)
            return .fine
        }
        if record.revision != known.revision { learnUnheard(record) }
        if record.isUnfinished { return try recover(&claim) }
        let observation = try observe(record)
        let named = claim.named(by: observation)
        if let words = claim.renaming {
            try claim.writeNames()
            try relearn(&claim)
            reshield(named.guest)
            return .renamed(words)
        }
        if let yielded = try yield(&claim, observation) { return yielded }
        let siege = wards[row]?.isBesieged(at: monotonicNanoseconds()) == true ? wards[row]?.siege : nil
        setFought(row, siege != nil)
        var intended = record
        intended.guest.isSticky = record.guest.isSticky || siege != nil
        let drift = Drift(intended, observation)
        // Nothing is heard of its end, and it is not over because it holds.
        if let siege, drift == .none { return .fought(until: siege.until, .stolen, by: [], isNews: false) }
        if record.phase == .bracketed { return try checkBracket(drift, &claim, observation, cause: cause) }
        return try act(on: drift, &claim, observation, cause: cause)
    }

    /// Repairs or redirects a guest without a bracket, as its drift requires.
    private mutating func act(
        on drift: Drift, _ claim: inout Claim, _ observation: Observation, cause: Watch.Cause
    ) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        switch drift {
        case .none:
            isRight(row)
            return try settle(&claim, observation, cause: cause)
        case .primaryMute: return wards[row]?.isFollowed == true ? .fine : try bracketTheMute(&claim)
        case .entries(let found): return try repair(&claim, observation, cause: found)
        case .settings: return try repair(&claim, observation, cause: .port)
        case .neighbours: return try restoreNeighbours(&claim, observation)
        case .flags(let addresses): return try awaitFlags(addresses, &claim, observation)
        case .astray(let astray): return try judge(astray, &claim, observation)
        case .primaryLost(let what):
            losePrimary(claim.record)
            return try redirect(&claim, to: .standby, reason: what)
        case .beyondRepair(let what): return .beyondRepair(what)
        }
    }

    /// The outcome for a guest that another process holds, or that was released.
    private mutating func later(_ known: GuestRecord, _ cause: Watch.Cause) throws(ControllerError) -> Outcome {
        guard let record = try journal.record(known) else {
            forget(known.row)
            return .fine
        }
        let pause = record.phase == .pinned ? Keeper.busyPause : Keeper.unfinishedPause
        return .later(at: monotonicNanoseconds() + pause, cause)
    }

    /// Checks without the lock: a guest that is as recorded now needs nothing, even if another process works on it, and one that a verb
    /// has begun with since it was last heard of is looked at after that.
    ///
    /// - Returns: nil where the lock is needed.
    private mutating func glance(at known: GuestRecord, _ cause: Watch.Cause) throws(ControllerError) -> Outcome? {
        guard let record = try journal.record(known), record.boot == journal.boot else { return nil }
        if record.isUnfinished, record.revision != known.revision {
            learnUnheard(record)
            return .later(at: monotonicNanoseconds() + Keeper.unfinishedPause, cause)
        }
        guard record.phase == .pinned else { return nil }
        let observation = try observe(record)
        guard Drift(record, observation) == .none, record.guest.renamed(observation.name) == nil else { return nil }
        if record.revision != known.revision { learnUnheard(record) }
        isRight(known.row)
        setFought(known.row, false)
        return .fine
    }

    /// Reads a guest, and keeps what a control plane says of it.
    private mutating func observe(_ record: GuestRecord) throws(ControllerError) -> Observation {
        let observation = try host.kernel.observe(record.guest)
        for address in record.guest.addresses { observation.entry(address).map { hearClaim($0, of: record) } }
        return observation
    }

    /// A look found the guest as recorded: what it waited for is over.
    private mutating func isRight(_ row: Int64) {
        wards[row]?.flaglessSince = nil
        wards[row]?.neighbourClaimedAt = nil
        wards[row]?.unbracketed = nil
        wards[row]?.lostPrimary = nil
    }

    /// Counts the loss of a primary, once for however many attempts the move to the standby takes.
    private mutating func losePrimary(_ record: GuestRecord) {
        guard wards[record.row]?.lostPrimary != record.guest.firstPort.index else { return }
        wards[record.row]?.lostPrimary = record.guest.firstPort.index
        counters.losePrimary(of: record.guest.id)
    }

    /// The outcome for a guest whose repairs others undo, until a moment on CLOCK_MONOTONIC.
    mutating func fought(
        _ row: Int64, until: Int64, _ cause: Watch.Cause, by takers: [String], isNews: Bool
    ) -> Outcome {
        if isNews { counters.driftBackoffs += 1 }
        setFought(row, true)
        return .fought(until: until, cause, by: takers, isNews: isNews)
    }

    /// Redirects a guest that is held, and reads its record again.
    mutating func redirect(
        _ claim: inout Claim, to side: Side, reason: String
    ) throws(ControllerError) -> Outcome {
        let report = try Switch(to: side, options: options(for: claim.record.row)).run(
            under: claim, on: &host.kernel, since: Stopwatch())
        try relearn(&claim)
        wards[claim.record.row]?.doubt = nil
        wards[claim.record.row]?.siege = nil
        return .redirected(book(report, reason: reason), reason: reason)
    }

    mutating func repair(
        _ claim: inout Claim, _ observation: Observation, cause: Watch.Cause, flagless: [Address] = [],
        contradicts: Bool = false
    ) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        let (limits, options) = (limits, options(for: row))
        let now = monotonicNanoseconds()
        let takers = cause == .stolen ? observation.takers(of: claim.record.guest) : []
        let places = cause == .stolen ? observation.places(of: claim.record) : []
        if options.dryRun {
            let plan = try Planner().repair(
                claim.record, observation: observation, flagless: flagless, contradicts: contradicts)
            let clock = Stopwatch()
            let report = Report(planned: plan, startedAt: clock.startedAt, observation, options: options)
            return plan.isEmpty ? .fine : .repaired(report, cause, by: takers, on: places)
        }
        // Without the guard, which something else may have removed, the next frame takes it again.
        if !takers.isEmpty { _ = try? host.kernel.restoreGuard(of: claim.record.guest, near: observation) }
        if cause == .weakened, try endSiege(&claim, observation, at: now) { return .fine }
        if !takers.isEmpty, remembersSiege(row, at: now) { return try besiege(&claim, observation, takers, at: now) }
        let permission = wards[row, default: Ward()].budget.ask(at: now, limits)
        switch permission {
        case .now: break
        case .wait(let until, let isNews):
            if !takers.isEmpty, claim.record.canBeBesieged, wards[row]?.isBesieged(at: now) != true {
                return try besiege(&claim, observation, takers, at: now)
            }
            return fought(row, until: until, cause, by: takers, isNews: isNews)
        }
        let plan = try Planner().repair(
            claim.record, observation: observation, flagless: flagless, contradicts: contradicts)
        if plan.isEmpty { return .fine }
        let report = try execute(plan, under: &claim)
        if report.outcome == .done { counters.countRepair(cause) } else { counters.driftFailures += 1 }
        return .repaired(booked(report, cause, on: places), cause, by: takers, on: places)
    }

    /// Counts a repair, and writes it to the history with its cause.
    mutating func booked(_ report: Report, _ cause: Watch.Cause, on places: [String]) -> Report {
        book(
            report, reason: cause.rawValue + (places.isEmpty ? "" : ", found on \(places.joined(separator: ", "))"))
    }

    /// Executes a plan for a guest that is held, and reads its record again.
    mutating func execute(_ plan: Plan, under claim: inout Claim) throws(ControllerError) -> Report {
        var execution = Execution(plan, options: options(for: claim.record.row), clock: Stopwatch())
        let report = execution.run(under: claim, on: &host.kernel)
        try relearn(&claim)
        return report
    }

    /// A flag that a driver has not set yet is no reason to act: it is given a second.
    private mutating func awaitFlags(
        _ addresses: [Address], _ claim: inout Claim, _ observation: Observation
    ) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        guard let since = wards[row]?.flaglessSince else {
            wards[row]?.flaglessSince = monotonicNanoseconds()
            return .later(at: monotonicNanoseconds() + Keeper.flagPatience, .flagLost)
        }
        if monotonicNanoseconds() - since < Keeper.flagPatience {
            return .later(at: since + Keeper.flagPatience, .flagLost)
        }
        wards[row]?.flaglessSince = nil
        return try repair(&claim, observation, cause: .flagLost, flagless: addresses)
    }

    /// Ends what a dead process left: whoever writes a record has locked the guest before, and this process has the lock now.
    private mutating func recover(_ claim: inout Claim) throws(ControllerError) -> Outcome {
        let name = claim.record.guest.id.text
        let result: Reconciliation
        do throws(ControllerError) {
            result = try Reconcile(options: options(for: claim.record.row)).run(&claim, on: &host)
        } catch {
            result = Reconciliation(guest: name, message: "\(error)", ok: error.code == .busy)
        }
        try relearn(&claim)
        return .recovered(result)
    }

    // MARK: - Brackets

    /// Opens a bracket for a guest whose primary has lost its carrier, where the guest's kind allows one: it still refuses
    /// what comes by the standby, until it has let go of the primary.
    mutating func bracketTheMute(_ claim: inout Claim) throws(ControllerError) -> Outcome {
        let (row, guest) = (claim.record.row, claim.record.guest)
        if let text = wards[row]?.unbracketed { return .unbracketed(text) }
        let what = "primary port \(guest.firstPort.name) has no carrier"
        let cannot: String
        if let objection = guest.kind.objection {
            cannot = "guest \(guest.id) \(objection)"
        } else {
            do throws(ControllerError) {
                let rate = seenRate(of: claim.record)
                let report = try OpenBracket(
                    to: .standby, options: options(for: row), ready: nil, rate: .seen(rate), isForCarrier: true
                ).run(under: claim, on: &host.kernel, since: Stopwatch())
                try relearn(&claim)
                return .bracketed(book(report, reason: what), reason: what)
            } catch {
                cannot = "\(error)"
            }
        }
        let text = "\(what); no bracket was opened: \(cannot)"
        wards[row]?.unbracketed = text
        return .unbracketed(text)
    }

    /// Repairs, closes or leaves an open bracket, as the guest's drift requires.
    mutating func checkBracket(
        _ drift: Drift, _ claim: inout Claim, _ observation: Observation, cause: Watch.Cause
    ) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        switch drift {
        // Its closing puts neighbours right.
        case .none, .neighbours:
            wards[row]?.flaglessSince = nil
            // QEMU's events close that of a guest that is followed by now, if they are heard.
            if claim.record.isBracketForCarrier, wards[row]?.word == nil,
                let port = observation.ports[.primary], port.isUp, port.hasCarrier
            {
                return try close(&claim, at: .primary, reason: "primary port \(port.name) has its carrier again")
            }
            let copies = claim.record.servingSide(observation) == .standby
            if copies, host.kernel.view(claim.record)?.isCopyRight == false {
                return try repairBracket(&claim, .port)
            }
            return try settle(&claim, observation, cause: cause)
        case .entries(let cause): return try repairBracket(&claim, cause)
        case .settings: return try repairBracket(&claim, .port)
        case .flags: return try repairBracket(&claim, .flagLost)
        case .primaryLost(let what):
            losePrimary(claim.record)
            return try close(&claim, at: .standby, reason: what)
        case .beyondRepair(let what): return .beyondRepair(what)
        case .astray(let astray): return try judge(astray, &claim, observation)
        case .primaryMute: return .fine
        }
    }

    /// - Parameter cause: spends the budget of repairs, because a guest may have caused it; nil: it was permitted.
    mutating func repairBracket(_ claim: inout Claim, _ cause: Watch.Cause?) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        if let cause, !options(for: row).dryRun,
            case .wait(let until, let isNews) = wards[row, default: Ward()].budget.ask(
                at: monotonicNanoseconds(), limits)
        {
            return fought(row, until: until, cause, by: [], isNews: isNews)
        }
        let (result, report) = try RepairBracket(options: options(for: claim.record.row)).run(
            under: claim, on: &host.kernel)
        if let report { _ = book(report) }
        return .recovered(result)
    }

    mutating func close(
        _ claim: inout Claim, at side: Side, reason: String
    ) throws(ControllerError) -> Outcome {
        let report = try CloseBracket(at: side, options: options(for: claim.record.row)).run(
            under: claim, on: &host.kernel, since: Stopwatch())
        try relearn(&claim)
        return .redirected(book(report, reason: reason), reason: reason)
    }
}
