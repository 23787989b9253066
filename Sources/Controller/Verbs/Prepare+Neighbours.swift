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
        for record in try journal?.records() ?? [] where record.guest.id != request.id {
            for other in record.guest.neighbours ?? [] {
                guard
                    neighbours.contains(where: { $0.ip == other.ip && $0.interface.index == other.interface.index })
                else { continue }
                throw ControllerError(
                    .precondition, "\(other.ip) on \(other.interface.name) follows guest \(record.guest.id)",
                    remedy: "release that guest, or leave the address out of --ip")
            }
        }
        try host.kernel.readNeighbours(neighbours, into: &observation)
        return neighbours
    }
}
