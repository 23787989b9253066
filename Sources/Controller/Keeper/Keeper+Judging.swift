import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Where a guest is, when its entries or frames contradict its record (``Trail``, docs/evidence.md).
extension Keeper {
    /// How soon to look again at a guest that is on its way to another host, in nanoseconds.
    private static let departurePause: Int64 = 100_000_000
    /// How soon to listen again while an entry is not where the record has it, in nanoseconds.
    private static let listeningPause: Int64 = 50_000_000
    /// Guests that are listened to at a time: each has three packet sockets, one of them on the uplink, whose filters every frame passes.
    private static let listenerLimit = 16
    /// Between two corrections of what a control plane says, in nanoseconds: each is an event of the whole fabric.
    static let correctionPause: Int64 = 60_000_000_000
    /// Between two looks at the counters of guests that are on other hosts, in nanoseconds.
    private static let heedingPause: Int64 = 1_000_000_000
    /// The longest pause for a guest whose ports receive frames that are not its own, in nanoseconds.
    private static let longestHeedingPause: Int64 = 60_000_000_000
    /// Entries that frames have moved are put back so often; a frame moves one again at any rate.
    private static let restorations = RepairBudget.Limits(burst: 20, firstWait: 100_000_000, longestWait: 100_000_000)
    /// Redirections of a guest because of where its frames come in.
    private static let redirections = RepairBudget.Limits(
        burst: 3, firstWait: 10_000_000_000, longestWait: 300_000_000_000)

    // MARK: - Entries that are astray

    /// Judges what entries on the other side of the uplink show, and puts back, leaves or follows each.
    mutating func judge(
        _ astray: [Drift.Stray], _ claim: inout Claim, _ observation: Observation
    ) throws(ControllerError) -> Outcome {
        let record = claim.record
        let (row, now) = (record.row, monotonicNanoseconds())
        let isHere = record.entrySide != .remote
        if isHere, wards[row]?.word == .leaving { return .later(at: now + Keeper.departurePause, .stolen) }
        let doubt = doubt(of: record, observation, at: now)
        doubt.note(astray, isHere: isHere, at: now)
        if isHere, Keeper.lacksReader(record, observation), let reason = departure(astray, record, observation) {
            return try depart(&claim, observation, reason: "no guest is behind its port, and " + reason)
        }
        let inquiry = askInDoubt(record, observation, doubt, at: now)
        var spared: Set<Address> = []
        var again = now + Keeper.heedingPause
        for stray in astray {
            switch verdict(stray, doubt, record, at: now) {
            case .restore: break
            case .leave where isHere && Keeper.isSilence(inquiry):
                guard let reason = departure(astray, record, observation) else { continue }
                return try depart(
                    &claim, observation, reason: "it has answered questions and answers none now, and " + reason)
            case .leave(let until):
                spared.insert(stray.address)
                // The guest's next frame takes the entry back; what a control plane said was contradicted already.
                again = min(again, stray.origin == .frame ? now + Keeper.listeningPause : again, until)
            case .believe where !isHere: return try arrive(&claim, by: record.guest.arrival)
            case .believe:
                // A guest that has nothing to say is silent too; one that is asked says so.
                if case .asking(let until)? = inquiry {
                    spared.insert(stray.address)
                    again = min(again, until)
                    continue
                }
                let isAlone = doubt.trails[stray.address.mac]?.isContradicted(byOwnSignAt: doubt.spokeAt) == true
                if !isAlone, let reason = departure(astray, record, observation) {
                    return try depart(&claim, observation, reason: reason)
                }
                spared.insert(stray.address)
                doubt.elsewhere.insert(stray.address.mac)
            }
        }
        let words = condition(astray, doubt, record, observation)
        if spared.count == astray.count, !hasMore(than: astray, record, observation) {
            return .doubtful(words, again: again, .stolen)
        }
        return try restore(&claim, observation, astray, sparing: spared, doubt, words)
    }

    private func verdict(
        _ stray: Drift.Stray, _ doubt: Doubt, _ record: GuestRecord, at now: Int64
    ) -> Trail.Verdict {
        let ward = wards[record.row]
        guard let trail = doubt.trails[stray.address.mac] else { return .restore }
        guard record.entrySide != .remote else {
            // QEMU says when a guest runs that it is asked about; its announcement may be ahead of that word.
            if ward?.word == nil {
                let isAdvertised = ward?.claimed.contains(stray.address) == true
                return trail.arrival(at: now, doubt.limits, isAdvertised: isAdvertised)
            }
            let until = trail.last + doubt.limits.patience
            return now < until ? .leave(until: until) : .restore
        }
        let isClaimed = stray.origin == .controlPlane
        let verdict = ward?.word == nil ? trail.departure(at: now, doubt.limits) : .restore
        guard isClaimed, verdict == .restore, let last = ward?.correctedAt else { return verdict }
        let next = last + Keeper.correctionPause
        return now < next ? .leave(until: next) : .restore
    }

    /// A guest that is known to answer does not.
    private static func isSilence(_ inquiry: AskState?) -> Bool {
        if case .found(.silent)? = inquiry { true } else { false }
    }

    /// Nobody reads what is sent to the guest's port, nor, where that is its primary, to its standby: a tap has a carrier for as
    /// long as a process has it open, so that a guest that only lost its primary is still here.
    private static func lacksReader(_ record: GuestRecord, _ observation: Observation) -> Bool {
        let isOnStandby = record.guest.side == .standby && record.phase != .bracketed
        let sides = isOnStandby ? [Side.standby] : record.guest.own.map(\.side)
        return sides.allSatisfy { side in
            guard let port = observation.ports[side], port.master == observation.bridge?.index else { return true }
            return !port.isUp || !port.hasCarrier
        }
    }

    /// Why a guest is on another host; nil where it has no way to be reached there.
    private func departure(
        _ astray: [Drift.Stray], _ record: GuestRecord, _ observation: Observation
    ) -> String? {
        guard let uplink = record.guest.uplink,
            astray.allSatisfy({ observation.entry($0.address)?.port == uplink.index })
        else { return nil }
        return astray.contains { $0.origin == .frame }
            ? "the guest's frames come in by the uplink now" : "a control plane has the guest behind the uplink now"
    }

    /// There is more to repair than entries that are astray.
    private func hasMore(than astray: [Drift.Stray], _ record: GuestRecord, _ observation: Observation) -> Bool {
        if !PortSetting.steps(record.guest, observation).isEmpty { return true }
        let others = Set(record.guest.addresses).subtracting(astray.map(\.address))
        let side = record.servingSide(observation)
        return others.contains { address in
            observation.entry(address).map { record.fault(of: $0, on: side) != nil } ?? true
        }
    }

    /// What an operator should know of a doubt; nil for what ends by itself.
    private func condition(
        _ astray: [Drift.Stray], _ doubt: Doubt, _ record: GuestRecord, _ observation: Observation
    ) -> Condition? {
        func condition(_ code: String, _ stray: Drift.Stray, _ words: String, remedy: String) -> Condition {
            let port = observation.entry(stray.address).flatMap { observation.links[$0.port]?.name }
            func named(_ text: String) -> String { text.replacing("PORT", with: port ?? "the uplink") }
            return Condition(code, .problem, "\(stray.address)", named(words), remedy: named(remedy))
        }
        if let stray = astray.first(where: { doubt.elsewhere.contains($0.address.mac) }) {
            let isContradicted = doubt.trails[stray.address.mac]?.isContradicted(byOwnSignAt: doubt.spokeAt) == true
            return condition(
                Condition.elsewhere, stray,
                "it is behind PORT, \(isContradicted ? "while the guest sends by its own port" : "which is not its uplink"): "
                    + "its entry stays there",
                remedy:
                    "nothing, if it is one that moves by itself (VRRP); else find the other machine that has it: tcpdump -eni PORT "
                    + "ether src \(stray.address.mac)")
        }
        if let stray = astray.first(where: { $0.origin == .controlPlane }), doubt.spokeAt > 0 {
            return condition(
                Condition.claimed, stray, "a control plane has it behind PORT, but the guest speaks here",
                remedy: "vtysh -c \"show bgp l2vpn evpn route\" names the host that advertises it")
        }
        guard doubt.restorations > 2, record.entrySide != .remote, let stray = astray.first else { return nil }
        return condition(
            Condition.contested, stray,
            "its frames come in by PORT, but the guest is here: another machine has its MAC, or the network returns its "
                + "frames",
            remedy:
                "\"tcpdump -eni PORT ether src \(stray.address.mac)\" shows them; the fabric's tables know their port")
    }

    /// Puts entries back that frames or a control plane have moved.
    private mutating func restore(
        _ claim: inout Claim, _ observation: Observation, _ astray: [Drift.Stray], sparing spared: Set<Address>,
        _ doubt: Doubt, _ words: Condition?
    ) throws(ControllerError) -> Outcome {
        let (row, now) = (claim.record.row, monotonicNanoseconds())
        let options = options(for: row)
        let places = observation.places(of: claim.record)
        if options.dryRun {
            let plan = try Planner().repair(claim.record, observation: observation, sparing: spared)
            let report = Report(planned: plan, startedAt: Stopwatch().startedAt, observation, options: options)
            return plan.isEmpty
                ? .doubtful(words, again: now + Keeper.heedingPause, .stolen)
                : .repaired(report, .stolen, by: [], on: places)
        }
        if case .wait(let until, _) = wards[row, default: Ward()].restorations.ask(at: now, Keeper.restorations) {
            return .doubtful(words, again: until, .stolen)
        }
        let restored = astray.filter { !spared.contains($0.address) }
        if restored.contains(where: { $0.origin == .controlPlane }) { wards[row]?.correctedAt = now }
        doubt.restored(restored.map(\.address.mac))
        if claim.record.phase == .bracketed { return try repairBracket(&claim, nil) }
        let plan = try Planner().repair(claim.record, observation: observation, sparing: spared)
        if plan.isEmpty { return .doubtful(words, again: now + Keeper.listeningPause, .stolen) }
        let report = try execute(plan, under: &claim)
        doubt.restorations += 1
        guard report.outcome == .done else {
            counters.driftFailures += 1
            return .repaired(booked(report, .stolen, on: places), .stolen, by: [], on: places)
        }
        counters.countRepair(.stolen)
        // Who makes a frame a millisecond must not write the history.
        if doubt.restorations == 1 {
            return .repaired(booked(report, .stolen, on: places), .stolen, by: [], on: places)
        }
        return .doubtful(words, again: doubt.end(isHere: true), .stolen)
    }

    // MARK: - Redirections

    private mutating func depart(
        _ claim: inout Claim, _ observation: Observation, reason: String
    ) throws(ControllerError) -> Outcome {
        if claim.record.guest.isGated {
            // Nothing would open the gate again: what speaks behind a closed one is no evidence.
            return .doubtful(
                Condition(
                    Condition.elsewhere, .problem, "",
                    "\(reason); its record stays, because only a switch closes its gate",
                    remedy: "fdbsteer switch \(claim.record.guest.id) --to remote, if it has left"),
                again: monotonicNanoseconds() + Keeper.heedingPause, .stolen)
        }
        if let wait = tooOften(claim.record, reason) { return wait }
        if !isObserved(claim.record.row) { counters.departures += 1 }
        if claim.record.phase == .bracketed {
            let closed = try close(&claim, at: claim.record.servingSide(observation), reason: reason)
            guard claim.record.phase == .pinned else { return closed }
        }
        return try redirect(&claim, to: .remote, reason: reason)
    }

    private mutating func arrive(_ claim: inout Claim, by side: Side) throws(ControllerError) -> Outcome {
        let reason = "the guest's frames come in by its \(side.rawValue)"
        if let wait = tooOften(claim.record, reason) { return wait }
        return try redirect(&claim, to: side, reason: reason)
    }

    /// The outcome for a guest that was redirected too often of late because of what its frames showed.
    private mutating func tooOften(_ record: GuestRecord, _ reason: String) -> Outcome? {
        let permission = wards[record.row, default: Ward()].moves.ask(
            at: monotonicNanoseconds(), Keeper.redirections)
        guard case .wait(let until, _) = permission else { return nil }
        let condition = Condition(
            Condition.contested, .problem, "", "\(reason), but it was redirected for such reasons too often of late",
            remedy:
                "fdbsteer switch \(record.guest.id) --to SIDE, where it is, once \"fdbsteer watch \(record.guest.bridge.name)\" "
                + "shows no second machine with its MAC")
        return .doubtful(condition, again: until, .stolen)
    }

    // MARK: - Listening

    /// Listens to a guest, from now on or since it was first in doubt.
    private mutating func doubt(of record: GuestRecord, _ observation: Observation, at now: Int64) -> Doubt {
        if let known = wards[record.row]?.doubt {
            known.listen(at: now, using: &host.kernel.socket)
            return known
        }
        let listeners = wards.values.count { $0.doubt?.isListening == true }
        let doubt = Doubt(
            record.guest, observation, listens: listeners < Keeper.listenerLimit, at: now, limits: trailLimits)
        doubt.listen(at: now, using: &host.kernel.socket)
        wards[record.row, default: Ward()].doubt = doubt
        return doubt
    }

    /// When a guest in doubt is looked at again, on CLOCK_MONOTONIC in nanoseconds; nil without a doubt.
    package func doubtDue(_ row: Int64) -> Int64? {
        guard let doubt = wards[row]?.doubt, let record = watch.records[row] else { return nil }
        return max(doubt.end(isHere: record.entrySide != .remote), monotonicNanoseconds() + Keeper.heedingPause)
    }

    /// A guest is as its record says: goes on listening while that is in doubt, or begins to, for a guest on another host whose ports
    /// have received frames.
    mutating func settle(
        _ claim: inout Claim, _ observation: Observation, cause: Watch.Cause
    ) throws(ControllerError) -> Outcome {
        let record = claim.record
        let (row, now) = (record.row, monotonicNanoseconds())
        guard cause == .heard || wards[row]?.doubt != nil else { return .fine }
        let doubt = doubt(of: record, observation, at: now)
        doubt.settle()
        let isHere = record.entrySide != .remote
        if !isHere { _ = askInDoubt(record, observation, doubt, at: now) }
        if !isHere, record.phase == .pinned, wards[row]?.word == nil {
            for trail in doubt.trails.values {
                guard trail.arrival(at: now, doubt.limits) == .believe, let side = doubt.spokeBy else { continue }
                return try arrive(&claim, by: side)
            }
        }
        let end = doubt.end(isHere: isHere)
        if now < end {
            return .later(at: isHere ? end : min(end, now + Keeper.listeningPause), isHere ? .stolen : .heard)
        }
        // What its ports receive is not its own: another guest has them, or a pod's kernel speaks.
        let longer = min(
            max(2 * (wards[row]?.heedingPause ?? 0), Keeper.heedingPause), Keeper.longestHeedingPause)
        let pause = doubt.isEmpty ? longer : 0
        wards[row]?.heedingPause = pause
        wards[row]?.heedAfter = now + pause
        wards[row]?.doubt = nil
        return .fine
    }

    /// Guests on other hosts whose own ports have received frames since the last time. Their standby tells by learning, where it serves
    /// them alone; their primary does not, because a hypervisor announces a guest by that too.
    ///
    /// - Returns: none before ``heedingDue``.
    package mutating func heed(now: Int64) -> [Watch.Suspicion] {
        guard now >= heedingDue else { return [] }
        var rows: [(row: Int64, ports: Int)] = []
        var ports: [Int32] = []
        heedingDue = .max
        for (row, record) in watch.records where record.guest.side == .remote && record.phase == .pinned {
            // A gated port may send frames with the guest's MAC before the guest is here, so its counters prove nothing.
            if record.guest.isGated { continue }
            heedingDue = now + Keeper.heedingPause
            guard let ward = wards[row], ward.word == nil, ward.doubt == nil, now >= ward.heedAfter else { continue }
            let guest = record.guest
            let own = guest.own.filter {
                $0.port.index != guest.port(of: .remote)?.index && !guest.learns($0.side)
            }
            ports += own.map(\.port.index)
            rows.append((row, own.count))
        }
        guard !ports.isEmpty, let counters = try? PortCounters.read(ports, using: &host.kernel.socket) else {
            return []
        }
        var rest = counters[...]
        return rows.compactMap { row, count in
            let sum = rest.prefix(count).reduce(0) { $0 &+ ($1?.rxPackets ?? 0) }
            rest = rest.dropFirst(count)
            let before = wards[row]?.received
            wards[row]?.received = sum
            return before == nil || before == sum ? nil : Watch.Suspicion(row: row, cause: .heard)
        }
    }
}
