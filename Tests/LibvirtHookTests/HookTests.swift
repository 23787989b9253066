import Policy
import FDB
import LibvirtHook
import Testing

@Suite struct DomainTests {
    @Test func readsPairs() throws {
        let domain = try DomainXML(Domains.running)
        #expect(domain.name == "vm1" && domain.uuid == "4dea22b3-1d52-d8f3-2516-782e98ab3fa0")
        #expect(domain.devices.count == 3)
        let pair = try #require(domain.pairs.first)
        #expect(domain.pairs.count == 1)
        #expect(pair.standby.tap == "vnet5" && pair.standby.bridge == "br0" && pair.standby.alias == "ua-backup0")
        // The host's PCI address, not the guest's.
        #expect(pair.primary.pci == "0000:3b:02.5")
    }

    @Test func readsNetworksVLANsAndPlainDevices() throws {
        let domain = try DomainXML(Domains.network)
        #expect(domain.name == "weiß & blau")
        let pair = try #require(domain.pairs.first)
        #expect(pair.standby.bridge == "br0" && pair.standby.vlans == ["42", "47"])
        #expect(pair.primary.type == "pci" && pair.primary.pci == "0001:af:1f.7")
    }

    @Test(arguments: [
        "", "<", "<domain>", "no XML", "<network/>", "<domain></domian>", "<domain/><domain/>",
        "<!DOCTYPE domain [<!ENTITY a \"b\">]><domain>&a;</domain>",
        "<domain>" + String(repeating: "<a>", count: 100) + String(repeating: "</a>", count: 100) + "</domain>",
    ])
    func refuses(text: String) {
        #expect(throws: DomainXML.Failure.self) { try DomainXML(Array(text.utf8)) }
    }

    @Test func everyPrefixOfADomainIsRefused() {
        for count in stride(from: 0, to: Domains.running.count - 1, by: 7) {
            #expect(throws: DomainXML.Failure.self) { try DomainXML(Array(Domains.running[..<count])) }
        }
        #expect(throws: DomainXML.Failure.self) {
            try DomainXML([UInt8](repeating: 0x20, count: DomainXML.limit + 1))
        }
    }
}

@Suite struct HookPlanTests {
    private func plan(
        _ arguments: String, _ bytes: [UInt8] = Domains.running, _ text: String = "uplink br0 bond0",
        isArriving: Bool = false
    ) throws -> HookPlan {
        let call = try #require(HookCall(arguments.split(separator: " ").map(String.init)))
        return HookPlan(
            call, domain: try? DomainXML(bytes), configuration: HookConfiguration(text), isArriving: isArriving)
    }

    private func request(_ side: Side) throws -> PreparationRequest {
        try PreparationRequest(
            id: GuestID("vm1:ua-backup0"), bridge: "br0", primary: "pci/0000:3b:02.5", standby: "vnet5",
            uplink: "bond0",
            addresses: [Address("52:54:00:11:22:33")], side: side)
    }

    @Test func aStartPinsOnTheStandby() throws {
        #expect(try plan("vm1 started begin -").steps == [.prepare(request(.standby)), .forgetArrival])
    }

    @Test func anArrivalPinsBehindTheUplink() throws {
        #expect(try plan("vm1 migrate begin -").steps == [.expectArrival])
        #expect(
            try plan("vm1 started begin -", isArriving: true).steps == [.prepare(request(.remote)), .forgetArrival])
        let without = try plan("vm1 started begin -", Domains.running, "", isArriving: true)
        #expect(without.steps == [.forgetArrival] && without.notes.first?.contains("uplink br0 PORT") == true)
    }

    @Test func theEnd() throws {
        let id = try GuestID("vm1:ua-backup0")
        #expect(try plan("vm1 release end destroyed").steps == [.release(id), .forgetArrival])
        #expect(try plan("vm1 release end -").steps == [.release(id), .forgetArrival])
        #expect(try plan("vm1 release end migrated").steps == [.leave(id), .release(id), .forgetArrival])
    }

    @Test func othersDoNothing() throws {
        #expect(try plan("vm1 reconnect begin -", []).steps == [.reconcile])
        #expect(try plan("vm1 restore begin -").steps == [.forgetArrival])
        for operation in ["prepare begin -", "start begin -", "stopped end -", "attach begin -", "new begin -"] {
            #expect(try plan("vm1 \(operation)").steps.isEmpty)
        }
        #expect(try plan("vm1 started begin -", Domains.running, "ignore vm1").steps.isEmpty)
        #expect(try plan("vm1 started begin -", Array("broken".utf8)).steps == [.forgetArrival])
        #expect(HookCall(["vm1"]) == nil)
    }

    @Test func namesAndVLANs() throws {
        let plan = try plan("vm_odd%name started begin -", Domains.network)
        guard case .prepare(let request) = plan.steps.first else {
            Issue.record("\(plan.steps) \(plan.notes)")
            return
        }
        #expect(request.id.text == "4dea22b3-1d52-d8f3-2516-782e98ab3fa1:ua-one")
        #expect(request.addresses.map(\.description) == ["52:54:00:11:22:55/42", "52:54:00:11:22:55/47"])
        #expect(request.primary == "pci/0001:af:1f.7")
    }

    @Test func whatCannotBeDoneIsSaid() throws {
        let plan = try plan("vm2 started begin -", Domains.awkward)
        #expect(plan.steps == [.forgetArrival])
        #expect(plan.notes.count == 2)
        #expect(plan.notes[0].contains("interface type 'direct'") && plan.notes[1].contains("which VF"))
    }

    @Test func theConfigurationsLines() {
        let configuration = HookConfiguration(
            "# comment\nuplink br0 bond0 # more\n\nport 0000:3b:02.5 vf5\nstate /x\nignore a\nuplink br1\nbad")
        #expect(
            configuration.uplinks == ["br0": "bond0"] && configuration.state == "/x" && configuration.ignored == ["a"])
        #expect(configuration.ports == ["0000:3b:02.5": "vf5"] && configuration.complaints.count == 2)
    }
}
