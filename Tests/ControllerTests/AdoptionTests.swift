import Controller
import FDB
import JSON
import Lab
import Policy
import QMP
import Records
import Testing

@Suite struct AdoptionTests {
    private func filter(unicast: [String] = []) throws -> RxFilter {
        let list = unicast.map { "\"\($0)\"" }.joined(separator: ",")
        let text = """
            {"name": "net1", "main-mac": "52:54:00:00:00:01", "unicast-table": [\(list)], "promiscuous": false,
            "unicast-overflow": false, "vlan": "normal", "vlan-table": []}
            """
        let content = try #require(JSON(text: text))
        return try #require(RxFilter(content))
    }

    @Test(.enabled(if: Namespace.obstacle == nil, "needs root: network namespaces cannot be made"))
    func adoptedAddressesArePinnedAndGoAgain() throws {
        let two = try filter(unicast: ["52:54:00:00:00:02", "52:54:00:00:00:03", "52:54:00:00:00:04"])
        let one = try filter()
        try Namespace.run {
            let lab = try BridgeLab()
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            var host = try Host(folder: StateFolder(folder.path))
            let id = try GuestID("vm1")
            let prepared = try Prepare(
                PreparationRequest(
                    id: id, bridge: lab.bridge, primary: lab.primary, standby: lab.standby, uplink: lab.uplink,
                    addresses: [Address("52:54:00:00:00:01")], side: .standby)
            ).run(on: &host)
            #expect(prepared.exitCode == 0)
            // One address already has an entry elsewhere.
            try Command.script("bridge fdb replace 52:54:00:00:00:04 dev uplink0 master dynamic")
            let report = try FollowFilter(two, limit: 8).run(id, on: &host)
            #expect(report.joined == ["52:54:00:00:00:02", "52:54:00:00:00:03"] && report.refused.count == 1)
            #expect(try lab.entry("52:54:00:00:00:02")?.contains("dev tap0 master br0 static") == true)
            #expect(try Verify.run(id, on: &host).addresses.filter(\.ok).count == 3)
            // The adopted addresses move with the others.
            #expect(try Switch(to: .primary).run(id, on: &host).addresses.count == 3)
            #expect(try lab.entry("52:54:00:00:00:03")?.contains("dev vfrep0") == true)
            #expect(try FollowFilter(two, limit: 8).run(id, on: &host).joined.isEmpty)
            let learned = try FollowFilter(two, limit: 8, takesLearned: true).run(id, on: &host)
            #expect(learned.joined == ["52:54:00:00:00:04"])
            let gone = try FollowFilter(one, limit: 8).run(id, on: &host)
            #expect(gone.left.count == 3)
            #expect(try lab.entry("52:54:00:00:00:02") == nil && lab.entry("52:54:00:00:00:01") != nil)
            #expect(try Verify.run(id, on: &host).addresses.count == 1)
        }
    }

    /// Who is killed after an address was taken from its entry, and before it is taken from the record, leaves a phase that says so.
    @Test(.enabled(if: Namespace.obstacle == nil, "needs root: network namespaces cannot be made"))
    func aKillWhileAnAddressIsGivenUpIsSeen() throws {
        let asked = try filter(unicast: ["52:54:00:00:00:02"])
        let bundle = try #require(
            CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments.first)
        let binary =
            bundle.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            + "/fdbsteer"
        try Namespace.run {
            let lab = try BridgeLab(extraPorts: ["vf2", "tap2"])
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            var host = try Host(folder: StateFolder(folder.path))
            let id = try GuestID("vm1")
            _ = try Prepare(
                PreparationRequest(
                    id: id, bridge: lab.bridge, primary: lab.primary, standby: lab.standby, uplink: lab.uplink,
                    addresses: [Address("52:54:00:00:00:01")], side: .primary)
            ).run(on: &host)
            #expect(try FollowFilter(asked, limit: 8).run(id, on: &host).joined.count == 1)
            let rival =
                "prepare vm2 --bridge \(lab.bridge) --primary vf2 --standby tap2 --address 52:54:00:00:00:02 --at primary"
            // At the first write to a record after the entry has gone.
            let killed = try Command.run(
                [
                    "strace", "-f", "-o", folder.path + "/trace", "-e", "trace=sendmsg,renameat", "-e",
                    "inject=renameat:signal=KILL:when=2", binary,
                ] + rival.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": folder.path])
            #expect(killed.exitCode != 0)
            #expect(try lab.entry("52:54:00:00:00:02") == nil, "\(killed.errors)")
            #expect(try Journal(folder: StateFolder(folder.path)).guest(id).phase == .switching)
            #expect(try Reconcile().run(on: &host).exitCode == 0)
            #expect(try Journal(folder: StateFolder(folder.path)).guest(id).phase == .pinned)
            #expect(try lab.entry("52:54:00:00:00:02")?.contains("dev vfrep0 master br0 static") == true)
            #expect(try Verify.run(id, on: &host).ok)
        }
    }

    /// What a guest asked for ranks below what an operator declares, and below what is seen elsewhere.
    @Test(.enabled(if: Namespace.obstacle == nil, "needs root: network namespaces cannot be made"))
    func whatWasAskedForIsGivenUp() throws {
        let asked = try filter(unicast: ["52:54:00:00:00:02", "52:54:00:00:00:03"])
        try Namespace.run {
            let lab = try BridgeLab(extraPorts: ["vf2", "tap2", "other0"])
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            var host = try Host(folder: StateFolder(folder.path))
            func request(_ name: String, _ primary: String, _ standby: String, _ address: String) throws
                -> PreparationRequest
            {
                try PreparationRequest(
                    id: GuestID(name), bridge: lab.bridge, primary: primary, standby: standby, uplink: lab.uplink,
                    addresses: [Address(address)], side: .primary)
            }
            let first = try GuestID("vm1")
            _ = try Prepare(request("vm1", lab.primary, lab.standby, "52:54:00:00:00:01")).run(on: &host)
            #expect(try FollowFilter(asked, limit: 8).run(first, on: &host).joined.count == 2)
            // Who asks for an address guards it against nobody.
            try BridgeLab.sendFrame(behind: "other0", source: "52:54:00:00:00:03")
            #expect(try lab.entry("52:54:00:00:00:03")?.contains("dev other0") == true)
            let declared = try Prepare(request("vm2", "vf2", "tap2", "52:54:00:00:00:02")).run(on: &host)
            #expect(declared.exitCode == 0 && declared.notes.contains { $0.contains("taken from guest vm1") })
            #expect(try lab.entry("52:54:00:00:00:02")?.contains("dev vf2 master br0 static") == true)
            let again = try FollowFilter(asked, limit: 8).run(first, on: &host)
            #expect(again.joined.isEmpty && again.refused.contains { $0.contains("belongs to guest vm2") })

            var keeper = try Keeper(folder: StateFolder(folder.path))
            _ = try keeper.begin()
            // It was brought back when the keeper began: a guest that speaks takes it for good.
            try BridgeLab.sendFrame(behind: "other0", source: "52:54:00:00:00:03")
            var given: [String] = []
            for suspicion in try keeper.resync(reason: .interval) {
                if case .yielded(let addresses, let ports) = try keeper.check(suspicion.row, cause: suspicion.cause) {
                    given += addresses
                    #expect(ports.count == 1 && ports[0].hasPrefix("other0 (ifindex "))
                }
            }
            #expect(given == ["52:54:00:00:00:03"])
            #expect(try lab.entry("52:54:00:00:00:03")?.contains("dev other0 master br0") == true)
            #expect(try lab.entry("52:54:00:00:00:03")?.contains("static") == false)
            #expect(try Verify.run(first, on: &host).addresses.count == 1)
        }
    }
}
