package import FDB
package import Switchdev

/// What was read before a redirection; what was not read is nil, and nothing is found about it.
package struct PreflightInput {
    /// The bridge's name as it was given.
    package var bridgeName: String
    /// The bridge.
    package var bridge: Link?
    /// The names of the ports as they were given, by side.
    package var names: [Side: String]
    /// The interfaces of these names, ports of the bridge or not.
    package var ports: [Side: Link]
    /// The guest's addresses.
    package var addresses: [Address]
    /// Interfaces, for names.
    package var links: Links
    /// The bridge's entries.
    package var table: Table?
    /// Entries of the guest's MACs on all bridges and VLANs.
    package var sightings: [Entry] = []
    /// The ports' VLANs; nil on a kernel, or for a bridge, that tells none apart.
    package var vlans: [Side: PortVLANs] = [:]
    /// Drivers of ports of a switch, by interface index.
    package var drivers: [Int32: Driver] = [:]
    /// What the ports take off the CPU, by interface index.
    package var features: [Int32: OffloadFeatures] = [:]
    /// Queueing disciplines of the ports.
    package var disciplines: [QueueingDiscipline] = []
    /// Names of other guests by the interface indexes of their ports.
    package var otherGuests: [Int32: String] = [:]
    /// Names of other guests by their addresses on this bridge.
    package var owners: [Address: String] = [:]
    /// The namespace is the initial one; nil when that cannot be seen.
    package var isInitialNamespace: Bool?
    /// The guest as it was prepared.
    package var prepared: GuestInterface?
    /// The caller says where the guest is.
    package var saysSide = false

    /// Makes one from its parts.
    package init(
        bridgeName: String, bridge: Link?, names: [Side: String], ports: [Side: Link], addresses: [Address],
        links: Links
    ) {
        self.bridgeName = bridgeName
        self.bridge = bridge
        self.names = names
        self.ports = ports
        self.addresses = addresses
        self.links = links
    }
}

extension PreflightInput {
    /// Who else uses ports and addresses.
    package mutating func setGuests(_ records: [GuestRecord]) {
        let planner = Planner(beside: records, on: bridgeName)
        otherGuests = planner.otherGuests
        owners = planner.owners
    }

    /// On a bridge that filters VLANs a MAC alone means the PVID that the ports agree on (``Planner/resolve(_:bridge:ports:vlans:)``).
    package mutating func resolveAddresses() {
        guard bridge?.bridge?.filtersVLANs == true, let pvid = vlans[.primary]?.pvid, vlans[.standby]?.pvid == pvid
        else {
            return
        }
        let tagged = addresses.compactMap { $0.vlan == nil ? try? Address(mac: $0.mac, vlan: pvid) : $0 }
        addresses = Set(tagged).sorted()
    }
}
