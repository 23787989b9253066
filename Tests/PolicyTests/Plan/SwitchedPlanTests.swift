import FDB
import Netlink
import Switchdev
import TestSupport
import Testing

@testable import Policy

/// The primitive and the proof for each pair of port kinds and each existing entry (docs/design.md).
@Suite struct SwitchedPlanTests {
    private static let address: Address? = try? Address("52:54:00:00:00:01")

    struct Case: Sendable {
        var name: String
        /// The switch ports among 5, the primary, 6, the standby, and 9, another guest's port.
        var switched: Set<Int32>
        /// The port of the existing entry, with its state and flags; nil for no entry.
        var before: (port: Int32, isStatic: Bool, flags: EntryFlags)?
        var target: Int32
        var primitive: EntryChange.Primitive?
        var barriers: Set<Int32> = []
        var mustBeOffloaded = false
        var flagIsOld = false
    }

    static let cases: [Case] = [
        Case(name: "software to software", switched: [], before: (5, true, []), target: 6, primitive: .replace),
        Case(
            name: "switch to software", switched: [5], before: (5, true, .offloaded), target: 6, primitive: .use,
            barriers: [5]),
        Case(
            name: "software to switch, fresh", switched: [5], before: (6, true, []), target: 5, primitive: .replace,
            mustBeOffloaded: true),
        Case(
            name: "software to switch, with a flag left over", switched: [5], before: (6, true, .offloaded), target: 5,
            primitive: .replace, barriers: [5], mustBeOffloaded: true, flagIsOld: true),
        Case(
            name: "switch to switch", switched: [5, 6], before: (5, true, .offloaded), target: 6, primitive: .use,
            barriers: [5, 6], mustBeOffloaded: true, flagIsOld: true),
        Case(
            name: "learned on the switch, pinned there", switched: [5],
            before: (5, false, [.externallyLearned, .offloaded]),
            target: 5, primitive: .deleteCreate, barriers: [5], mustBeOffloaded: true),
        Case(
            name: "learned on the switch, pinned elsewhere", switched: [5],
            before: (5, false, [.externallyLearned, .offloaded]), target: 6, primitive: .deleteCreate, barriers: [5]),
        Case(name: "nothing found", switched: [5], before: nil, target: 5, primitive: .replace, mustBeOffloaded: true),
        Case(name: "right already on software", switched: [5], before: (6, true, []), target: 6, primitive: nil),
        Case(
            name: "a control plane's on a software port", switched: [], before: (9, false, .externallyLearned),
            target: 6,
            primitive: .takeOver),
        Case(
            name: "an in-place move left a rule in hardware", switched: [5], before: (6, true, .offloaded), target: 6,
            primitive: .reseat, barriers: [5]),
        Case(
            name: "on a stranger's port of the same switch", switched: [5, 9], before: (9, true, .offloaded), target: 6,
            primitive: .use, barriers: [5]),
    ]

    @Test(arguments: cases.map(\.name)) func choice(name: String) throws {
        let it = try #require(SwitchedPlanTests.cases.first { $0.name == name })
        let address = try #require(SwitchedPlanTests.address)
        func port(_ index: Int32, _ name: String) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: it.switched.contains(index))
        }
        let guest = GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br", index: 3, isEswitchPort: false),
            primary: port(5, "vf"), standby: port(6, "tap"), uplink: nil, addresses: [address], side: .primary,
            isSticky: false)
        let links = Links(
            try [(Int32(5), "vf"), (6, "tap"), (9, "other")].map { index, name in
                try link(index, name, switched: it.switched.contains(index))
            })
        let before = it.before.map {
            Entry(
                address: address, port: $0.port, bridge: 3, state: $0.isStatic ? .noARP : .reachable, flags: $0.flags)
        }
        let target = it.target == 5 ? guest.firstPort : guest.standby
        let change = Plan.pin(address, before: before, on: target, of: guest, links: links, suspicious: true)
        #expect(change?.change.primitive == it.primitive)
        let proof = Plan.proof(of: change.map { [$0] } ?? [], guest: guest, links: links)
        #expect(Set(proof.barriers.map(\.port)) == it.barriers)
        #expect(proof.fresh + proof.flagged == (it.mustBeOffloaded ? [address] : []))
        #expect(proof.flagged.isEmpty == !it.flagIsOld)
        #expect(proof.obstacles.isEmpty)
    }

    @Test func aStrangersSwitchCannotBeProven() throws {
        let address = try #require(SwitchedPlanTests.address)
        let guest = GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br", index: 3, isEswitchPort: false),
            primary: PortIdentity(name: "vf", index: 5, isEswitchPort: false),
            standby: PortIdentity(name: "tap", index: 6, isEswitchPort: false), uplink: nil, addresses: [address],
            side: .primary, isSticky: false)
        let links = Links([
            try link(5, "vf", switched: false), try link(6, "tap", switched: false),
            try link(9, "other", switched: true),
        ])
        let before = Entry(address: address, port: 9, bridge: 3, state: .noARP, flags: .offloaded)
        let change = try #require(Plan.pin(address, before: before, on: guest.firstPort, of: guest, links: links))
        let proof = Plan.proof(of: [change], guest: guest, links: links)
        #expect(proof.obstacles.count == 1)
        #expect(proof.barriers.isEmpty)
    }

    // MARK: - VLANs

    private func resolve(
        _ texts: [String], primary: PortVLANs, standby: PortVLANs, filtering: Bool = true, switched: Bool = false
    ) throws -> [String] {
        var observation = Observation(
            bridge: try link(3, filtering ? "brv" : "br", switched: false),
            ports: [
                .primary: try link(5, "vf", switched: switched), .standby: try link(6, "tap", switched: false),
            ])
        observation.vlans = BySide([.primary: primary, .standby: standby])
        let request = try PreparationRequest(
            id: GuestID("vm"), bridge: "br", primary: "vf", standby: "tap", uplink: nil,
            addresses: texts.map { try Address($0) }, side: .primary)
        var subject = Subject(request)
        subject.resolveAddresses(observation)
        let resolved = try request.replacing(resolved: subject.addresses)
        try Preflight(subject, observation).judge(by: VLANRules.all).refuse(.prepare)
        return resolved.addresses.map(\.description)
    }

    private func vlans(_ members: [UInt16], pvid: UInt16? = nil) -> PortVLANs {
        PortVLANs(members: Set(members.compactMap(VLANID.init)), pvid: pvid.flatMap(VLANID.init))
    }

    @Test func anAddressWithoutVLANGetsThePVID() throws {
        let ports = vlans([1, 10], pvid: 10)
        #expect(
            try resolve(["52:54:00:00:00:01", "52:54:00:00:00:02/1"], primary: ports, standby: ports)
                == ["52:54:00:00:00:01/10", "52:54:00:00:00:02/1"])
    }

    @Test func whatIsAmbiguousIsRefused() throws {
        let wrong: [(PortVLANs, PortVLANs, [String], String)] = [
            (vlans([10], pvid: 10), vlans([20], pvid: 20), ["52:54:00:00:00:01"], "cannot choose one"),
            (vlans([10]), vlans([10]), ["52:54:00:00:00:01"], "in none on tap"),
            (vlans([10, 20]), vlans([10]), ["52:54:00:00:00:01/20"], "tap: VLAN 20 of the guest"),
            (
                vlans([10], pvid: 10), vlans([10], pvid: 10), ["52:54:00:00:00:01", "52:54:00:00:00:01/10"],
                "given twice"
            ),
        ]
        for (primary, standby, addresses, words) in wrong {
            let error = #expect(throws: ControllerError.self) {
                try resolve(addresses, primary: primary, standby: standby)
            }
            #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
        }
    }

    @Test func twinsOnABridgeWithoutVLANs() throws {
        let mac = ["52:54:00:00:00:01"]
        #expect(
            try resolve(
                mac, primary: vlans([1], pvid: 1), standby: vlans([1], pvid: 1), filtering: false, switched: true)
                == mac)
        // On software ports a second entry does no harm.
        #expect(
            try resolve(mac, primary: vlans([1], pvid: 1), standby: vlans([]), filtering: false, switched: false) == mac
        )
        let error = #expect(throws: ControllerError.self) {
            try resolve(mac, primary: vlans([1], pvid: 1), standby: vlans([]), filtering: false, switched: true)
        }
        #expect(error?.remedy?.contains("vlan_default_pvid 0") == true)
    }
}
