import CNetlink
import FDB
import Netlink
import Switchdev
import Testing

@testable import Policy

/// A faultless guest on a software bridge: `br0` with `up0`, `vf0` and `tap0`.
struct Situation: Sendable {
    var bridge = LinkFixture(index: 3, name: "br0", kind: "bridge")
    var uplink = LinkFixture(index: 4, name: "up0", master: 3, portKind: "bridge")
    var primary = LinkFixture(index: 5, name: "vf0", master: 3, portKind: "bridge")
    var standby = LinkFixture(index: 6, name: "tap0", master: 3, portKind: "bridge")
    var others: [LinkFixture] = [LinkFixture(index: 9, name: "other0", kind: "bridge")]
    var missing: [Side: String] = [:]
    var standbyIsPrimary = false
    /// The guest has `tap0` alone, which is then meant by ``standby``.
    var hasOnePort = false
    /// The guest's ports are locked while it is on another host.
    var isGated = false
    var uplinkIsStandby = false
    var isPrepared = false
    var isSticky = false
    /// The guest's addresses were given without their VLANs.
    var isFromPVID = false
    var movesFilters = false
    var side = Side.primary
    var saidSide: Side?
    var addresses: [Address] = (try? [Address("52:54:00:00:00:01")]) ?? []
    var entries: [Entry] = (try? [Address("52:54:00:00:00:01")].map { Situation.entry($0, port: 5) }) ?? []
    var sightings: [Entry] = []
    var vlans: [Side: PortVLANs] = [:]
    var drivers: [Int32: Driver] = [:]
    var features: [Int32: OffloadFeatures] = [5: [.checksum, .tcpSegmentation], 6: [.checksum, .tcpSegmentation]]
    var disciplines: [QueueingDiscipline] = []
    var filtering = PacketFiltering()
    var otherGuests: [Int32: String] = [:]
    var owners: [Address: String] = [:]
    var isInitialNamespace: Bool?
    /// What is read of the neighbour that follows the guest; nil for none that does.
    var neighbourhood: Neighbourhood?
    /// The MACs that the uplink, a tunnel, knows by itself.
    var tunnelled: Set<MACAddress>?

    /// The neighbour: 192.0.2.7 on the bridge.
    static func neighbour() throws -> GuestNeighbour {
        GuestNeighbour(
            ip: try #require(IPAddress("192.0.2.7")), mac: MACAddress(value: 0x5254_0000_0001),
            interface: PortIdentity(name: "br0", index: 3, isEswitchPort: false))
    }

    static func entry(
        _ address: Address, port: Int32, bridge: Int32 = 3, state: EntryState = .reachable, flags: EntryFlags = []
    ) -> Entry {
        Entry(address: address, port: port, bridge: bridge, state: state, flags: flags)
    }

    static func vlans(_ members: [UInt16], pvid: UInt16? = nil, untagged: [UInt16]? = nil) -> PortVLANs {
        PortVLANs(
            members: Set(members.compactMap(VLANID.init)), pvid: pvid.flatMap(VLANID.init),
            untagged: Set((untagged ?? members.filter { $0 == 10 }).compactMap(VLANID.init)))
    }

    mutating func add(_ text: String, port: Int32, state: EntryState = .reachable, flags: EntryFlags = []) throws {
        let address = try Address(text)
        entries.removeAll { $0.address == address }
        entries.append(Situation.entry(address, port: port, state: state, flags: flags))
    }

    mutating func see(_ text: String, port: Int32, bridge: Int32) throws {
        sightings.append(Situation.entry(try Address(text), port: port, bridge: bridge))
    }

    /// Puts the guest in VLAN 10, which its ports have untagged, next to VLAN 20.
    mutating func filterVLANs() throws {
        bridge.filtersVLANs = true
        addresses = [try Address("52:54:00:00:00:01/10")]
        entries = addresses.map { Situation.entry($0, port: 5) }
        for side in Side.allCases { vlans[side] = Situation.vlans([10, 20], pvid: 10) }
    }

    /// Makes the primary a port of a switch.
    mutating func makeSwitch(driver: String) {
        primary.switchID = 7
        drivers[5] = Driver(name: driver)
    }

    /// A prepared guest in an EVPN fabric, whose uplink is a tunnel that does not learn, and knows these MACs by itself.
    mutating func joinFabric(at side: Side, knowing macs: Set<MACAddress>) throws {
        (isPrepared, self.side, tunnelled) = (true, side, macs)
        uplink.kind = "vxlan"
        uplink.portFlags.remove(.learning)
        (primary.portFlags, standby.portFlags) = (
            primary.portFlags.subtracting(.learning), standby.portFlags.subtracting(.learning)
        )
        if side == .remote { standby.portFlags.insert(.learning) }
        try add("52:54:00:00:00:01", port: side == .remote ? 4 : 5, state: .noARP)
    }

    private func names() -> BySide<String> {
        var names = BySide<String>([.primary: "vf0", .standby: "tap0", .remote: uplinkIsStandby ? "tap0" : "up0"])
        if hasOnePort { (names[.local], names[.standby], names[.primary]) = (names[.standby], nil, nil) }
        if standbyIsPrimary { names[.standby] = "vf0" }
        for (side, name) in missing { names[side] = name }
        return names
    }

    /// The guest as it would have been prepared.
    func guest() throws -> GuestInterface {
        let indexes: [String: Int32] = ["up0": 4, "vf0": 5, "tap0": 6]
        let names = names()
        func identity(_ side: Side, learns: Bool) -> PortIdentity {
            let name = names[side] ?? ""
            return PortIdentity(name: name, index: indexes[name] ?? 99, isEswitchPort: false, learningToRestore: learns)
        }
        let pf = PortIdentity(name: "vf0", index: 5, isEswitchPort: false)
        var guest = GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
            primary: hasOnePort ? nil : identity(.primary, learns: true),
            standby: identity(hasOnePort ? .local : .standby, learns: true),
            uplink: movesFilters ? nil : identity(.remote, learns: false), addresses: addresses, side: side,
            isSticky: isSticky,
            nic: movesFilters
                ? LegacyNIC(
                    pf: pf, vf: 0, hadEntry: false, hadMAC: MACAddress(value: 0x0200_0000_0001),
                    order: .makeBeforeBreak) : nil)
        if isFromPVID { guest.fromPVID = addresses }
        guest.primary?.gate = isGated ? .lock : nil
        guest.standby.gate = isGated ? .lock : nil
        if neighbourhood != nil { guest.neighbours = [try Situation.neighbour()] }
        return guest
    }

    /// Whom the rules are asked about: the prepared guest, or the arguments of `preflight`.
    func subject() throws -> Subject {
        if isPrepared { return Subject(try guest()) }
        let names = names()
        var subject = Subject(
            PreflightRequest(
                bridge: "br0", primary: hasOnePort ? nil : names[.primary] ?? "",
                standby: names[hasOnePort ? .local : .standby] ?? "", uplink: names[.remote],
                addresses: addresses, side: saidSide))
        subject.movesFilters = movesFilters
        return subject
    }

    /// What a switch reads: the bridge, the ports and the entries.
    func seenByASwitch() throws -> Observation {
        let links = Links(try ([bridge, uplink, primary, standby] + others).map { try $0.link() })
        let names = names()
        var observation = Observation(
            bridge: links["br0"], ports: [:],
            entries: EntrySet(
                addresses.map { address in
                    entries.last { $0.address == address }
                }))
        for side in Side.allCases { observation.ports[side] = names[side].flatMap { links[$0] } }
        if isFromPVID { observation.vlans = BySide(vlans) }
        return observation
    }

    /// Everything.
    func observation() throws -> Observation {
        var observation = try seenByASwitch()
        observation.interfaces = Links(try ([bridge, uplink, primary, standby] + others).map { try $0.link() })
        observation.table = Table(bridge: 3, entries: entries)
        observation.sightings = sightings
        observation.vlans = BySide(vlans)
        observation.drivers = drivers
        observation.features = features
        observation.disciplines = disciplines
        observation.filtering = filtering
        observation.neighbours = Neighbours()
        observation.neighbours?.ports = otherGuests
        observation.neighbours?.owners = owners
        observation.isInitialNamespace = isInitialNamespace
        observation.neighbourhood = neighbourhood
        observation.tunnelled = tunnelled
        return observation
    }

    /// What the rules say of all of it.
    func verdict() throws -> Verdict { Preflight(try subject(), try observation()).judge() }
    /// What the rules find in all of it.
    func findings() throws -> [Finding] { try verdict().findings }
}

/// A link as the kernel would describe it.
struct LinkFixture: Request, Sendable {
    var index: Int32
    var name: String
    var kind: String? = nil
    var master: Int32? = nil
    var lower: Int32? = nil
    var portKind: String? = nil
    var isUp = true
    var hasCarrier = true
    var mtu: UInt32 = 1500
    var mac: UInt64? = nil
    var switchID: UInt64? = nil
    var hasVF = false
    var state = PortState.forwarding
    var portFlags: BridgePort.Flags = [.learning, .flood, .multicastFlood, .broadcastFlood]
    /// As on kernels from 5.18 on.
    var tellsLock = true
    var filtersVLANs = false
    var ageingTime: UInt32 = 30_000
    var defaultPVID: UInt16 = 0
    var spanningTree: UInt32 = 0
    var vlan: UInt16?

    var type: MessageType { .newLink }
    var flags: MessageFlags { [] }

    private static let attributes: [(BridgePort.Flags, Int)] = [
        (.learning, Int(IFLA_BRPORT_LEARNING)), (.flood, Int(IFLA_BRPORT_UNICAST_FLOOD)),
        (.multicastFlood, Int(IFLA_BRPORT_MCAST_FLOOD)), (.broadcastFlood, Int(IFLA_BRPORT_BCAST_FLOOD)),
        (.hairpin, Int(IFLA_BRPORT_MODE)), (.isolated, Int(IFLA_BRPORT_ISOLATED)),
        (.locked, Int(IFLA_BRPORT_LOCKED)), (.neighbourSuppression, Int(IFLA_BRPORT_NEIGH_SUPPRESS)),
        (.bpduGuard, Int(IFLA_BRPORT_GUARD)),
    ]

    func encode(into body: inout MessageBody) {
        var fixed = ifinfomsg()
        fixed.ifi_index = index
        fixed.ifi_flags = (isUp ? UInt32(IFF_UP) : 0) | (hasCarrier ? UInt32(IFF_LOWER_UP.rawValue) : 0)
        body.put(fixed)
        body.put(Int(IFLA_IFNAME), text: name)
        body.put(Int(IFLA_MTU), mtu)
        let octets = MACAddress(value: mac ?? 0xfe00_0000_0000 | UInt64(index)).octets
        withUnsafeBytes(of: octets) { body.put(Int(IFLA_ADDRESS), bytes: $0) }
        if let master { body.put(Int(IFLA_MASTER), master) }
        if let lower { body.put(Int(IFLA_LINK), lower) }
        if let switchID { body.put(Int(IFLA_PHYS_SWITCH_ID), switchID) }
        if hasVF {
            body.nest(Int(IFLA_VFINFO_LIST)) {
                $0.nest(Int(IFLA_VF_INFO)) { info in
                    withUnsafeBytes(of: ifla_vf_mac()) { info.put(Int(IFLA_VF_MAC), bytes: $0) }
                }
            }
        }
        body.nest(Int(IFLA_LINKINFO)) {
            if let kind { $0.put(Int(IFLA_INFO_KIND), text: kind) }
            if kind == "bridge" {
                $0.nest(Int(IFLA_INFO_DATA)) {
                    $0.put(Int(IFLA_BR_AGEING_TIME), ageingTime)
                    $0.put(Int(IFLA_BR_STP_STATE), spanningTree)
                    $0.put(Int(IFLA_BR_VLAN_FILTERING), UInt8(filtersVLANs ? 1 : 0))
                    $0.put(Int(IFLA_BR_VLAN_DEFAULT_PVID), defaultPVID)
                }
            }
            if let vlan { $0.nest(Int(IFLA_INFO_DATA)) { $0.put(Int(IFLA_VLAN_ID), vlan) } }
            guard let portKind else { return }
            $0.put(Int(IFLA_INFO_SLAVE_KIND), text: portKind)
            guard portKind == "bridge" else { return }
            $0.nest(Int(IFLA_INFO_SLAVE_DATA)) {
                $0.put(Int(IFLA_BRPORT_STATE), state.rawValue)
                for (flag, attribute) in LinkFixture.attributes where flag != .locked || tellsLock {
                    $0.put(attribute, UInt8(portFlags.contains(flag) ? 1 : 0))
                }
            }
        }
    }

    func link() throws -> Link {
        var writer = MessageWriter(capacity: 2048)
        let fits = writer.append(self, sequence: 1)
        #expect(fits)
        return try Link(decoding: UnsafeRawBufferPointer(rebasing: writer.bytes.dropFirst(MessageHeader.size)))
    }
}
