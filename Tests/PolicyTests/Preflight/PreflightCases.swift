import FDB
import Netlink
import Switchdev

@testable import Policy

extension PreflightTests {
    static let cases: [Case] = presence + traffic + addresses + vlans + switches + neighbours

    /// A prepared guest with a neighbour that follows it.
    private static func prepare(
        _ it: inout Situation, _ found: IPNeighbour?, isUp: Bool = true, exists: Bool = true
    ) throws {
        it.isPrepared = true
        it.primary.portFlags.remove(.learning)
        it.standby.portFlags.remove(.learning)
        let link = try LinkFixture(index: 3, name: "br0", kind: "bridge", isUp: isUp).link()
        it.neighbourhood = Neighbourhood(links: exists ? [link] : [], entries: [found].compactMap { $0 })
    }

    private static let neighbours: [Case] = [
        Case(NeighbourRules.neighbour, .loses, "br0", "a neighbour that is missing") { try prepare(&$0, nil) },
        Case(NeighbourRules.neighbour, .loses, "br0", "a neighbour that a control plane has") {
            let intended = try Situation.neighbour().intended
            try prepare(
                &$0,
                IPNeighbour(
                    ip: intended.ip, interface: 3, mac: intended.mac, state: .noARP, flags: .externallyLearned,
                    protocol: .fdbsteer))
        },
        Case(NeighbourRules.neighbour, .loses, "br0", "a neighbour of another MAC") {
            try prepare(
                &$0, .own(try Situation.neighbour().ip, MACAddress(value: 0x5254_0000_0002), interface: 3))
        },
        Case(NeighbourRules.neighbour, .loses, "br0", "a neighbour's interface that is down") {
            try prepare(&$0, nil, isUp: false)
        },
        Case(NeighbourRules.neighbour, .loses, "br0", "a neighbour's interface that is gone") {
            try prepare(&$0, nil, exists: false)
        },
        Case(NeighbourRules.neighbour, .loses, "br0", "a neighbour of a guest that has gone") {
            $0.side = .remote
            $0.entries = $0.addresses.map { Situation.entry($0, port: 4, state: .noARP) }
            try prepare(&$0, try Situation.neighbour().intended)
        },
    ]

    private static let presence: [Case] = [
        Case(PresenceRules.noBridge, .blocks, "br0", "a bridge that is none") { $0.bridge.kind = "veth" },
        Case(PresenceRules.bridgeDown, .blocks, "br0", "a bridge that is down") { $0.bridge.isUp = false },
        Case(PresenceRules.noInterface, .blocks, "nothing0", "no such interface") {
            $0.missing = [.standby: "nothing0"]
        },
        Case(PresenceRules.macvlan, .blocks, "tap0", "a macvtap on the NIC") {
            $0.standby.kind = "macvtap"
            $0.standby.master = nil
            $0.standby.lower = 4
        },
        Case(PresenceRules.otherMaster, .blocks, "tap0", "a port of Open vSwitch") {
            $0.standby.master = 9
            $0.standby.portKind = "openvswitch"
        },
        Case(PresenceRules.otherMaster, .blocks, "vf0", "a port of a bond") {
            $0.primary.master = 9
            $0.primary.portKind = "bond"
        },
        Case(PresenceRules.otherMaster, .blocks, "up0", "a port of a VRF") {
            $0.uplink.master = 9
            $0.uplink.portKind = "vrf"
        },
        Case(PresenceRules.notAPort, .blocks, "tap0", "no port of anything") { $0.standby.master = nil },
        Case(PresenceRules.samePort, .blocks, "vf0", "one port twice") { $0.standbyIsPrimary = true },
        Case(PresenceRules.swappedPorts, .blocks, "vf0", "a tap as primary, and a switch port as standby") {
            $0.primary.kind = "tun"
            $0.standby.switchID = 7
        },
        Case(PresenceRules.portDown, .blocks, "tap0", "a standby that is held down") { $0.standby.isUp = false },
        Case(PresenceRules.tapWithoutReader, .blocks, "tap0", "a tap that nobody reads") {
            $0.standby.kind = "tun"
            $0.standby.hasCarrier = false
        },
        Case(PresenceRules.noCarrier, .blocks, "vf0", "a primary without carrier") { $0.primary.hasCarrier = false },
        Case(PresenceRules.notForwarding, .blocks, "tap0", "a port that blocks") { $0.standby.state = .blocking },
    ]

    private static let traffic: [Case] = [
        Case(PortRules.mtuSmaller, .loses, "tap0", "a standby of a smaller MTU") { $0.standby.mtu = 1400 },
        Case(PortRules.mtuSmaller, .loses, "vf0", "a primary of a smaller MTU") { $0.primary.mtu = 1400 },
        Case(PortRules.uplinkMTUSmaller, .note, "up0", "an uplink of a smaller MTU") { $0.uplink.mtu = 1400 },
        Case(PortRules.unicastFlood, .loses, "tap0", "unicast flooding off") { $0.standby.portFlags.remove(.flood) },
        Case(PortRules.unicastFlood, .leaks, "tap0", "unicast flooding on") { $0.primary.portFlags.remove(.flood) },
        Case(PortRules.multicastFlood, .loses, "tap0", "multicast flooding off") {
            $0.standby.portFlags.remove(.multicastFlood)
        },
        Case(PortRules.multicastFlood, .leaks, "tap0", "multicast flooding on") {
            $0.primary.portFlags.remove(.multicastFlood)
        },
        Case(PortRules.broadcastFlood, .loses, "tap0", "broadcasts off") {
            $0.standby.portFlags.remove(.broadcastFlood)
        },
        Case(PortRules.broadcastFlood, .leaks, "tap0", "broadcasts on") {
            $0.primary.portFlags.remove(.broadcastFlood)
        },
        Case(PortRules.isolated, .loses, "tap0", "an isolated standby") { $0.standby.portFlags.insert(.isolated) },
        Case(PortRules.isolated, .leaks, "tap0", "an isolated primary") { $0.primary.portFlags.insert(.isolated) },
        Case(PortRules.locked, .loses, "tap0", "a locked standby") { $0.standby.portFlags.insert(.locked) },
        Case(PortRules.locked, .loses, "vf0", "both locked") {
            $0.primary.portFlags.insert(.locked)
            $0.standby.portFlags.insert(.locked)
        },
        Case(PortRules.sourceCheckMissing, .leaks, "tap0", "a locked primary", besides: [PortRules.locked]) {
            $0.primary.portFlags.insert(.locked)
        },
        Case(PortRules.neighbourSuppression, .loses, "tap0", "a standby without gratuitous ARP") {
            $0.standby.portFlags.insert(.neighbourSuppression)
        },
        Case(PortRules.neighbourSuppression, .note, "vf0", "a primary without gratuitous ARP") {
            $0.primary.portFlags.insert(.neighbourSuppression)
        },
        Case(PortRules.hairpin, .leaks, "tap0", "a standby with hairpin") { $0.standby.portFlags.insert(.hairpin) },
        Case(PortRules.hairpin, .loses, "tap0", "a primary with hairpin") { $0.primary.portFlags.insert(.hairpin) },
        Case(PortRules.bpduGuard, .note, "tap0", "a guard without spanning tree") {
            $0.standby.portFlags.insert(.bpduGuard)
        },
        Case(PortRules.bpduGuard, .loses, "tap0", "a guard with spanning tree") {
            $0.standby.portFlags.insert(.bpduGuard)
            $0.bridge.spanningTree = 1
        },
        Case(PortRules.learningOn, .loses, "vf0", "learning is on again") { $0.isPrepared = true },
        Case(
            PortRules.gateOpen, .leaks, "tap0", "a gate that others opened", besides: [PortRules.learningOn]
        ) {
            ($0.isPrepared, $0.isGated, $0.side) = (true, true, .remote)
        },
        Case(CostRules.sharedPort, .costs, "tap0", "another MAC behind the standby") {
            try $0.add("52:54:00:00:00:77", port: 6)
        },
        Case(CostRules.sharedPort, .costs, "vf0", "another guest's port") { $0.otherGuests = [5: "vm9"] },
        Case(CostRules.sharedPort, .blocks, "tap0", "another MAC beside a switch") {
            $0.makeSwitch(driver: "mlx5_core")
            try $0.add("52:54:00:00:00:77", port: 6)
        },
        Case(OwnerRules.otherOwner, .note, "vf0", "a static entry") {
            try $0.add("52:54:00:00:00:01", port: 5, state: .noARP)
        },
        Case(FabricRules.notAdvertised, .loses, "52:54:00:00:00:01", "a guest elsewhere that nobody advertises") {
            try $0.joinFabric(at: .remote, knowing: [])
        },
        Case(FabricRules.selfEntryLeft, .note, "52:54:00:00:00:01", "a VTEP that is left") {
            try $0.joinFabric(at: .primary, knowing: [MACAddress(value: 0x5254_0000_0001)])
        },
        Case(CostRules.noGuard, .costs, "br0", "no nftables for bridges") { $0.filtering.guarding = "EOPNOTSUPP" },
        Case(CostRules.noAsking, .costs, "br0", "no nftables for netdevs") { $0.filtering.asking = "EOPNOTSUPP" },
        Case(CostRules.offloadFeatures, .costs, "tap0", "a standby without TSO") { $0.features[6] = [.checksum] },
        Case(CostRules.offloadFeatures, .costs, "tap0", "a primary without TSO") { $0.features[5] = [.checksum] },
        Case(CostRules.ingressQdisc, .costs, "tap0", "an ingress qdisc") {
            $0.disciplines = [QueueingDiscipline(interface: 6, kind: "ingress", parent: 0xffff_fff1)]
        },
        Case(CostRules.clsactQdisc, .note, "vf0", "a clsact of somebody") {
            $0.disciplines = [
                QueueingDiscipline(interface: 5, kind: "clsact", parent: 0xffff_fff1),
                QueueingDiscipline(interface: 6, kind: "fq_codel", parent: 0xffff_ffff),
            ]
        },
    ]

    private static let mac = "52:54:00:00:00:01"

    private static let addresses: [Case] = [
        Case(AddressRules.ownMAC, .blocks, mac, "a MAC that is a port's own") { $0.standby.mac = 0x5254_0000_0001 },
        Case(AddressRules.localEntry, .blocks, mac, "a local entry") { try $0.add(mac, port: 6, state: .permanent) },
        Case(AddressRules.stickyEntry, .blocks, mac, "a sticky entry") {
            try $0.add(mac, port: 6, state: .noARP, flags: .sticky)
        },
        Case(AddressRules.otherGuest, .blocks, mac, "an address of another guest") {
            $0.owners = [try Address(mac): "vm9"]
        },
        Case(AddressRules.sentinelMAC, .blocks, "02:fd:b5:00:00:01", "a sentinel's MAC") {
            $0.addresses = [try Address("02:fd:b5:00:00:01")]
        },
        Case(AddressRules.otherVLAN, .loses, mac + "/20", "a VLAN that was not named") {
            try $0.filterVLANs()
            try $0.see(mac + "/20", port: 5, bridge: 3)
        },
        Case(AddressRules.otherBridge, .note, mac, "the MAC on another bridge") {
            try $0.see(mac, port: 11, bridge: 9)
        },
        Case(AddressRules.unknownSide, .note, mac, "no entry at all") { $0.entries = [] },
    ]

    private static let vlans: [Case] = [
        Case(VLANRules.vlanNotFiltered, .blocks, mac + "/10", "a VLAN on a bridge that filters none") {
            $0.addresses = [try Address(mac + "/10")]
        },
        Case(VLANRules.vlanMissing, .blocks, "tap0", "the address's VLAN is not on the standby") {
            try $0.filterVLANs()
            $0.vlans[.standby] = Situation.vlans([20], untagged: [])
            $0.vlans[.primary] = Situation.vlans([10, 20], untagged: [])
            $0.vlans[.remote] = Situation.vlans([10, 20], untagged: [])
        },
        Case(VLANRules.vlanMembership, .loses, "tap0", "a VLAN that the standby lacks") {
            try $0.filterVLANs()
            $0.vlans[.primary] = Situation.vlans([10, 20, 30], pvid: 10)
        },
        Case(VLANRules.vlanMembership, .leaks, "tap0", "a VLAN that the standby has more") {
            try $0.filterVLANs()
            $0.vlans[.standby] = Situation.vlans([10, 20, 30], pvid: 10)
        },
        Case(VLANRules.vlanTagging, .loses, "tap0", "tagged on one port only") {
            try $0.filterVLANs()
            $0.vlans[.standby] = Situation.vlans([10, 20], pvid: 10, untagged: [])
        },
        Case(VLANRules.pvidDiffers, .loses, "tap0", "other VLANs for untagged frames") {
            try $0.filterVLANs()
            $0.vlans[.standby] = Situation.vlans([10, 20], pvid: 20)
        },
        Case(VLANRules.pvidDiffers, .blocks, "tap0", "an address that could be in two VLANs") {
            try $0.filterVLANs()
            $0.addresses = [try Address(mac)]
            $0.vlans[.standby] = Situation.vlans([10, 20], pvid: 20)
        },
        Case(VLANRules.pvidChanged, .loses, "vf0", "the PVID is another than when the guest was prepared") {
            try $0.filterVLANs()
            $0.isPrepared = true
            $0.isFromPVID = true
            $0.primary.portFlags.remove(.learning)
            $0.standby.portFlags.remove(.learning)
            for side in Side.allCases { $0.vlans[side] = Situation.vlans([10, 20], pvid: 20) }
        },
        Case(VLANRules.vlanTwins, .blocks, "br0", "doubled entries that differ") {
            $0.makeSwitch(driver: "ice")
            $0.vlans = [.primary: Situation.vlans([1], pvid: 1), .standby: Situation.vlans([])]
        },
        Case(VLANRules.defaultPVID, .costs, "br0", "doubled entries") {
            $0.makeSwitch(driver: "ice")
            $0.bridge.defaultPVID = 1
        },
    ]

    private static let switches: [Case] = [
        Case(SwitchRules.ageingZero, .blocks, "br0", "ageing time 0 beside a switch") {
            $0.makeSwitch(driver: "ice")
            $0.bridge.ageingTime = 0
        },
        Case(SwitchRules.floodOnMiss, .leaks, "tap0", "a software standby beside rocker") {
            $0.makeSwitch(driver: "rocker")
        },
        Case(SwitchRules.floodOnMiss, .leaks, "tap0", "a software standby beside mlxsw") {
            $0.makeSwitch(driver: "mlxsw_spectrum")
        },
        Case(SwitchRules.slowPath, .costs, "tap0", "a software standby beside mlx5") {
            $0.makeSwitch(driver: "mlx5e_rep")
        },
        Case(SwitchRules.unknownMiss, .note, "tap0", "a software standby beside an unknown driver") {
            $0.makeSwitch(driver: "whatever")
        },
        Case(SwitchRules.namespaceNotInitial, .costs, "vf0", "mlx5 in a namespace") {
            $0.makeSwitch(driver: "mlx5e_rep")
            $0.isInitialNamespace = false
        },
        Case(SwitchRules.flagsRefused, .note, "vf0", "a flag that mlx5 refuses", besides: [PortRules.hairpin]) {
            $0.makeSwitch(driver: "mlx5e_rep")
            $0.standby.portFlags.insert(.hairpin)
        },
        Case(SwitchRules.flagsWithoutEffect, .note, "vf0", "flags that ice ignores") {
            $0.makeSwitch(driver: "ice")
            $0.primary.portFlags.insert(.isolated)
            $0.standby.portFlags.insert(.isolated)
        },
        Case(SwitchRules.severalBridges, .costs, "vf0", "one eswitch of ice in two bridges") {
            $0.makeSwitch(driver: "ice")
            $0.others = [LinkFixture(index: 12, name: "vf9", master: 9, portKind: "bridge", switchID: 7)]
        },
        Case(SwitchRules.noOffloadReport, .costs, "vf0", "sparx5 reports nothing") {
            $0.makeSwitch(driver: "sparx5-switch")
            $0.standby.switchID = 7
            $0.drivers[6] = Driver(name: "sparx5-switch")
        },
        Case(SwitchRules.floodRuleShared, .note, "vf0", "rocker's shared rule") {
            $0.makeSwitch(driver: "rocker")
            $0.standby.switchID = 7
            $0.drivers[6] = Driver(name: "rocker")
        },
        Case(SwitchRules.legacyEswitch, .loses, "vf0", "a physical function in legacy mode") {
            $0.primary.hasVF = true
        },
    ]
}
