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
            let prepared = try host.prepare(
                PreparationRequest(
                    id: id, bridge: lab.bridge, primary: lab.primary, standby: lab.standby, uplink: lab.uplink,
                    addresses: [Address("52:54:00:00:00:01")], side: .standby), options: VerbOptions())
            #expect(prepared.exitCode == 0)
            // One lives elsewhere already.
            try Command.script("bridge fdb replace 52:54:00:00:00:04 dev uplink0 master dynamic")
            let report = try host.adopt(id, filter: two, limit: 8, options: VerbOptions())
            #expect(report.joined == ["52:54:00:00:00:02", "52:54:00:00:00:03"] && report.refused.count == 1)
            #expect(try lab.entry("52:54:00:00:00:02")?.contains("dev tap0 master br0 static") == true)
            #expect(try host.verify(id).addresses.filter(\.ok).count == 3)
            // They move with the others.
            #expect(try host.switch(id, to: .primary, options: VerbOptions()).addresses.count == 3)
            #expect(try lab.entry("52:54:00:00:00:03")?.contains("dev vfrep0") == true)
            #expect(try host.adopt(id, filter: two, limit: 8, options: VerbOptions()).joined.isEmpty)
            let learned = try host.adopt(id, filter: two, limit: 8, takesLearned: true, options: VerbOptions())
            #expect(learned.joined == ["52:54:00:00:00:04"])
            let gone = try host.adopt(id, filter: one, limit: 8, options: VerbOptions())
            #expect(gone.left.count == 3)
            #expect(try lab.entry("52:54:00:00:00:02") == nil && lab.entry("52:54:00:00:00:01") != nil)
            #expect(try host.verify(id).addresses.count == 1)
        }
    }
}
