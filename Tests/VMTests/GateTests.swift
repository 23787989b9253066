import Lab
import Testing

extension LabVMTests {
    /// Gates at a port whose driver refuses the lock, as mlx5 does (`mlx5_esw_bridge_port_obj_attr_set`).
    @Suite(.serialized)
    struct GateTests {
        private static func leaks() throws -> Int {
            let counts = try FrameTally(["far_p0"]).send(
                20, from: "far_vf0", to: "ff:ff:ff:ff:ff:ff", source: ModelLab.mac)
            return counts["far_p0"]?.count ?? -1
        }

        @Test(arguments: ["vlan_default_pvid 0", "vlan_filtering 1"], ["local", "remote"])
        func aPortThatTakesNoLockIsShutByNftables(bridge: String, side: String) throws {
            try ModelLab.run(bridge: bridge) { lab in
                let begin = "prepare vm1 --bridge br0 --port mes_vf0 --uplink mes_p0 --address \(ModelLab.mac)"
                try lab.expect(0, "\(begin) --at \(side) --gate", saying: "Flag is not supported", "nftables")
                try lab.expect(0, "status --json", saying: "\"gate_by\" : \"table\"")
                for side in ["remote", "local", "remote"] {
                    try lab.expect(0, "switch vm1 --to \(side)")
                    #expect(try Self.leaks() == (side == "local" ? 20 : 0), "\(side)")
                    try lab.expect(0, "verify vm1")
                }
                try Command.script("nft flush ruleset")
                try lab.expect(3, "verify vm1", saying: "its gate is open")
                try lab.expect(0, "reconcile")
                #expect(try Self.leaks() == 0)
                try lab.expect(0, "release vm1")
                #expect(try Command.run(["nft", "list", "ruleset"]).output == "")
                #expect(
                    try !Command.run(["bridge", "-d", "link", "show", "dev", "mes_vf0"]).output.contains("locked on"))
            }
        }
    }
}
