import FDB
import Netlink
import Policy
import Switchdev
import System

/// Neighbours that follow guests.
extension Kernel {
    /// Reads the neighbours that follow a guest, and their interfaces.
    mutating func readNeighbours(
        _ neighbours: [GuestNeighbour], into observation: inout Observation
    ) throws(ControllerError) {
        let interfaces = neighbours.interfaces.map(\.index)
        observation.neighbourhood = try ControllerError.reading("the guest's neighbours") { () throws(NetlinkError) in
            let links = try Links.read(interfaces, using: &socket).compactMap { $0 }
            let keys = neighbours.map { (ip: $0.ip, interface: $0.interface.index) }
            return Neighbourhood(
                links: links, entries: try IPNeighbour.read(keys, using: &socket).compactMap { $0 })
        }
    }

    /// Changes neighbours together. One that is gone, or whose interface is, needs no removal, and keeps none.
    mutating func change(_ changes: [NeighbourChange]) -> Redirection.Event {
        var owners: [Int] = []
        var requests: [IPNeighbourRequest] = []
        for (index, change) in changes.enumerated() {
            for request in change.requests {
                owners.append(index)
                requests.append(request)
            }
        }
        var refusals: [Int: KernelRefusal] = [:]
        for (owner, answer) in zip(owners, socket.perform(requests)) {
            guard let answer, answer.errno != .noEntry, answer.errno != .noDevice else { continue }
            refusals[owner] = KernelRefusal(answer)
        }
        return .answered(refusals)
    }

    /// Puts neighbours back.
    mutating func restore(_ changes: [NeighbourChange]) -> Redirection.Event {
        guard case .answered(let refusals) = change(changes), let first = refusals.min(by: { $0.key < $1.key }) else {
            return .done
        }
        return .failed(changes[first.key].failure(first.value))
    }

    /// Finds the neighbours that are to follow a guest.
    ///
    /// - Parameter request: its addresses have their VLANs.
    mutating func neighbours(
        _ request: PreparationRequest, on bridge: Link, links: Links
    ) throws(ControllerError) -> [GuestNeighbour] {
        if request.neighbours.isEmpty { return [] }
        let pvid =
            bridge.bridge?.filtersVLANs == true ? try vlans(of: bridge.index, named: bridge.name).pvid : nil
        return try GuestNeighbour.resolve(request, on: bridge, pvid: pvid, links: links)
    }
}
