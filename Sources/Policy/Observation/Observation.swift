package import FDB
package import Switchdev

/// What was read of the kernel before a plan is made.
package struct Observation {
    /// The guest's bridge, nil when it is gone.
    package var bridge: Link?
    /// The ports that the guest names, by side; nil when one is gone.
    package var ports: BySide<Link>
    /// The entries of the guest's addresses.
    package var entries: EntrySet
    /// Ports that are not the guest's, but have an entry of its addresses.
    package var foreignPorts: [Link] = []
    /// The bridge's multicast groups, where they were read (``Host/readGroups(into:of:to:phase:)``).
    package var groups: GroupTable?
    /// What the filters of a NIC in legacy mode say, where the guest has one (``readFilters(of:using:)``).
    package var filters: NICFilters?

    /// Makes one from its parts.
    package init(bridge: Link?, ports: BySide<Link>, entries: EntrySet, foreignPorts: [Link] = []) {
        self.bridge = bridge
        self.foreignPorts = foreignPorts
        self.ports = ports
        self.entries = entries
    }

    /// Every link that was read.
    package var links: Links {
        // A port may serve two sides.
        var all: [Link] = []
        for link in ports.values where !all.contains(where: { $0.index == link.index }) { all.append(link) }
        return Links(all + foreignPorts + (bridge.map { [$0] } ?? []))
    }

    package func entry(_ address: Address) -> Entry? { entries[address] }
}

extension Observation {
    /// Makes an observation of what is known already.
    package init(bridge: Link?, ports: [Side: Link], entries: EntrySet) {
        self.init(bridge: bridge, ports: BySide(ports), entries: entries)
    }
}
