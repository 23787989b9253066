import FDB
import Netlink
public import Policy
import Records
import Switchdev
import System

extension Keeper {
    /// How soon to look again at a guest whose lock another process still holds at the end of its verb, in nanoseconds.
    private static let busyPause: Int64 = 10_000_000
    /// The same in the middle of a verb: its end is heard of, and only a process that dies there leaves nothing to hear.
    private static let unfinishedPause: Int64 = 250_000_000
    /// How soon to look again at a guest that is on its way to another host, in nanoseconds.
    private static let departurePause: Int64 = 100_000_000
    /// How long a driver may take to report an entry before its flag counts as lost: the kernel announces no flag.
    private static let flagPatience: Int64 = 1_000_000_000

    /// Looks at a guest under its lock, and does what is to be done.
    ///
    /// - Parameters:
    ///   - row: the guest.
    ///   - cause: why it is suspicious; what is done follows from what is found.
    /// - Throws: ``ControllerError`` when the journal or the kernel cannot be read, or the redirection has no way.
    public mutating func check(_ row: Int64, cause: Watch.Cause) throws(ControllerError) -> Outcome {
        guard let known = watch.records[row] else { return .fine }
        // A fight is one while its guest waits for the next repair.
        defer { counters.driftFights = fights.count }
        // Most looks find nothing, and must not keep a command from the lock.
        if cause.isVague, try isAsIntended(known) { return .fine }
        do throws(ControllerError) {
            try journal.lock(known)
        } catch {
            let isUnderWay = try journal.record(row: row)?.phase != .pinned
            return isUnderWay
                ? .later(at: now() + Keeper.unfinishedPause, .unfinished) : .later(at: now() + Keeper.busyPause, cause)
        }
        defer { journal.unlock(row: row) }
        guard let record = try journal.record(row: row), record.boot == journal.boot else {
            forget(row)
            return .fine
        }
        if record.guest.side != known.guest.side { strays[row] = nil }
        if record.revision != known.revision { watch.set(record) }
        let isBracketed = record.phase == .bracketed
        guard record.phase == .pinned || isBracketed else { return try recover(record, cause) }

        let observation = try Observation.read(record.guest, using: &host.socket)
        fights.remove(row)
        switch Drift(record, observation) {
        case .none:
            flagless[row] = nil
            if isBracketed { return try tend(record, observation) }
            mute[row] = nil
            return .fine
        case .primaryMute:
            return followed.contains(row) ? .fine : bracketTheMute(record)
        case .entries(_) where isBracketed, .settings where isBracketed, .flags(_) where isBracketed:
            return .recovered(try host.adopt(record, in: journal, options: options))
        case .entries(let found):
            return try repair(record, observation, cause: found)
        case .settings:
            return try repair(record, observation, cause: .port)
        case .flags(let addresses):
            guard let since = flagless[row] else {
                flagless[row] = now()
                return .later(at: now() + Keeper.flagPatience, .flagLost)
            }
            if now() - since < Keeper.flagPatience { return .later(at: since + Keeper.flagPatience, .flagLost) }
            flagless[row] = nil
            return try repair(record, observation, cause: .flagLost, flagless: addresses)
        case .behindUplink where leaving.contains(row):
            // Where it went is right; that it has gone is told by its migration's end.
            return .later(at: now() + Keeper.departurePause, .stolen)
        case .behindUplink:
            if hasLeft(record, observation) {
                counters.departures += 1
                return try redirect(record, to: .remote, reason: "the guest's frames come in by the uplink now")
            }
            return try repair(record, observation, cause: .stolen)
        case .arrived where followed.contains(row):
            // QEMU tells when it runs.
            return .fine
        case .arrived:
            return try redirect(record, to: .standby, reason: "the guest's frames come in by its standby")
        case .primaryLost(let what):
            counters.primaryLosses += 1
            if isBracketed { return try close(record, at: .standby, reason: what) }
            return try redirect(record, to: .standby, reason: what)
        case .beyondRepair(let what):
            return .beyondRepair(what)
        }
    }

    /// Looks without the lock: what is as intended while somebody may be at it is so at that moment.
    private mutating func isAsIntended(_ known: GuestRecord) throws(ControllerError) -> Bool {
        guard let record = try journal.record(row: known.row), record.boot == journal.boot, record.phase == .pinned
        else {
            return false
        }
        guard Drift(record, try Observation.read(record.guest, using: &host.socket)) == .none else { return false }
        if record.revision != known.revision { watch.set(record) }
        flagless[known.row] = nil
        mute[known.row] = nil
        fights.remove(known.row)
        return true
    }

    /// Redirects a guest whose lock is held, and watches what has become of it.
    private mutating func redirect(
        _ record: GuestRecord, to side: Side, reason: String
    ) throws(ControllerError) -> Outcome {
        let report = try host.redirect(
            record, to: side, verb: .switch, in: journal, clock: Stopwatch(), options: options)
        try relearn(record.row)
        strays[record.row] = nil
        return .redirected(write(report, reason: reason), reason: reason)
    }

    private mutating func repair(
        _ record: GuestRecord, _ observation: Observation, cause: Watch.Cause, flagless: [Address] = []
    ) throws(ControllerError) -> Outcome {
        switch budgets[record.row, default: RepairBudget()].ask(at: now(), limits) {
        case .now: break
        case .wait(let until, let isNews):
            if isNews { counters.driftBackoffs += 1 }
            fights.insert(record.row)
            return .fought(until: until, cause, isNews: isNews)
        }
        let clock = Stopwatch()
        let plan = try Planner().repair(record, observation: observation, flagless: flagless)
        if plan.isEmpty { return .fine }
        let report = host.execute(plan, record: record, journal: journal, clock: clock, options: options)
        if report.outcome == .done { counters.countRepair(cause) } else { counters.driftFailures += 1 }
        try relearn(record.row)
        return .repaired(write(report), cause)
    }

    /// Ends what a dead process left: its lock is free, and so it is held here.
    private mutating func recover(_ record: GuestRecord, _ cause: Watch.Cause) throws(ControllerError) -> Outcome {
        // A process that has just written the record may not have locked it yet, and one that has just ended its verb may
        // have let go of the lock before it was seen: a second look, after a pause, tells.
        guard cause == .unfinished else { return .later(at: now() + Keeper.unfinishedPause, .unfinished) }
        journal.unlock(row: record.row)
        let result = host.reconcile(record, in: journal, options: options)
        try relearn(record.row)
        return .recovered(result)
    }

    /// Whether a guest whose addresses are behind the uplink has left this host, or its own frames came back to it.
    ///
    /// Without a reader behind its port it has left. Otherwise its frame came back, if it sent one: a second frame by the
    /// uplink, while its own port has received nothing since the first, is not its own.
    private mutating func hasLeft(_ record: GuestRecord, _ observation: Observation) -> Bool {
        guard let port = observation.ports[record.guest.side] else { return true }
        if !port.isUp || !port.hasCarrier { return true }
        guard let counters = try? PortCounters.read([port.index], using: &host.socket), let now = counters[0] else {
            return false
        }
        let before = strays.updateValue(now.rxPackets, forKey: record.row)
        return before == now.rxPackets
    }

    /// Watches a guest as its record is now.
    mutating func relearn(_ row: Int64) throws(ControllerError) {
        if let record = try journal.record(row: row) { watch.set(record) } else { forget(row) }
    }

    private func now() -> Int64 { monotonicNanoseconds() }
}
