import FDB
import Netlink
import Switchdev

/// What was read of the kernel before a plan is made.
struct Observation {
    /// The guest's bridge, nil when it is gone.
    var bridge: Link?
    /// The ports that the guest names, by side; nil when one is gone.
    var ports: BySide<Link>
    /// The entries of the guest's addresses.
    var entries: EntrySet
    /// Ports that are not the guest's, but have an entry of its addresses.
    var foreignPorts: [Link] = []
    /// The bridge's multicast groups, where they were read (``Host/readGroups(into:of:to:phase:)``).
    var groups: GroupTable?
    /// What the filters of a NIC in legacy mode say, where the guest has one (``readFilters(of:using:)``).
    var filters: NICFilters?

    /// Every link that was read.
    var links: Links {
        // A port may serve two sides.
        var all: [Link] = []
        for link in ports.values where !all.contains(where: { $0.index == link.index }) { all.append(link) }
        return Links(all + foreignPorts + (bridge.map { [$0] } ?? []))
    }

    func entry(_ address: Address) -> Entry? { entries[address] }
}

extension Observation {
    /// Makes an observation of what is known already.
    init(bridge: Link?, ports: [Side: Link], entries: EntrySet) {
        self.init(bridge: bridge, ports: BySide(ports), entries: entries)
    }

    /// Reads what a guest interface names: single gets only, whatever the size of the host.
    ///
    /// A port whose name and interface index no longer agree counts as gone.
    static func read(
        _ guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> Observation {
        var observation = try readPorts(guest, using: &socket)
        if observation.bridge != nil { try observation.readEntries(of: guest, using: &socket) }
        return observation
    }

    /// Reads the bridge and the ports that a guest interface names, without its entries.
    static func readPorts(
        _ guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> Observation {
        let named = guest.ports
        let links = try ControllerError.reading("the bridge and its ports") { () throws(NetlinkError) in
            try Links.read([guest.bridge.index] + named.map(\.port.index), using: &socket)
        }
        let bridge = links[0].flatMap { $0.name == guest.bridge.name && $0.kind == "bridge" ? $0 : nil }
        var ports = BySide<Link>()
        for ((side, identity), link) in zip(named, links.dropFirst()) {
            if let link, link.name == identity.name { ports[side] = link }
        }
        if let uplink = guest.uplink, uplink.index == guest.standby.index { ports[.remote] = ports[.standby] }
        if guest.nic != nil { ports[.remote] = ports[.primary] }
        return Observation(bridge: bridge, ports: ports, entries: [:])
    }

    mutating func readEntries(of guest: GuestInterface, using socket: inout CommandSocket) throws(ControllerError) {
        let found = try ControllerError.reading("the entries of guest \(guest.id)") { () throws(NetlinkError) in
            try Table.read(guest.addresses, bridge: guest.bridge.index, using: &socket)
        }
        entries = EntrySet(found)
        let known = guest.ports.map(\.port.index) + [guest.bridge.index]
        var foreign: [Int32] = []
        for entry in entries.values where !known.contains(entry.port) && !foreign.contains(entry.port) {
            foreign.append(entry.port)
        }
        guard !foreign.isEmpty else { return }
        foreignPorts = try ControllerError.reading("the ports that have entries of guest \(guest.id)") {
            () throws(NetlinkError) in
            try Links.read(foreign.sorted(), using: &socket).compactMap { $0 }
        }
    }
}

/// Where frames go now, in words, for errors about things that are gone.
struct Whereabouts {
    let guest: GuestInterface
    let observation: Observation

    var text: String {
        guard observation.bridge != nil else { return "no bridge forwards the guest's frames now" }
        var byPort: [Int32: Int] = [:]
        var missing = 0
        for address in guest.addresses {
            if let entry = observation.entry(address) { byPort[entry.port, default: 0] += 1 } else { missing += 1 }
        }
        var parts = byPort.sorted { $0.key < $1.key }.map { port, count in
            "frames for \(count) of \(guest.addresses.count) addresses go to \(name(of: port))"
        }
        if missing > 0 {
            parts.append(
                "\(missing) of \(guest.addresses.count) addresses have no entry: their frames are flooded to the "
                    + "ports with \"flood on\", and lost where there is none")
        }
        return parts.joined(separator: "; ")
    }

    private func name(of port: Int32) -> String {
        guard let side = guest.side(ofPort: port), let name = guest.port(of: side)?.name else {
            return "the port with ifindex \(port), which is none of this guest's"
        }
        return "\(name) (\(side.rawValue))"
    }
}
