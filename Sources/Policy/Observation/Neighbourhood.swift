package import FDB
package import Switchdev

/// What was read of the neighbours that follow a guest.
package struct Neighbourhood: Equatable, Sendable {
    /// The interfaces that there are.
    package let links: [Link]
    /// The neighbours that there are.
    package let entries: [IPNeighbour]

    package init(links: [Link], entries: [IPNeighbour]) {
        self.links = links
        self.entries = entries
    }

    package func link(_ neighbour: GuestNeighbour) -> Link? { links.first { $0.index == neighbour.interface.index } }

    package func entry(_ neighbour: GuestNeighbour) -> IPNeighbour? {
        entries.first(where: neighbour.isKey)
    }
}
