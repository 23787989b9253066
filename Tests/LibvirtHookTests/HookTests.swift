import Policy
import FDB
import LibvirtHook
import TestSupport
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
        isArriving: Bool = false, known: [String] = []
    ) throws -> HookPlan {
        let call = try #require(HookCall(arguments.split(separator: " ").map(String.init)))
        return HookPlan(
            call, domain: try? DomainXML(bytes), known: try known.map { try GuestID($0) },
            configuration: HookConfiguration(Array(text.utf8)), isArriving: isArriving)
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
        #expect(without.steps == [.forgetArrival] && without.errors.first?.contains("uplink br0 PORT") == true)
    }

    @Test func interfacesWithoutATeamAreGuestsWithOnePortByConfiguration() throws {
        let text = "uplink br0 bond0\nuplink br1 bond1\ninterfaces bridged"
        func request(_ side: Side) throws -> PreparationRequest {
            try PreparationRequest(
                id: GuestID("vm1:net2"), bridge: "br1", primary: nil, standby: "vnet6", uplink: "bond1",
                addresses: [Address("52:54:00:11:22:44")], side: side)
        }
        #expect(
            try plan("vm1 started begin -", Domains.running, text).steps == [
                .prepare(self.request(.standby)), .prepare(request(.local)), .forgetArrival,
            ])
        #expect(
            try plan("vm1 started begin -", Domains.running, text, isArriving: true).steps == [
                .prepare(self.request(.remote)), .prepare(request(.remote)), .forgetArrival,
            ])
        let without = try plan(
            "vm1 started begin -", Domains.running, "uplink br0 bond0\ninterfaces bridged", isArriving: true)
        #expect(without.steps.count == 2 && without.errors.first?.contains("uplink br1 PORT") == true)
        let id = try GuestID("vm1:net2")
        #expect(
            try plan("vm1 release end migrated", Domains.running, text, known: ["vm1:net2"]).steps == [
                .leave(id), .release(id), .forgetArrival,
            ])
        for wrong in ["interfaces all", "interfaces bridged\ninterfaces pairs"] {
            #expect(HookConfiguration(Array(wrong.utf8)).complaints.count == 1)
        }
    }

    @Test func neighboursFollowGuestsWhoseAddressesTheFileNames() throws {
        let text = "uplink br0 bond0\ninterfaces bridged\nneighbour br0 br0,br0.10\n"
        func requests(_ text: String) throws -> [PreparationRequest] {
            try plan("vm1 started begin -", Domains.running, text).steps.compactMap {
                if case .prepare(let request) = $0 { request } else { nil }
            }
        }
        let without = try requests(text)
        #expect(!without.isEmpty && without.allSatisfy { $0.neighbours.isEmpty && $0.ips.isEmpty })
        let mac = try #require(without.first?.addresses.first?.mac)
        let with = try requests(text + "ip \(mac.description.uppercased()) 192.0.2.7,2001:db8::7\n")
        #expect(with.first?.neighbours == ["br0", "br0.10"])
        #expect(with.first?.ips.map(\.description) == ["192.0.2.7", "2001:db8::7"])
        #expect(with.dropFirst().allSatisfy { $0.neighbours.isEmpty })
        for wrong in ["ip 52:54:00 192.0.2.7", "ip \(mac) 192.0.2", "ip \(mac) 192.0.2.7,", "neighbour br0"] {
            #expect(HookConfiguration(Array(wrong.utf8)).complaints.count == 1, "\(wrong)")
        }
    }

    @Test func theEnd() throws {
        let id = try GuestID("vm1:ua-backup0")
        let known = ["vm1", "vm1:ua-backup0", "vm10:ua-backup0", "vm1:x:ua-backup0", "x:vm1"]
        #expect(try plan("vm1 release end destroyed", known: known).steps == [.release(id), .forgetArrival])
        #expect(try plan("vm1 release end -", [], known: known).steps == [.release(id), .forgetArrival])
        #expect(
            try plan("vm1 release end migrated", known: known).steps == [.leave(id), .release(id), .forgetArrival])
        #expect(try plan("vm1 release end -").steps == [.forgetArrival])
    }

    @Test func cleanUpGoesByTheJournalAndNotByADescriptionThatHasChanged() throws {
        // The VF was unplugged before the domain stopped.
        let without = Array("<domain><name>vm1</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa1</uuid></domain>".utf8)
        let (first, second) = (try GuestID("vm1:a"), try GuestID("4dea22b3-1d52-d8f3-2516-782e98ab3fa1:b"))
        #expect(
            try plan("vm1 release end -", without, known: [first.text, second.text]).steps == [
                .release(first), .release(second), .forgetArrival,
            ])
        // What an earlier run left goes first.
        #expect(
            try plan("vm1 started begin -", known: ["vm1:gone", "vm1:ua-backup0"]).steps == [
                .release(GuestID("vm1:gone")), .prepare(request(.standby)), .forgetArrival,
            ])
    }

    @Test func aDomainWithThousandsOfDevicesIsReadInLinearTime() throws {
        func text(_ count: Int) -> [UInt8] {
            var text = "<domain><name>vm1</name><devices>"
            for number in 0..<count {
                text += "<interface type='bridge'><teaming type='persistent'/><alias name='ua-\(number)'/></interface>"
                text += "<interface type='hostdev'><teaming type='transient' persistent='ua-\(number)'/></interface>"
            }
            return Array((text + "</devices></domain>").utf8)
        }
        func time(_ count: Int) throws -> Double {
            let bytes = text(count)
            let begin = processorTime()
            let pairs = try DomainXML(bytes).pairs
            let errors = try plan("vm1 started begin -", bytes).errors
            let took = processorTime() - begin
            #expect(pairs.count == count && errors.contains { $0.contains("too many") })
            return took
        }
        _ = try time(300)
        let (short, long) = (try time(2000), try time(20_000))
        // Ten times as many; a quadratic reading takes a hundred times as long.
        #expect(long < short * 40, "\(short), \(long)")
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
        #expect(plan.errors.count == 2)
        #expect(plan.errors[0].contains("interface type 'direct'") && plan.errors[1].contains("which VF"))
    }

    @Test func theConfigurationsLines() {
        let text =
            "# comment\nuplink br0 bond0 # more\n\nport 3B:02.5 vf5\nport 10000:e1:00.0 vf6\nstate \"/a b#\"\nignore a\n"
            + "ignore Q4OS FreeXP  Debian 12 # why\nignore \" \\\"x\\\" \"\n"
        var wanted = HookConfiguration()
        wanted.uplinks = ["br0": "bond0"]
        wanted.ports = ["0000:3b:02.5": "vf5", "10000:e1:00.0": "vf6"]
        wanted.state = "/a b#"
        wanted.ignored = ["a", "Q4OS FreeXP  Debian 12", " \"x\" "]
        #expect(HookConfiguration(Array(text.utf8)) == wanted)
        // As editors on Windows write it.
        #expect(HookConfiguration([0xef, 0xbb, 0xbf] + text.replacing("\n", with: "\r\n").utf8) == wanted)
    }

    @Test(arguments: [
        "uplink br1", "bad", "state", "state \"\"", "port 3b:02 x", "port 0000:3b:02.9 x", "port g:02.5 x",
        "ignore \"a",
        "ignore", "ignore \"a\" b", "uplink br0 a\nuplink br0 b", "state /a\nstate /b", "\u{1}",
    ])
    func whatIsNotUnderstoodIsAnErrorAndNothingIsPrepared(text: String) throws {
        let configuration = HookConfiguration(Array("# one\r\n\(text)\r\n".utf8))
        #expect(configuration.complaints.count == 1, "\(configuration)")
        let line = text.contains("\n") ? 3 : 2
        #expect(configuration.complaints.first?.hasPrefix("line \(line) ") == true, "\(configuration.complaints)")
        let started = try plan("vm1 started begin -", Domains.running, text, known: ["vm1:old"])
        #expect(started.steps == [.release(try GuestID("vm1:old")), .forgetArrival])
        #expect(started.errors.contains { $0.contains("configuration is not understood") })
        // What was prepared is given back all the same.
        #expect(
            try plan("vm1 release end -", Domains.running, text, known: ["vm1:old"]).steps == [
                .release(GuestID("vm1:old")), .forgetArrival,
            ])
    }
}
