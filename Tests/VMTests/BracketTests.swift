import Lab
import Testing

extension LabVMTests {
    /// Brackets from and to a port of the model eswitch, on a kernel whose classifiers and nftables are modules, with and
    /// without VLANs.
    @Suite(.serialized)
    struct BracketTests {
        private static let once = FrameTally.once(20)

        /// How often each of 20 frames from the wire arrived at the VF, at the standby and at another VF.
        private static func counts(vlan: UInt16?) throws -> [FrameTally.Counts] {
            let places = ["far_vf0", "tap0-far", "far_vf1"]
            let counts = try FrameTally(places).send(
                20, from: "far_p0", to: ModelLab.mac, source: "52:54:00:fd:b5:fe", vlan: vlan)
            return places.map { counts[$0] ?? [:] }
        }

        @Test(arguments: ["vlan_default_pvid 0", "vlan_filtering 1", "vlan_filtering 1 tagged"])
        func bothPortsAreServedWhileItIsOpen(bridge: String) throws {
            let isTagged = bridge.hasSuffix("tagged")
            try ModelLab.run(bridge: bridge.replacing(" tagged", with: "")) { lab in
                let vlan: UInt16? = isTagged ? 10 : nil
                if isTagged {
                    for port in ["mes_p0", "mes_vf0", "mes_vf1", "tap0"] {
                        try Command.script("bridge vlan add vid 10 dev \(port)")
                    }
                }
                try lab.prepare("--address \(ModelLab.mac)\(isTagged ? "/10" : "")", "--kind net_failover")
                for qdisc in ["", "clsact"] {
                    if !qdisc.isEmpty { try Command.script("tc qdisc add dev tap0 \(qdisc)") }
                    let before = try Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output
                    #expect(try Self.counts(vlan: vlan) == [Self.once, [:], [:]])
                    try lab.expect(
                        0, "switch vm1 --to standby --strategy bracket --require-proof",
                        saying: "each frame reaches both",
                        "by \(qdisc.isEmpty ? "nftables" : "clsact")")
                    #expect(try lab.hardware().isEmpty, "hardware forwards still")
                    #expect(try Self.counts(vlan: vlan) == [Self.once, Self.once, [:]])
                    try lab.expect(0, "verify vm1")
                    try lab.expect(0, "reconcile", saying: "stays open")
                    try lab.expect(0, "status", saying: "20 frames copied")
                    try lab.expect(0, "switch vm1 --to standby --close")
                    #expect(try Self.counts(vlan: vlan) == [[:], Self.once, [:]])
                    try lab.expect(0, "switch vm1 --to primary --strategy bracket")
                    #expect(try Self.counts(vlan: vlan) == [Self.once, Self.once, [:]])
                    try lab.expect(0, "switch vm1 --to primary --close --require-proof", saying: "proven")
                    #expect(try Self.counts(vlan: vlan) == [Self.once, [:], [:]])
                    #expect(try lab.hardware().count == 1)
                    #expect(try Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output == before)
                    #expect(try Command.run(["nft", "list", "tables", "netdev"]).output == "")
                }
            }
        }

        @Test func aTagOfAnotherVLANIsNotCopied() throws {
            try ModelLab.run(bridge: "vlan_filtering 1") { lab in
                for port in ["mes_p0", "mes_vf0", "tap0"] {
                    try Command.script("bridge vlan add vid 10 dev \(port)\nbridge vlan add vid 20 dev \(port)")
                }
                try lab.prepare("--address \(ModelLab.mac)/10", "--kind net_failover")
                try lab.expect(0, "switch vm1 --to standby --strategy bracket")
                #expect(try Self.counts(vlan: 10) == [Self.once, Self.once, [:]])
                // The address is unknown in VLAN 20: frames are flooded to both, and not copied as well.
                #expect(try Self.counts(vlan: 20) == [Self.once, Self.once, [:]])
                try lab.expect(0, "abort vm1")
                // A port that has the VLAN untagged would get tagged frames.
                try Command.script("bridge vlan add vid 10 dev tap0 untagged")
                try lab.expect(
                    3, "switch vm1 --to standby --strategy bracket", saying: "VLAN 10 leaves standby tap0 untagged")
            }
        }
    }
}
