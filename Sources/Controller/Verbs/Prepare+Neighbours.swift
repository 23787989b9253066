import FDB
import Policy
import Records
import Switchdev

extension Prepare {
    /// The neighbours that are to follow a guest, as they are now.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for an interface that is not above the bridge, and for an address that
    ///   follows another guest there.
    func neighbours(
        _ request: PreparationRequest, _ observation: inout Observation, links: Links, beside journal: Journal?,
        on host: inout Host
    ) throws(ControllerError) -> [GuestNeighbour] {
        guard !request.neighbours.isEmpty, let bridge = observation.bridge else { return [] }
        let neighbours = try host.kernel.neighbours(request, on: bridge, links: links)
        if let journal { try requireFree(neighbours, of: request.id, in: journal) }
        try host.kernel.readNeighbours(neighbours, into: &observation)
        return neighbours
    }

    /// Refuses a neighbour that follows another guest. Who is about to make a record asks again while he keeps others from making one
    /// (``Journal/claim(preparing:given:ips:found:neighbours:_:)``).
    func requireFree(
        _ neighbours: [GuestNeighbour], of id: GuestID, in journal: Journal
    ) throws(ControllerError) {
        if neighbours.isEmpty { return }
        for record in try journal.records() where record.guest.id != id {
            for other in record.guest.neighbours ?? [] {
                guard
                    neighbours.contains(where: { $0.ip == other.ip && $0.interface.index == other.interface.index })
                else { continue }
                throw ControllerError(
                    .precondition, "\(other.ip) on \(other.interface.name) follows guest \(record.guest.id)",
                    remedy: "release that guest, or leave the address out of --ip")
            }
        }
    }
}
