import JSON
import Policy
import Switchdev
import TestSupport
import Testing

/// Reports are made JSON by hand, in the shape that the encoder gives to everything else.
@Suite struct ReportJSONTests {
    /// The members of all objects in a value are in alphabetical order.
    private func isSorted(_ value: JSON) -> Bool {
        if let elements = value.elements { return elements.allSatisfy(isSorted) }
        guard let members = value.members else { return true }
        return members.map(\.name) == members.map(\.name).sorted() && members.allSatisfy { isSorted($0.value) }
    }

    @Test func aReportHasAllOfItsMembersInTheirOrder() throws {
        var report = try Folder.report(.switch, to: .standby, .rolledBack, move: 1 << 60, proof: 5, startedAt: 1_000)
        let least = try JSON(encoding: report)
        #expect(isSorted(least) && least["proof"] == nil && least["messages"] == nil && least["sighting"] == nil)
        #expect(least["timings"]?["move_ns"]?.integer == (1 << 53) - 1, "readers have doubles")
        #expect(least["time_us"]?.integer == 1 && least["time"]?.text == "1970-01-01T00:00:00.000001Z")
        report.addresses = [
            .init(address: "52:54:00:00:00:01", primitive: "replace", port: "s", error: "EBUSY"),
            .init(address: "52:54:00:00:00:02", primitive: "replace", port: "s", error: nil),
        ]
        report.addresses[1].fromPort = "p"
        let counters = PortCounters(rxPackets: 1, txPackets: .max, rxDropped: 3, txDropped: 4)
        report.evidence?.ports[0].counters[.moved] = counters
        report.evidence?.ports[0].counters[.before] = counters
        report.proof = "software bridge"
        report.proofStatus = .missing
        report.groupMembershipsMoved = 2
        report.messages = []
        report.failures = ["it failed"]
        let full = try JSON(encoding: [report])
        #expect(isSorted(full))
        let members = full.elements?.first?.members ?? []
        #expect(
            Set(members.map(\.name)).subtracting((least.members ?? []).map(\.name)) == [
                "proof", "proof_status", "group_memberships_moved", "messages",
            ])
        let first = try #require(full.elements?.first)
        #expect(
            first["addresses"]?.description
                == #"[{"address":"52:54:00:00:00:01","error":"EBUSY","port":"s","primitive":"replace"},"#
                + #"{"address":"52:54:00:00:00:02","from_port":"p","port":"s","primitive":"replace"}]"#)
        let counted = #"{"rx_dropped":3,"rx_packets":1,"tx_dropped":4,"tx_packets":9007199254740991}"#
        #expect(
            first["evidence"]?["ports"]?.description
                == #"[{"counters":{"before":\#(counted),"moved":\#(counted)},"name":"p","side":"primary"}]"#)
        #expect(first["outcome"]?.text == "rolled_back" && first["failures"]?.description == #"["it failed"]"#)
    }
}
