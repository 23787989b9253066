import FDB
import JSON
import QMP
import Switchdev
import Testing

@testable import Policy

@Suite struct FilterDecisionTests {
    private func filter(
        main: String = "52:54:00:00:00:01", unicast: [String] = [], promiscuous: Bool = false, overflow: Bool = false,
        vlan: String = "normal", vlans: [Int] = []
    ) throws -> RxFilter {
        let list = unicast.map { "\"\($0)\"" }.joined(separator: ",")
        let table = vlans.map(String.init).joined(separator: ",")
        let text = """
            {"name": "net1", "main-mac": "\(main)", "unicast-table": [\(list)], "promiscuous": \(promiscuous),
            "unicast-overflow": \(overflow), "vlan": "\(vlan)", "vlan-table": [\(table)]}
            """
        let content = try #require(JSON(text: text))
        return try #require(RxFilter(content))
    }

    private func guest(_ name: String = "vm1", _ addresses: String...) throws -> GuestInterface {
        GuestInterface(
            id: try GuestID(name), bridge: PortIdentity(name: "br0", index: 1, isEswitchPort: false),
            primary: PortIdentity(name: "vf", index: 2, isEswitchPort: false),
            standby: PortIdentity(name: "tap", index: 3, isEswitchPort: false), uplink: nil,
            addresses: try addresses.map { try Address($0) }, side: .standby, isSticky: false)
    }

    private func decide(
        _ filter: RxFilter, _ guest: GuestInterface, adopted: [String] = [], others: [GuestInterface] = [],
        reserved: [String] = [], vlans: PortVLANs? = nil, limit: Int = 8
    ) throws -> (joining: [String], leaving: [String], refused: [String]) {
        let decision = FilterDecision(
            filter, guest: guest, adopted: Set(try adopted.map { try Address($0) }), others: others,
            reserved: Set(reserved.compactMap { MACAddress($0) }), vlans: vlans, limit: limit)
        return (decision.joining.map(\.description), decision.leaving.map(\.description), decision.refused)
    }

    @Test func whatIsAskedForJoinsAndWhatIsNotLeaves() throws {
        let guest = try guest("vm1", "52:54:00:00:00:01", "52:54:00:00:00:02")
        let decision = try decide(
            filter(unicast: ["52:54:00:00:00:03", "52:54:00:00:00:03"]), guest, adopted: ["52:54:00:00:00:02"])
        #expect(decision == (["52:54:00:00:00:03"], ["52:54:00:00:00:02"], []))
        // A declared address stays, whatever the guest asks for.
        #expect(try decide(filter(main: "52:54:00:00:00:09"), guest) == (["52:54:00:00:00:09"], [], []))
    }

    @Test(arguments: [(true, false), (false, true)])
    func anIncompleteListTakesNothingAway(promiscuous: Bool, overflow: Bool) throws {
        let guest = try guest("vm1", "52:54:00:00:00:01", "52:54:00:00:00:02")
        let decision = try decide(
            filter(promiscuous: promiscuous, overflow: overflow), guest, adopted: ["52:54:00:00:00:02"])
        #expect(decision.leaving.isEmpty)
    }

    @Test func nobodyGetsWhatIsAnothers() throws {
        let other = try guest("vm2", "52:54:00:00:00:aa/7")
        let decision = try decide(
            filter(unicast: [
                "52:54:00:00:00:aa", "52:54:00:00:00:bb", "02:fd:b5:00:00:01", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff",
                "00:00:00:00:00:00", "no MAC", "52:54:00:00:00:cc",
            ]), guest("vm1", "52:54:00:00:00:01"), others: [other], reserved: ["52:54:00:00:00:bb"])
        #expect(decision.joining == ["52:54:00:00:00:cc"])
        #expect(decision.refused.count == 7 && decision.refused.contains("52:54:00:00:00:aa belongs to guest vm2"))
    }

    @Test func theLimitHolds() throws {
        let guest = try guest("vm1", "52:54:00:00:00:01", "52:54:00:00:00:10", "52:54:00:00:00:11")
        let asked = ["52:54:00:00:00:10", "52:54:00:00:00:13", "52:54:00:00:00:12"]
        let adopted = ["52:54:00:00:00:10", "52:54:00:00:00:11"]
        #expect(
            try decide(filter(unicast: asked), guest, adopted: adopted, limit: 2)
                == (
                    ["52:54:00:00:00:12"], ["52:54:00:00:00:11"], ["52:54:00:00:00:13 is beyond the limit of 2"]
                ))
        #expect(try decide(filter(unicast: asked), guest, adopted: adopted, limit: 0).joining.isEmpty)
    }

    @Test func vlansAreThoseOfThePort() throws {
        let port = PortVLANs(
            members: Set([1, 7, 9].compactMap { VLANID(rawValue: $0) }), pvid: VLANID(rawValue: 1), untagged: [])
        let guest = try guest("vm1", "52:54:00:00:00:01/7")
        #expect(
            try decide(filter(vlans: [0, 9, 5, 4095, -1, 70000]), guest, vlans: port).joining
                == ["52:54:00:00:00:01/1", "52:54:00:00:00:01/9"])
        #expect(try decide(filter(vlan: "all", vlans: [9]), guest, vlans: port).joining.isEmpty)
        #expect(
            try decide(filter(unicast: ["52:54:00:00:00:02"], vlan: "all"), guest, vlans: port).joining
                == ["52:54:00:00:00:02/7"])
    }
}
