package import FDB
package import Switchdev

/// What was read before something is decided: of the kernel, and of the records. What was not read is nil.
package struct Observation {
    /// The guest's bridge, nil when there is none.
    package var bridge: Link?
    /// The interfaces that the guest names, by side, ports of the bridge or not; nil when there is none.
    package var ports: BySide<Link>
    /// The entries of the guest's addresses.
    package var entries: EntrySet?
    /// Ports that are not the guest's, but have an entry of its addresses.
    package var foreignPorts: [Link] = []
    /// The bridge's multicast groups, where they were read.
    package var groups: GroupTable?
    /// What the filters of a NIC in legacy mode say, where the guest has one.
    package var filters: NICFilters?
    /// From how many of the guest's MACs the bridge's table lets nothing in, by port; nil for a guest without such a gate.
    package var shut: [Int32: Int]?
    /// The neighbours that follow the guest, where it has some.
    package var neighbourhood: Neighbourhood?

    // What only `preflight`, `prepare` and `topology` read.
    /// All interfaces of the network namespace.
    package var interfaces: Links?
    /// The bridge's entries, at least those on the guest's primary and standby.
    package var table: Table?
    /// Entries of the guest's MACs on all bridges and VLANs.
    package var sightings: [Entry]?
    /// The ports' VLANs; none on a bridge for which they mean nothing.
    package var vlans: BySide<PortVLANs>?
    /// Drivers of ports of a switch by interface index, where they report one.
    package var drivers: [Int32: Driver]?
    /// What the ports take off the CPU, by interface index.
    package var features: [Int32: OffloadFeatures]?
    /// Queueing disciplines of the ports.
    package var disciplines: [QueueingDiscipline]?
    /// What this kernel's nftables cannot do; only `preflight` tries it.
    package var filtering: PacketFiltering?
    /// The guest's MACs for which its uplink, a tunnel, has entries of its own; nil where it is none.
    package var tunnelled: Set<MACAddress>?
    /// The guests beside this one.
    package var neighbours: Neighbours?
    /// The namespace is the initial one.
    package var isInitialNamespace: Bool?
    /// What could not be read, and why.
    package var unseen: [Unseen] = []

    /// Makes one from its parts.
    package init(bridge: Link?, ports: BySide<Link>, entries: EntrySet? = nil, foreignPorts: [Link] = []) {
        self.bridge = bridge
        self.foreignPorts = foreignPorts
        self.ports = ports
        self.entries = entries
    }

    /// Every link that was read.
    package var links: Links {
        if let interfaces { return interfaces }
        // A port may serve two sides.
        var all: [Link] = []
        for link in ports.values where !all.contains(where: { $0.index == link.index }) { all.append(link) }
        all += foreignPorts
        if let bridge { all.append(bridge) }
        return Links(all)
    }

    package func entry(_ address: Address) -> Entry? { entries?[address] }

    /// Whether a port with a gate is shut; nil where that is not known. One that is shut to some of the guest's MACs alone is neither.
    package func isShut(_ port: PortIdentity, of guest: GuestInterface) -> Bool? {
        switch port.gate {
        case .lock: links[port.index]?.bridgePort?.flags.contains(.locked)
        case .table:
            shut.map { shut in
                let count = shut[port.index] ?? 0
                return count == guest.macs.count || (count > 0 && guest.side != .remote)
            }
        case nil: nil
        }
    }

    /// The present name of the bridge or a port among what was read of a guest.
    package func name(_ index: Int32) -> String? {
        if bridge?.index == index { return bridge?.name }
        if ports[.primary]?.index == index { return ports[.primary]?.name }
        if ports[.standby]?.index == index { return ports[.standby]?.name }
        if ports[.local]?.index == index { return ports[.local]?.name }
        if ports[.remote]?.index == index { return ports[.remote]?.name }
        return interfaces?[index]?.name ?? neighbourhood?.links.first { $0.index == index }?.name
    }

    /// The name of a port; with its interface index where it is not the guest's.
    package func name(ofPort index: Int32, of guest: GuestInterface) -> String {
        if guest.side(ofPort: index) != nil { return name(index) ?? guest.name(ofPort: index) }
        let name = name(index) ?? foreignPorts.first { $0.index == index }?.name
        return name.map { "\($0) (ifindex \(index))" } ?? "ifindex \(index)"
    }

    /// The addresses that a guest has asked for, and that came in elsewhere: by a port of others, or by the uplink while all that an
    /// operator has declared is here.
    package func lostToOthers(
        _ guest: GuestInterface, isLeaving: Bool
    ) -> (addresses: [Address], entries: [Entry]) {
        let uplink = guest.uplink?.index
        let isHere =
            guest.side != .remote && !isLeaving
            && !guest.declared.contains { entry($0)?.port == uplink }
        let entries = guest.adopted.sorted().compactMap(entry).filter { entry in
            if entry.isLocal { return false }
            if entry.port == uplink { return isHere && uplink != guest.standby.index }
            return guest.side(ofPort: entry.port) == nil
        }
        return (entries.map(\.address), entries)
    }

    /// The ports of others that have taken addresses of a guest.
    package func takers(of guest: GuestInterface) -> [String] {
        names(of: guest) { !$0.isLocal && guest.side(ofPort: $0.port) == nil }
    }

    /// The ports on which entries are that should be on another one, in words.
    package func places(of record: GuestRecord) -> [String] {
        let port = record.guest.port(of: record.servingSide(self))?.index
        return names(of: record.guest) { $0.port != port }
    }

    /// The ports of those entries of a guest of which something holds.
    private func names(of guest: GuestInterface, _ holds: (Entry) -> Bool) -> [String] {
        var ports: [Int32] = []
        for address in guest.addresses {
            guard let entry = entry(address), holds(entry), !ports.contains(entry.port) else { continue }
            ports.append(entry.port)
        }
        return ports.sorted().map { name(ofPort: $0, of: guest) }
    }
}

extension GuestRecord {
    /// The record with the names that the guest's bridge and ports have now.
    package func named(by observation: Observation) -> GuestRecord {
        guard let guest = guest.renamed(observation.name) else { return self }
        var record = self
        record.guest = guest
        return record
    }
}

extension Observation {
    /// Makes an observation of what is known already.
    package init(bridge: Link?, ports: [Side: Link], entries: EntrySet? = nil) {
        self.init(bridge: bridge, ports: BySide(ports), entries: entries)
    }
}

extension Observation {
    /// What may have been read, or not, beside the bridge and the guest's ports.
    package struct Parts: OptionSet, Hashable, Sendable {
        package let rawValue: UInt16
        package init(rawValue: UInt16) { self.rawValue = rawValue }

        package static let entries = Parts(rawValue: 1)
        package static let interfaces = Parts(rawValue: 2)
        package static let table = Parts(rawValue: 4)
        package static let sightings = Parts(rawValue: 8)
        package static let vlans = Parts(rawValue: 16)
        package static let drivers = Parts(rawValue: 32)
        package static let features = Parts(rawValue: 64)
        package static let disciplines = Parts(rawValue: 128)
        package static let neighbours = Parts(rawValue: 256)
        package static let namespace = Parts(rawValue: 512)
        package static let filtering = Parts(rawValue: 1024)
        package static let tunnelled = Parts(rawValue: 2048)
    }

    /// What was read.
    package var parts: Parts {
        var parts: Parts = []
        if entries != nil { parts.insert(.entries) }
        if interfaces != nil { parts.insert(.interfaces) }
        if table != nil { parts.insert(.table) }
        if sightings != nil { parts.insert(.sightings) }
        if vlans != nil { parts.insert(.vlans) }
        if drivers != nil { parts.insert(.drivers) }
        if features != nil { parts.insert(.features) }
        if disciplines != nil { parts.insert(.disciplines) }
        if neighbours != nil { parts.insert(.neighbours) }
        if isInitialNamespace != nil { parts.insert(.namespace) }
        if filtering != nil { parts.insert(.filtering) }
        if tunnelled != nil { parts.insert(.tunnelled) }
        return parts
    }

    /// Something that could not be read, wholly or in part.
    package struct Unseen: Hashable, Sendable {
        package let parts: Parts
        /// What, and why.
        package let words: String

        package init(_ parts: Parts, _ words: String) {
            self.parts = parts
            self.words = words
        }
    }
}

/// Why this kernel's nftables refuses what a guest needs; nil for what it can do.
package struct PacketFiltering: Equatable {
    /// To say who may send from its addresses (``SourceGuardTable``).
    package var guarding: String?
    /// To keep its answers from others (``AskShield``).
    package var asking: String?

    package init(guarding: String? = nil, asking: String? = nil) {
        self.guarding = guarding
        self.asking = asking
    }
}

/// Whom a guest must share with: the ports and addresses of the guests beside it.
package struct Neighbours: Equatable {
    /// Names of other guests by the interface indexes of the guest's ports. Uplinks are everybody's.
    package var ports: [Int32: String] = [:]
    /// Those of them that have a gate there.
    package var gates: [Int32: String] = [:]
    /// Names of other guests by the guest's addresses on its bridge.
    package var owners: [Address: String] = [:]
    /// Names of other guests that have got some of the guest's addresses by asking for them: whom an operator names comes first.
    package var squatters: [Address: String] = [:]

    package init() {}
}
