import Glibc
import Lab
import Netlink
import Switchdev
import TestSupport
import Testing

/// There is one machine with one bridge, so one test runs at a time.
@Suite(.enabled(if: isLabVM, "runs in the lab VM, which scripts/test boots: this kernel has no switchdev"), .serialized)
enum LabVMTests {}

extension LabVMTests {
    /// The command line on the model eswitch of the lab VM; the state of the hardware is read from the model's own table.
    @Suite(.serialized)
    struct ModelEswitchTests {
        @Test func portsByNameAndTheTopology() throws {
            try ModelLab.run { lab in
                try lab.expect(
                    0, "topology", saying: "eswitch platform/model_eswitch  mode switchdev", "mes_vf2  in no bridge",
                    "pcivf pf 0 vf 1", "model_eswitch, miss: slow path")
                var document = JSONDocument()
                let topology = try lab.expect(0, "topology --json")
                #expect(document.differences(of: topology.output, from: "topology") == [])
                // The model has no SF.
                #expect(document.unseenOfHardware(["eswitch", "devlink_port"], but: ["devlink_port.sf"]) == [])
                try lab.expect(
                    0,
                    "prepare vm1 --bridge br0 --primary pf0vf0 --standby tap0 --at primary --address \(ModelLab.mac)",
                    saying: "costs CPU", "; proven: ")
                #expect(try lab.hardware() == ["\(ModelLab.mac)/0@mes_vf0"])
            }
        }

        @Test func thereAndBackAndReleased() throws {
            try ModelLab.run { lab in
                try lab.sendFrame(behind: "mes_vf0")
                try lab.wait("the driver to learn") { try !lab.hardware().isEmpty }
                try lab.prepare()
                for (side, hardware) in [("standby", []), ("remote", ["mes_p0"]), ("primary", ["mes_vf0"])] {
                    try lab.expect(0, "switch vm1 --to \(side) --require-proof", saying: "; proven: ")
                    #expect(try lab.hardware() == hardware.map { "\(ModelLab.mac)/0@\($0)" })
                    try lab.expect(0, "switch vm1 --to \(side) --require-proof", saying: "already", "; proven: ")
                    try lab.expect(0, "verify vm1", saying: "the driver's own table says so")
                }
                // After the release hardware forgets the entry, and learns it again from the guest's next frame.
                try lab.expect(0, "release vm1", saying: "so that hardware forgets them")
                #expect(try lab.hardware().isEmpty && lab.entries().isEmpty)
                try lab.sendFrame(behind: "mes_vf0")
                try lab.wait("the driver to learn again") { try lab.hardware() == ["\(ModelLab.mac)/0@mes_vf0"] }
            }
        }

        @Test func releaseWithoutFloodingKeepsASoftwareEntry() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                try Command.script("bridge link set dev mes_vf0 flood off")
                try lab.expect(0, "release vm1")
                #expect(try lab.hardware().isEmpty)
                #expect(try lab.entries().count == 1 && !lab.entries()[0].contains("static"))
            }
        }

        @Test func whatABareReplaceLeftIsSeenAndMended() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                try Command.script("bridge fdb replace \(ModelLab.mac) dev tap0 master static")
                // The contradiction: software shows tap0 and offload, hardware still has the VF.
                #expect(try lab.entries()[0].contains("tap0 offload"))
                #expect(try lab.hardware() == ["\(ModelLab.mac)/0@mes_vf0"])
                try lab.expect(3, "verify vm1", saying: "should be on mes_vf0")
                try lab.expect(0, "switch vm1 --to standby --require-proof", saying: "proven")
                #expect(try lab.hardware().isEmpty)
                #expect(try lab.entries()[0].contains("tap0"))
            }
        }

        @Test func aNICIsAskedInABridgeOfItsUser() throws {
            try ModelLab.run { lab in
                let before = try lab.entries("02:")
                let check = try lab.fdbsteer("offload --bridge br0 --ports mes_vf0,tap0", program: "fdbsteer-bench")
                #expect(check.exitCode == 0, "\(check.errors)")
                let lines = check.output.split(separator: "\n").filter { $0.contains("hardware:") }
                let told = lines.map { $0.contains("rule to mes_vf0") }
                // An in-place move leaves the rule; NTF_USE removes it.
                #expect(told == [true, true, true, false, true], "\(check.output)")
                #expect(try lab.entries("02:") == before)
                let wrong = try lab.fdbsteer("offload --bridge br0 --ports tap0,mes_vf0", program: "fdbsteer-bench")
                #expect(wrong.exitCode != 0 && wrong.errors.contains("tap0 is no port of a switch"))
            }
        }

        @Test func failingHardwareIsSaid() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                try lab.expect(0, "switch vm1 --to standby")
                try lab.model("fail_add", "1")
                try lab.expect(0, "switch vm1 --to primary --proof-timeout 200ms", saying: "proof: missing")
                try lab.expect(3, "verify vm1", saying: "nowhere, where it should be on mes_vf0")
                try lab.expect(0, "switch vm1 --to standby --proof-timeout 200ms", saying: "proof: missing")
                let command = try lab.expect(
                    7, "switch vm1 --to primary --proof-timeout 200ms --require-proof --json", saying: "is applied")
                #expect(command.output.contains("\"proof_status\" : \"missing\""))
            }
        }

        @Test func aBridgeThatAgesNothingIsRefused() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                try Command.script("ip link set br0 type bridge ageing_time 0")
                try lab.expect(3, "switch vm1 --to standby", saying: "ageing_time 0")
                #expect(try lab.hardware() == ["\(ModelLab.mac)/0@mes_vf0"])
                try lab.expect(0, "release vm1")
                try lab.expect(
                    3,
                    "prepare vm1 --bridge br0 --primary mes_vf0 --standby tap0 --at primary --address \(ModelLab.mac)",
                    saying: "ageing_time 0")
            }
        }

        @Test func slowHardwareIsWaitedFor() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                try lab.model("delay_ms", "300")
                try lab.expect(0, "switch vm1 --to standby --require-proof")
                #expect(try lab.hardware().isEmpty)
            }
        }

        @Test func aTrunkGuestMovesAsOne() throws {
            try ModelLab.run(bridge: "vlan_filtering 1 vlan_default_pvid 1") { lab in
                for port in ["mes_p0", "mes_vf0", "tap0"] {
                    try Command.script("bridge vlan add dev \(port) vid 10\nbridge vlan add dev \(port) vid 20")
                }
                let macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
                let addresses = macs.flatMap { mac in ["", "/10", "/20"].map { "--address \(mac)\($0)" } }
                try lab.prepare(addresses.joined(separator: " "))
                func all(_ port: String) -> [String] {
                    macs.flatMap { mac in [1, 10, 20].map { "\(mac)/\($0)@\(port)" }.sorted() }
                }
                func hardware() throws -> [String] { try macs.flatMap { mac in try lab.hardware(mac) } }
                #expect(try hardware() == all("mes_vf0"))
                try lab.expect(0, "switch vm1 --to standby --require-proof", saying: "6 addresses moved")
                #expect(try hardware().isEmpty)
                let entries: [String] = try macs.flatMap { mac in try lab.entries(mac) }
                #expect(entries.count == 6 && entries.allSatisfy { $0.contains("tap0") && $0.contains("vlan") })
                try lab.expect(0, "switch vm1 --to primary --require-proof", saying: "6 addresses moved")
                #expect(try hardware() == all("mes_vf0"))
                try lab.expect(
                    3,
                    "prepare vm2 --bridge br0 --primary mes_vf1 --standby tap0 --at primary --address 52:54:00:00:00:03/20",
                    saying: "mes_vf1: VLAN 20 of the guest's addresses is not on the port")
                try Command.script("bridge vlan add dev mes_vf1 vid 10 pvid")
                try lab.expect(
                    3,
                    "prepare vm2 --bridge br0 --primary mes_vf1 --standby tap0 --at primary --address 52:54:00:00:00:03",
                    saying: "names no VLAN, so that prepare cannot choose one")
            }
        }

        @Test func secondEntriesOfABridgeWithoutVLANs() throws {
            try ModelLab.run(bridge: "vlan_default_pvid 1") { lab in
                try lab.prepare()
                // The kernel made another entry for VLAN 1, in hardware as well: both must follow.
                #expect(try lab.hardware() == ["\(ModelLab.mac)/0@mes_vf0", "\(ModelLab.mac)/1@mes_vf0"])
                try lab.expect(0, "switch vm1 --to standby --require-proof")
                #expect(try lab.hardware().isEmpty)
                try lab.expect(0, "switch vm1 --to primary --require-proof")
                try lab.expect(0, "release vm1")
                #expect(try lab.hardware().isEmpty)
                try Command.script("bridge vlan del dev tap0 vid 1")
                try lab.expect(
                    3,
                    "prepare vm1 --bridge br0 --primary mes_vf0 --standby tap0 --at primary --address \(ModelLab.mac)",
                    saying: "leaves the second entry", "vlan_default_pvid 0")
            }
        }

        /// The events that can steal or drop an entry according to the facts about the kernel, one after another
        /// (docs/switchdev.md).
        @Test func pinsSurvive() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                func isPinned(_ port: String, _ hardware: [String], after what: String) throws {
                    #expect(
                        try lab.entries().allSatisfy { $0.contains("dev \(port) ") && $0.contains("static") }, "\(what)"
                    )
                    #expect(try lab.entries().count == 1, "\(what)")
                    #expect(try lab.hardware() == hardware.map { "\(ModelLab.mac)/0@\($0)" }, "\(what)")
                }
                for (side, port, hardware, late) in [
                    ("primary", "mes_vf0", ["mes_vf0"], "tap0"), ("standby", "tap0", [], "mes_vf0"),
                ] {
                    try lab.expect(0, "switch vm1 --to \(side)")
                    try lab.sendFrame(behind: late)
                    usleep(100_000)
                    try isPinned(port, hardware, after: "a late frame behind \(late)")
                    try lab.model("tick_always", "1")
                    try lab.model("tick_now", "1")
                    usleep(100_000)
                    try isPinned(port, hardware, after: "a refresh of the driver")
                    try Command.script(
                        "ip link set br0 type bridge ageing_time 100\nip link set br0 type bridge fdb_flush")
                    sleep(2)
                    try isPinned(port, hardware, after: "ageing and a flush")
                    try Command.script("ip link set br0 type bridge ageing_time 30000")
                    try Command.script(
                        "ip link set br0 type bridge stp_state 1 forward_delay 200\nip link set br0 type bridge stp_state 0"
                    )
                    try isPinned(port, hardware, after: "spanning tree on and off")
                    try Command.script("bridge vlan add dev \(port) vid 30\nbridge vlan del dev \(port) vid 30")
                    try isPinned(port, hardware, after: "a VLAN that came and went")
                }
            }
        }

        @Test func aSentinelThatACrashLeftIsSwept() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                try lab.model("fail_add", "1")
                func sentinels() throws -> [String] { try lab.entries("02:fd:b5") }
                let folder = getenv("FDBSTEER_BIN").map { String(cString: $0) } ?? "."
                let running = try RunningCommand(
                    ["\(folder)/fdbsteer", "switch", "vm1", "--to", "standby", "--proof-timeout", "20s"],
                    environment: ["FDBSTEER_STATE": lab.state])
                try lab.wait("a sentinel") { try sentinels().count == 1 }
                // The process waits for it, so no other may remove it now.
                try lab.expect(0, "reconcile", saying: "another redirection of guest vm1 is running")
                #expect(try sentinels().count == 1)
                kill(running.process, SIGKILL)
                #expect(running.wait().exitCode == 128 + SIGKILL)
                #expect(try sentinels().count == 1)
                try lab.model("fail_add", "0")
                // The entries have arrived and only the record does not say so: they stay, and the sentinel is removed.
                try lab.expect(0, "reconcile", saying: "a switching did not end", "sentinel 02:fd:b5", "removed")
                #expect(try sentinels().isEmpty)
                #expect(try lab.hardware().isEmpty)
                try lab.expect(0, "reconcile", saying: "as intended on standby")
                try lab.expect(0, "verify vm1")
            }
        }
    }
}

extension LabVMTests {
    /// Discovery on netdevsim, the kernel's own simulated device.
    @Suite(.serialized)
    struct NetdevsimTests {
        @Test func representorsAreFound() throws {
            try Command.script("modprobe -a psample macsec\nmodprobe netdevsim")
            defer { _ = try? Command.run(["sh", "-c", "echo 7 >/sys/bus/netdevsim/del_device; rmmod netdevsim"]) }
            let script = """
                set -e
                echo "7 1" >/sys/bus/netdevsim/new_device
                echo 2 >/sys/bus/netdevsim/devices/netdevsim7/sriov_numvfs
                """
            let made = try Command.run(["sh", "-c", script])
            #expect(made.exitCode == 0, "\(made.errors)")
            let handle = DevlinkHandle(bus: "netdevsim", device: "netdevsim7")
            #expect(try Devlink.snapshot().modes[handle] == .legacy)
            try Command.script("devlink dev eswitch set netdevsim/netdevsim7 mode switchdev")
            let devlink = try Devlink.snapshot()
            #expect(devlink.modes[handle] == .switchdev)
            let ports = devlink.ports.filter { $0.handle == handle }
            #expect(ports.filter { $0.flavour == .physical }.count == 1)
            #expect(ports.filter { $0.flavour == .pciVF }.compactMap(\.vf).sorted() == [0, 1])
            let representor = try #require(devlink.representor(ofVF: 1, at: handle))
            var socket = try CommandSocket()
            let index = try #require(representor.interface)
            let link = try #require(try Links.read([index], using: &socket)[0])
            #expect(link.portName == "pf0vf1")
            #expect(link.switchID?.bytes.count == 32)
            // The uplink and its representors are one switch.
            let links = try Links.snapshot(using: &socket)
            #expect(Set(ports.compactMap { $0.interface.flatMap { links[$0]?.switchID } }).count == 1)
        }
    }
}

extension LabVMTests {
    /// Rocker, which floods a miss in hardware.
    @Suite(.serialized)
    struct RockerTests {
        @Test func aStandbyThatLeaksIsRefusedUnlessAllowed() throws {
            let folder = try TemporaryFolder()
            let lab = ModelLab(state: folder.path)
            defer {
                for link in ["tap0", "br0"] { _ = try? Command.run(["ip", "link", "del", link]) }
                folder.remove()
            }
            try Command.script(
                """
                ip link add br0 type bridge vlan_default_pvid 0
                ip link set br0 up
                ip link add tap0 type veth peer name tap0-far
                ip link set tap0-far up
                """)
            for port in ["sw1p1", "sw1p2", "sw1p3", "tap0"] { try Command.script("ip link set \(port) master br0 up") }
            let prepare =
                "prepare vm1 --bridge br0 --primary sw1p2 --standby tap0 --at primary --address \(ModelLab.mac)"
            try lab.expect(3, prepare, saying: "LEAK", "rocker", "--leak allow")
            #expect(try lab.entries().isEmpty)
            try lab.expect(0, "topology", saying: "! LEAK")
            try lab.expect(0, prepare + " --leak allow", saying: "LEAK")
            try lab.expect(0, "release vm1")
            // Both ports are on the switch: nothing leaks.
            let inside =
                "prepare vm1 --bridge br0 --primary sw1p2 --standby sw1p3 --at primary --address \(ModelLab.mac)"
            #expect(try !lab.expect(0, inside, saying: "proven").output.contains("LEAK"))
            try lab.expect(0, "release vm1")
        }
    }
}
