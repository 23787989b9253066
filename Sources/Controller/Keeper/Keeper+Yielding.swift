import FDB
import Netlink
import Policy
import Records
import Switchdev

/// What a guest has by asking for it, and another uses.
extension Keeper {
    /// Gives up addresses that a guest has asked for and that were seen elsewhere: what is seen comes before what is asked for. The
    /// entries stay where they were seen, and age.
    ///
    /// - Returns: nil where there is nothing to give up.
    mutating func yield(_ claim: inout Claim, _ observation: Observation) throws(ControllerError) -> Outcome? {
        let guest = claim.record.guest
        if guest.adopted.isEmpty || claim.record.phase != .pinned || isObserved(claim.record.row) { return nil }
        let word = wards[claim.record.row]?.word
        let (addresses, entries) = observation.lostToOthers(guest, isLeaving: word == .leaving || word == .elsewhere)
        if addresses.isEmpty { return nil }
        try claim.drop(addresses)
        _ = host.kernel.change(
            entries.filter(\.isStatic).map { EntryChange($0.address, .makeDynamic, port: $0.port) })
        try relearn(&claim)
        let ports = Set(entries.map(\.port)).sorted().map { observation.name(ofPort: $0, of: guest) }
        return .yielded(addresses.map(\.description), to: ports)
    }
}
