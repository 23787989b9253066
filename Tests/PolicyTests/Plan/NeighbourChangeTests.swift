import FDB
import Netlink
import Switchdev
import Testing

@testable import Policy

/// What is done about neighbours that follow a guest.
@Suite struct NeighbourChangeTests {
    private static let mac = MACAddress(value: 0x5254_0000_0001)

    /// What the kernel may have of 192.0.2.7 on the bridge.
    private static func found(
        _ state: EntryState, _ flags: EntryFlags = [], _ maker: GroupProtocol? = nil, mac: MACAddress? = mac
    ) throws -> IPNeighbour {
        IPNeighbour(
            ip: try Situation.neighbour().ip, interface: 3, mac: mac, state: state, flags: flags, protocol: maker)
    }

    private static let zebra = GroupProtocol(rawValue: 11)

    /// Of others: what the kernel has learned or asks for, an operator's, two kinds of a control plane's.
    private static func foreign() throws -> [IPNeighbour] {
        [
            try found(.reachable), try found(.permanent), try found(.permanent, [], zebra),
            try found(.noARP, .externallyLearned, zebra), try found(.noARP, .externallyLearned, .fdbsteer),
            try found([], mac: nil),
        ]
    }

    private static func seen(
        _ found: IPNeighbour?, at side: Side, isUp: Bool = true
    ) throws -> (GuestInterface, Observation) {
        var situation = Situation()
        situation.side = side
        situation.neighbourhood = Neighbourhood(
            links: [try LinkFixture(index: 3, name: "br0", kind: "bridge", isUp: isUp).link()],
            entries: [found].compactMap { $0 })
        return (try situation.guest(), try situation.observation())
    }

    private static func following(
        _ found: IPNeighbour?, at side: Side, isUp: Bool = true, contradicts: Bool = true
    ) throws -> [NeighbourChange] {
        let (guest, observation) = try seen(found, at: side, isUp: isUp)
        return NeighbourChange.following(guest, at: side, observation, contradicts: contradicts)
    }

    @Test func itIsFdbsteersWhileTheGuestIsHereAndOthersStayWhenItHasGone() throws {
        for found in try NeighbourChangeTests.foreign() {
            let here = try #require(try NeighbourChangeTests.following(found, at: .standby).first)
            #expect(here.after == (try Situation.neighbour().intended))
            #expect(here.requests.map(\.type) == [.newNeighbour])
            #expect(try NeighbourChangeTests.following(found, at: .remote).isEmpty)
            let waits = try NeighbourChangeTests.following(found, at: .standby, contradicts: false).isEmpty
            #expect(waits == found.isControlPlanes)
        }
    }

    @Test func itIsMadeOnceAndTakenBack() throws {
        let own = try Situation.neighbour().intended
        #expect(try NeighbourChangeTests.following(nil, at: .primary).map(\.after) == [own])
        #expect(try NeighbourChangeTests.following(own, at: .primary).isEmpty)
        let back = try NeighbourChangeTests.following(own, at: .remote)
        #expect(back.map(\.after) == [nil] && back[0].requests.map(\.type) == [.deleteNeighbour])
        #expect(back[0].undo.requests == [.set(own)])
        #expect(try NeighbourChangeTests.following(nil, at: .remote).isEmpty)
        #expect(try NeighbourChangeTests.following(nil, at: .primary, isUp: false).isEmpty)
        let otherMAC = IPNeighbour.own(own.ip, MACAddress(value: 0x5254_0000_0009), interface: 3)
        #expect(try NeighbourChangeTests.following(otherMAC, at: .primary).map(\.after) == [own])
    }

    @Test func aRollbackMakesWhatWasThereWithItsOwnProtocol() throws {
        for found in try NeighbourChangeTests.foreign() {
            let undo = try #require(try NeighbourChangeTests.following(found, at: .standby).first).undo
            #expect(undo.requests.first == .delete(found.ip, interface: 3))
            #expect(undo.requests.count == (found.mac == nil ? 1 : 2))
            guard let put = undo.after else { continue }
            #expect(undo.requests.last == .set(put))
            #expect(put.protocol == found.protocol && put.flags == found.flags && put.mac == found.mac)
            #expect(put.state == (found.state == .reachable ? .stale : found.state))
        }
    }

    @Test func aReleaseGivesBackWhatWasFound() throws {
        func given(_ now: IPNeighbour?, earlier: [IPNeighbour], at side: Side = .primary) throws -> (
            [NeighbourChange], [String]
        ) {
            let (guest, observation) = try NeighbourChangeTests.seen(now, at: side)
            var notes: [String] = []
            return (NeighbourChange.givingBack(guest, observation, found: earlier, notes: &notes), notes)
        }
        let own = try Situation.neighbour().intended
        let byHand = try NeighbourChangeTests.found(.permanent)
        let (fixed, notes) = try given(own, earlier: [byHand])
        #expect(fixed.map(\.after) == [byHand] && notes.count == 1)
        #expect(fixed[0].requests == [.delete(own.ip, interface: 3), .set(byHand)])
        #expect(try given(own, earlier: [try NeighbourChangeTests.found(.reachable)]).0.map(\.after?.state) == [.stale])
        #expect(try given(own, earlier: []).0.map(\.after) == [nil])
        let advertised = try NeighbourChangeTests.found(.noARP, .externallyLearned, NeighbourChangeTests.zebra)
        #expect(try given(own, earlier: [advertised]).0.map(\.after) == [nil])
        let (left, why) = try given(advertised, earlier: [byHand])
        #expect(left.isEmpty && why.count == 1)
        #expect(try given(nil, earlier: [byHand], at: .remote).0.isEmpty)
        #expect(try given(advertised, earlier: [], at: .remote).1.isEmpty)
    }

    // MARK: - Which interface

    private static func resolve(
        _ devices: [String], ips: [String] = ["192.0.2.7"], _ addresses: [String] = ["52:54:00:00:00:01/10"],
        filters: Bool = true, pvid: UInt16? = 10
    ) throws -> [String] {
        var bridge = LinkFixture(index: 3, name: "br0", kind: "bridge")
        bridge.filtersVLANs = filters
        let links = Links(
            try [
                bridge, LinkFixture(index: 4, name: "eth0"), LinkFixture(index: 5, name: "br1", kind: "bridge"),
                LinkFixture(index: 6, name: "br0.10", kind: "vlan", lower: 3, vlan: 10),
                LinkFixture(index: 7, name: "br0.20", kind: "vlan", lower: 3, vlan: 20),
                LinkFixture(index: 8, name: "gw10", kind: "macvlan", lower: 6),
                LinkFixture(index: 9, name: "br1.10", kind: "vlan", lower: 5, vlan: 10),
            ].map { try $0.link() })
        var request = try PreparationRequest(
            id: GuestID("vm"), bridge: "br0", primary: nil, standby: "tap0", uplink: nil,
            addresses: addresses.map { try Address($0) }, side: .local,
            ips: ips.map { try AnnouncementRequest.Owned($0) })
        request.neighbours = devices
        let link = try #require(links["br0"])
        return try GuestNeighbour.resolve(request, on: link, pvid: pvid.flatMap(VLANID.init), links: links).map {
            "\($0.ip) \($0.mac) \($0.interface.name)"
        }
    }

    @Test func anAddressIsOnTheInterfacesOfItsVLAN() throws {
        let one = "192.0.2.7 52:54:00:00:00:01"
        #expect(try NeighbourChangeTests.resolve(["br0"]) == ["\(one) br0"])
        #expect(try NeighbourChangeTests.resolve(["br0.10", "gw10"]) == ["\(one) br0.10", "\(one) gw10"])
        #expect(
            try NeighbourChangeTests.resolve(["br0.20"], ips: ["192.0.2.7"], ["52:54:00:00:00:01"], filters: false) == [
                "\(one) br0.20"
            ])
        let two = ["52:54:00:00:00:01/10", "52:54:00:00:00:02/20"]
        let ips = ["192.0.2.7=52:54:00:00:00:01", "2001:db8::7=52:54:00:00:00:02/20"]
        #expect(
            try NeighbourChangeTests.resolve(["br0", "br0.20"], ips: ips, two) == [
                "\(one) br0", "2001:db8::7 52:54:00:00:00:02 br0.20",
            ])
        for (devices, words) in [
            (["none0"], "no such interface"), (["eth0"], "not above bridge br0"), (["br1.10"], "not above bridge br0"),
            (["br0.20"], "in its VLAN, 20"),
        ] {
            let error = #expect(throws: ControllerError.self) { try NeighbourChangeTests.resolve(devices) }
            #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
        }
        let several = #expect(throws: ControllerError.self) {
            try NeighbourChangeTests.resolve(
                ["br0"], ips: ["192.0.2.7"], ["52:54:00:00:00:01/10", "52:54:00:00:00:02/10"])
        }
        #expect(several?.message.contains("which of them") == true)
        let lost = #expect(throws: ControllerError.self) { try NeighbourChangeTests.resolve(["br0"], ips: ips, two) }
        #expect(lost?.message.contains("2001:db8::7") == true)
        let untagged = #expect(throws: ControllerError.self) { try NeighbourChangeTests.resolve(["br0"], pvid: nil) }
        #expect(untagged?.message.contains("no VLAN without a tag") == true)
    }
}
