import FDB
import Policy
import Records
import System

/// A guest that the kernel's packet filter cannot guard, and whose addresses a neighbour's frames take faster than repairs may follow:
/// its entries are sticky for some seconds, and then let roam again to see whether it goes on (docs/design.md).
extension Keeper {
    /// Whether a guest was besieged not long ago, and may roam at present.
    func remembersSiege(_ row: Int64, at now: Int64) -> Bool {
        wards[row]?.siege.map { now >= $0.until && now < $0.rememberedUntil } ?? false
    }

    /// Brings a guest's entries back, and makes them sticky.
    mutating func besiege(
        _ claim: inout Claim, _ observation: Observation, _ takers: [String], at now: Int64
    ) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        let isNews = wards[row]?.siege == nil
        var record = claim.record
        record.guest.isSticky = true
        let report = try put(record, under: &claim, observation)
        guard report.outcome == .done else {
            counters.driftFailures += 1
            let places = observation.places(of: claim.record)
            return .repaired(booked(report, .stolen, on: places), .stolen, by: takers, on: places)
        }
        wards[row]?.siege = Ward.Siege(at: now)
        return fought(row, until: now + Ward.Siege.hold, .stolen, by: takers, isNews: isNews)
    }

    /// Lets the entries of a besieged guest roam again when their time is over.
    ///
    /// - Returns: false for a guest that was not besieged.
    mutating func endSiege(
        _ claim: inout Claim, _ observation: Observation, at now: Int64
    ) throws(ControllerError) -> Bool {
        guard remembersSiege(claim.record.row, at: now) else { return false }
        return try put(claim.record, under: &claim, observation).outcome == .done
    }

    /// Lets the entries of a besieged guest roam again because it is to be redirected.
    mutating func endSiege(_ row: Int64) throws(ControllerError) {
        let now = monotonicNanoseconds()
        guard wards[row]?.isBesieged(at: now) == true, let known = watch.records[row],
            var claim = try journal.claim(known.guest.id, row: row)
        else { return }
        wards[row]?.siege?.until = now
        _ = try endSiege(&claim, host.kernel.observe(claim.record.guest), at: now)
    }

    private mutating func put(
        _ record: GuestRecord, under claim: inout Claim, _ observation: Observation
    ) throws(ControllerError) -> Report {
        try execute(Planner().repair(record, observation: observation), under: &claim)
    }
}

extension GuestRecord {
    /// Sticky entries cannot be moved so that hardware follows.
    var canBeBesieged: Bool {
        phase == .pinned && !guest.isGuarded && !guest.isSticky && guest.nic == nil && guest.eswitchPort == nil
    }
}
