import Glibc
import Lab
import Testing

/// Findings that need VLAN filtering or a switch: in the lab VM, with
/// `scripts/lab-vm run --rocker 3 -- .build/debug/fdbsteerPackageTests.xctest --testing-library swift-testing
/// --filter PreflightVMTests`.
@Suite(.serialized, .enabled(if: getenv("FDBSTEER_LAB_VM") != nil, "needs the lab VM: VLAN filtering and switchdev"))
struct PreflightVMTests {
    private static let mac = CommandLineLab.mac

    /// A bridge that filters VLANs: all ports have VLAN 1 untagged; uplink and primary also have 10 and 30 tagged.
    private static func run(_ body: @escaping @Sendable (CommandLineLab) throws -> Void) throws {
        try CommandLineLab.run { lab in
            try lab.script("ip link set br0 type bridge vlan_filtering 1")
            try body(lab)
        }
    }

    private static func arguments(_ vlan: Int = 1) -> String {
        CommandLineLab.arguments.replacing(mac, with: "\(mac)/\(vlan)")
    }

    private static func reachesNetwork(by port: String, vlan: UInt16?) throws -> Bool {
        try !FrameProbe(to: CommandLineLab.everybody, from: mac, vlan: vlan).send(
            from: port + "-far", lookingAt: "uplink0-far"
        ).isEmpty
    }

    @Test func nothingIsWrong() throws {
        try PreflightVMTests.run { lab in
            try lab.preflight()
            try lab.preflight(PreflightVMTests.arguments())
        }
    }

    @Test func vlanMissing() throws {
        try PreflightVMTests.run { lab in
            for port in ["uplink0", "vfrep0"] { try lab.script("bridge vlan add dev \(port) vid 30") }
            try lab.preflight(PreflightVMTests.arguments(30), finds: "blocks vlan-missing tap0")
            try lab.refused("prepare vm1 " + PreflightVMTests.arguments(30), code: 3, saying: "VLAN 30")
            #expect(try PreflightVMTests.reachesNetwork(by: "vfrep0", vlan: 30))
            #expect(try !PreflightVMTests.reachesNetwork(by: "tap0", vlan: 30))
            try lab.script("bridge vlan add dev tap0 vid 30")
            try lab.preflight(PreflightVMTests.arguments(30))
            #expect(try PreflightVMTests.reachesNetwork(by: "tap0", vlan: 30))
        }
    }

    @Test func vlanMembership() throws {
        try PreflightVMTests.run { lab in
            for port in ["uplink0", "vfrep0"] { try lab.script("bridge vlan add dev \(port) vid 30") }
            try lab.preflight(finds: "loses vlan-membership tap0")
            let prepared = try lab.fdbsteer("prepare vm1 " + CommandLineLab.arguments)
            #expect(prepared.exitCode == 0 && prepared.output.contains("note: loses vlan-membership tap0"))
            try lab.moved(to: "standby")
            #expect(try PreflightVMTests.reachesNetwork(by: "vfrep0", vlan: 30))
            #expect(try !PreflightVMTests.reachesNetwork(by: "tap0", vlan: 30))
            try lab.script("bridge vlan add dev tap0 vid 30")
            try lab.preflight("vm1")
            #expect(try PreflightVMTests.reachesNetwork(by: "tap0", vlan: 30))
            try lab.script("bridge vlan del dev vfrep0 vid 30")
            try lab.preflight("vm1", finds: "leaks vlan-membership tap0")
            #expect(try !PreflightVMTests.reachesNetwork(by: "vfrep0", vlan: 30))
            #expect(try PreflightVMTests.reachesNetwork(by: "tap0", vlan: 30))
            try lab.script("bridge vlan del dev tap0 vid 30")
            #expect(try !PreflightVMTests.reachesNetwork(by: "tap0", vlan: 30))
            try lab.preflight("vm1")
        }
    }

    @Test func pvidDiffers() throws {
        try PreflightVMTests.run { lab in
            for port in ["vfrep0", "tap0"] { try lab.script("bridge vlan add dev \(port) vid 20 untagged") }
            try lab.script("bridge vlan add dev tap0 vid 20 pvid untagged")
            try lab.preflight(PreflightVMTests.arguments(), finds: "loses pvid-differs tap0")
            try lab.preflight(finds: "blocks pvid-differs tap0")
            #expect(try PreflightVMTests.reachesNetwork(by: "vfrep0", vlan: nil))
            #expect(try !PreflightVMTests.reachesNetwork(by: "tap0", vlan: nil))
            // The frame above showed the guest in the wrong VLAN.
            let mac = PreflightVMTests.mac
            try lab.preflight(
                PreflightVMTests.arguments(), finds: "loses pvid-differs tap0", "loses entry-on-other-vlan \(mac)/20")
            try lab.script("bridge fdb del \(mac) dev tap0 master vlan 20")
            try lab.script("bridge vlan add dev tap0 vid 1 pvid untagged")
            try lab.preflight(PreflightVMTests.arguments())
            #expect(try PreflightVMTests.reachesNetwork(by: "tap0", vlan: nil))
        }
    }

    @Test func vlanTagging() throws {
        try PreflightVMTests.run { lab in
            for port in ["uplink0", "tap0"] { try lab.script("bridge vlan add dev \(port) vid 10") }
            try lab.script("bridge vlan add dev vfrep0 vid 10 untagged")
            // The guest's view of VLAN 10 if its frames are tagged.
            for port in ["vfrep0", "tap0"] {
                try lab.script(
                    "ip link add link \(port)-far name \(port)-t10 type vlan id 10\nip link set \(port)-t10 up")
            }
            func tagged() throws -> Set<String> {
                try FrameProbe(to: PreflightVMTests.mac, from: lab.lab.peerMAC, vlan: 10).send(
                    from: "uplink0-far", lookingAt: "vfrep0-t10", "tap0-t10", "vfrep0-far", "tap0-far")
            }
            try lab.preflight(PreflightVMTests.arguments(10), finds: "loses vlan-tagging tap0")
            #expect(try lab.fdbsteer("prepare vm1 " + PreflightVMTests.arguments(10)).exitCode == 0)
            #expect(try tagged() == ["vfrep0-far"])
            try lab.moved(to: "standby")
            #expect(try tagged() == ["tap0-far", "tap0-t10"])
            try lab.script("bridge vlan add dev tap0 vid 10 untagged")
            #expect(try tagged() == ["tap0-far"])
            try lab.preflight("vm1")
        }
    }

    @Test func entryOnAnotherVLAN() throws {
        try PreflightVMTests.run { lab in
            for port in ["uplink0", "vfrep0", "tap0"] { try lab.script("bridge vlan add dev \(port) vid 30") }
            try lab.script("bridge fdb add \(PreflightVMTests.mac) dev vfrep0 master dynamic vlan 30")
            try lab.preflight(finds: "loses entry-on-other-vlan \(PreflightVMTests.mac)/30")
            #expect(try lab.fdbsteer("prepare vm1 " + CommandLineLab.arguments).exitCode == 0)
            try lab.moved(to: "standby")
            func arrivals() throws -> Set<String> {
                try FrameProbe(to: PreflightVMTests.mac, from: lab.lab.peerMAC, vlan: 30).send(
                    from: "uplink0-far", lookingAt: "vfrep0-far", "tap0-far")
            }
            #expect(try arrivals() == ["vfrep0-far"])
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            let both = PreflightVMTests.arguments(30) + " --address \(PreflightVMTests.mac)/1"
            try lab.preflight(both)
            #expect(try lab.fdbsteer("prepare vm1 " + both).exitCode == 0)
            try lab.moved(to: "standby")
            #expect(try arrivals() == ["tap0-far"])
        }
    }

    // MARK: - Switches: in the first namespace, as the drivers require

    @Test func modelEswitch() throws {
        try Command.script(
            """
            modprobe model_eswitch vfs=2
            ip link add brm type bridge
            ip link add mtap type veth peer name mtap-far
            ip link set mtap-far addrgenmode none
            ip link set far_p0 addrgenmode none
            ip link set far_vf0 addrgenmode none
            ip link set mtap-far up
            ip link set far_p0 up
            ip link set far_vf0 up
            ip link set brm up
            """)
        for port in ["mes_p0", "mes_vf0", "mtap"] {
            try Command.script(
                "ip link set \(port) addrgenmode none\nip link set \(port) master brm\nip link set \(port) up")
        }
        sleep(2)
        let state = "/tmp/preflight-vm-model"
        let mac = PreflightVMTests.mac
        let ports = "--bridge brm --primary mes_vf0 --standby mtap --uplink mes_p0 --address \(mac) --at primary"
        func fdbsteer(_ arguments: String) throws -> Command {
            try Command.run(
                [CommandLineLab.binary] + arguments.split(separator: " ").map(String.init),
                environment: ["FDBSTEER_STATE": state])
        }
        func finds(_ code: Int32, _ words: String, not others: String = "nonsense") throws {
            let command = try fdbsteer("preflight " + ports)
            #expect(command.exitCode == code, "\(command.output)\(command.errors)")
            #expect(command.output.contains("\n  " + words), "\(command.output)")
            #expect(!command.output.contains("\n  " + others), "\(command.output)")
        }
        func entries() throws -> [Substring] {
            try Command.run(["bridge", "fdb", "show", "br", "brm"]).output.split(separator: "\n").filter {
                $0.hasPrefix(mac)
            }
        }
        try finds(0, "costs slow-path mtap")
        // Duplicated for VLAN 1.
        try finds(0, "costs default-pvid brm")
        try Command.script("bridge fdb add \(mac) dev mes_vf0 master static")
        #expect(try entries().count == 2)
        try Command.script("bridge vlan del dev mtap vid 1")
        try finds(3, "blocks vlan-twins brm")
        try Command.script("bridge fdb del \(mac) dev mes_vf0 master\nip link set brm type bridge vlan_default_pvid 0")
        try finds(0, "costs slow-path mtap", not: "costs default-pvid")
        try Command.script("bridge fdb add \(mac) dev mes_vf0 master static")
        #expect(try entries().count == 1)
        // The kernel ignores the move that notifies hardware.
        try Command.script("ip link set brm type bridge ageing_time 0")
        try finds(3, "blocks ageing-zero brm")
        let use = "bridge fdb replace \(mac) dev mtap master use static"
        try Command.script(use)
        #expect(try entries().allSatisfy { $0.contains("mes_vf0") })
        try Command.script("ip link set brm type bridge ageing_time 30000")
        try finds(0, "costs slow-path mtap", not: "blocks ageing-zero")
        try Command.script(use)
        #expect(try entries().allSatisfy { $0.contains("mtap") })
        // A flag that the driver refuses, so the two can only be made equal on the other port.
        try Command.script("bridge fdb del \(mac) dev mtap master\nbridge link set dev mtap hairpin on")
        try finds(3, "note flags-refused mes_vf0")
        #expect(try Command.run(["bridge", "link", "set", "dev", "mes_vf0", "hairpin", "on"]).exitCode != 0)
    }

    @Test func rocker() throws {
        guard try Interface.index(of: "sw1p1") != nil else { return }
        try Command.script(
            "ip link add brr type bridge\nip link add rtap type veth peer name rtap-far\nip link set rtap-far addrgenmode none\n"
                + "ip link set rtap-far up")
        try Command.script("ip link set brr type bridge vlan_default_pvid 0\nip link set brr up")
        for port in ["sw1p1", "sw1p2", "sw1p3", "rtap"] {
            try Command.script(
                "ip link set \(port) addrgenmode none\nip link set \(port) master brr\nip link set \(port) up")
        }
        for wire in ["wire1", "wire2", "wire3"] {
            try Command.script("ip link set \(wire) addrgenmode none\nip link set \(wire) up promisc on")
        }
        sleep(3)
        let mac = PreflightVMTests.mac
        func preflight(standby: String) throws -> Command {
            try Command.run(
                [CommandLineLab.binary, "preflight"]
                    + "--bridge brr --primary sw1p2 --standby \(standby) --uplink sw1p1 --address \(mac) --at standby"
                    .split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": "/tmp/preflight-vm-rocker"]
            )
        }
        let found = try preflight(standby: "rtap")
        #expect(found.exitCode == 3 && found.output.contains("\n  leaks flood-on-miss rtap"), "\(found.output)")
        try Command.script("bridge fdb replace \(mac) dev rtap master static")
        sleep(1)
        let leaked = try FrameProbe(to: mac, from: "52:54:00:00:00:fe").send(
            from: "wire1", lookingAt: "wire3", "rtap-far")
        #expect(leaked.contains("wire3"), "\(leaked)")
        // On a port of the switch no other port gets the frame.
        #expect(try preflight(standby: "sw1p3").output.contains("\n  leaks") == false)
        try Command.script("bridge fdb del \(mac) dev rtap master\nbridge fdb add \(mac) dev sw1p3 master static")
        sleep(1)
        let right = try FrameProbe(to: mac, from: "52:54:00:00:00:fe").send(from: "wire1", lookingAt: "wire3", "wire2")
        #expect(right == ["wire3"])
    }
}
