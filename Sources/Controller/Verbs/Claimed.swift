import FDB
import Policy

/// The addresses of a guest that a control plane has elsewhere. The guest may contradict that, but no record does (docs/evidence.md), so
/// their entries stay where they are. fdbsteerd looks at them next.
struct Claimed {
    let addresses: Set<Address>
    /// What is so, and what to do.
    let words: String

    /// - Returns: nil where there are none.
    init?(_ record: GuestRecord, _ observation: Observation) {
        guard case .astray(let all) = Drift(record, observation) else { return nil }
        let astray = all.filter { $0.origin == .controlPlane }
        guard let first = astray.first?.address, let port = observation.entry(first)?.port else { return nil }
        let (guest, others) = (record.guest, astray.count - 1)
        addresses = Set(astray.map(\.address))
        words =
            "left alone: a control plane has \(first)\(others > 0 ? " and \(others) more" : "") behind "
            + "\(observation.name(ofPort: port, of: guest)); if the guest is here: fdbsteer switch \(guest.id) --to "
            + guest.side.rawValue
    }
}
