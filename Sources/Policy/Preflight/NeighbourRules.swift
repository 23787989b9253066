import FDB
import Switchdev

/// Neighbours that follow the guest.
package enum NeighbourRules {
    static let all = [neighbour]

    static let neighbour = Rule(
        "neighbour", .loses, refuses: .intent, shown: "here: the neighbour deleted, and made extern_learn",
        harm: "nothing on the bridge; in routed EVPN the guest's /32 or /128"
    ) { it, answer in
        guard let guest = it.subject.guest, let neighbours = guest.neighbours, let seen = it.observation.neighbourhood
        else { return }
        for neighbour in neighbours {
            let name = neighbour.interface.name
            guard let link = seen.link(neighbour) else {
                answer(
                    name, "it no longer exists, and should have \(neighbour.ip) as a neighbour of \(neighbour.mac)",
                    remedy: "make it, and prepare the guest again with --neighbour")
                continue
            }
            guard link.isUp else {
                answer(
                    name, "it is down, and keeps no neighbour: \(neighbour.ip) of \(neighbour.mac) is missing",
                    remedy: "ip link set \(name) up, then: fdbsteer reconcile")
                continue
            }
            let found = seen.entry(neighbour)
            if neighbour.isRight(found, at: guest.side) { continue }
            answer(
                name,
                guest.side == .remote
                    ? "the neighbour \(neighbour.ip) is still fdbsteer's, and the guest is on another host"
                    : "\(neighbour.ip) should be a permanent neighbour of \(neighbour.mac), and is "
                        + (found.map { ($0.isControlPlanes ? "a control plane's: " : "") + $0.words } ?? "missing"),
                evidence: ["ip neigh show \(neighbour.ip) dev \(name)": found?.words ?? "nothing"],
                remedy: "fdbsteer reconcile")
        }
    }
}
