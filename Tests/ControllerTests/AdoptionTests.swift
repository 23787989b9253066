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
}
