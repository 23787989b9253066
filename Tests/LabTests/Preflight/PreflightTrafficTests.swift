import Glibc
import Lab
import Testing

/// Findings about what ports let through: each is found, shown to matter, and gone after the suggested remedy.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct PreflightTrafficTests {
    private static let mac = CommandLineLab.mac

    @Test func nothingIsWrong() throws {
        try CommandLineLab.run { lab in
            try lab.preflight()
            try lab.prepare()
            try lab.preflight("vm1")
            try lab.moved(to: "standby")
            #expect(try lab.fromNetwork() == ["tap0-far"])
        }
    }

    @Test func mtuSmaller() throws {
        try CommandLineLab.run { lab in
            for port in ["uplink0", "vfrep0", "tap0"] { try lab.script("ip link set \(port)-far mtu 9000") }
            try lab.script("ip link set uplink0 mtu 9000\nip link set vfrep0 mtu 9000")
            try lab.preflight(finds: "loses mtu-smaller tap0")
            try lab.preflight(CommandLineLab.arguments + " --waive mtu-smaller", also: "waived: loses mtu-smaller tap0")
            try lab.refused("prepare vm1 \(CommandLineLab.arguments)", code: 3, saying: "1500", "--waive mtu-smaller")
            let prepared = try lab.prepare("--waive mtu-smaller")
            #expect(prepared.output.contains("waived: loses mtu-smaller tap0"))
            #expect(try lab.fromNetwork(size: 3000) == ["vfrep0-far"])
            let json = try lab.fdbsteer("switch vm1 --to standby --json")
            #expect(json.exitCode == 0 && json.output.contains("\"code\" : \"mtu-smaller\""), "\(json.output)")
            #expect(try lab.fromNetwork(size: 1400) == ["tap0-far"])
            #expect(try lab.fromNetwork(size: 3000) == [])
            try lab.script("ip link set tap0 mtu 9000")
            #expect(try lab.fromNetwork(size: 3000) == ["tap0-far"])
            try lab.preflight("vm1")
            // The reverse.
            try lab.script("ip link set vfrep0 mtu 1500")
            try lab.preflight("vm1", finds: "loses mtu-smaller vfrep0")
            try lab.moved(to: "primary", saying: "note: loses mtu-smaller vfrep0")
            #expect(try lab.fromNetwork(size: 3000) == [])
            // Only the uplink's MTU is small: outgoing frames are lost, and preflight notes it.
            try lab.script("ip link set vfrep0 mtu 9000\nip link set uplink0 mtu 1500")
            try lab.preflight("vm1", also: "note uplink-mtu-smaller uplink0")
            #expect(try !lab.reachesNetwork(by: "vfrep0", size: 3000))
            #expect(try lab.reachesNetwork(by: "vfrep0", size: 1400))
        }
    }

    @Test(arguments: [
        ("flood", "unicast-flood", CommandLineLab.stranger),
        ("mcast_flood", "multicast-flood", "01:00:5e:01:02:03"),
        ("bcast_flood", "broadcast-flood", CommandLineLab.everybody),
    ])
    func flooding(flag: String, code: String, destination: String) throws {
        try CommandLineLab.run { lab in
            try lab.script("bridge link set dev tap0 \(flag) off")
            try lab.preflight(finds: "loses \(code) tap0")
            #expect(try lab.prepare().output.contains("note: loses \(code) tap0"))
            try lab.moved(to: "standby", saying: "note: loses \(code) tap0")
            #expect(try lab.fromNetwork(to: destination) == ["vfrep0-far"])
            try lab.script("bridge link set dev tap0 \(flag) on")
            try lab.preflight("vm1")
            #expect(try lab.fromNetwork(to: destination) == ["vfrep0-far", "tap0-far"])
            // The standby forwards frames that the primary does not.
            try lab.script("bridge link set dev vfrep0 \(flag) off")
            try lab.preflight("vm1", finds: "leaks \(code) tap0")
            #expect(try lab.fromNetwork(to: destination) == ["tap0-far"])
            try lab.script("bridge link set dev tap0 \(flag) off")
            try lab.preflight("vm1")
            #expect(try lab.fromNetwork(to: destination) == [])
        }
    }

    @Test func isolated() throws {
        try CommandLineLab.run { lab in
            try lab.lab.addPort("other0")
            let other = "52:54:00:00:00:77"
            try lab.script(
                "bridge link set dev other0 isolated on\nbridge fdb add \(other) dev other0 master static\n"
                    + "bridge link set dev tap0 isolated on")
            func reaches(by port: String) throws -> Bool {
                try !FrameProbe(to: other, from: PreflightTrafficTests.mac).send(
                    from: port + "-far", lookingAt: "other0-far"
                ).isEmpty
            }
            try lab.preflight(finds: "loses isolated tap0")
            try lab.prepare()
            #expect(try reaches(by: "vfrep0"))
            try lab.moved(to: "standby", saying: "note: loses isolated tap0")
            #expect(try !reaches(by: "tap0"))
            try lab.script("bridge link set dev tap0 isolated off")
            try lab.preflight("vm1")
            #expect(try reaches(by: "tap0"))
            try lab.script("bridge link set dev vfrep0 isolated on")
            try lab.preflight("vm1", finds: "leaks isolated tap0")
            #expect(try !reaches(by: "vfrep0"))
            #expect(try reaches(by: "tap0"))
            try lab.script("bridge link set dev tap0 isolated on")
            try lab.preflight("vm1")
            #expect(try !reaches(by: "tap0"))
        }
    }

    @Test func lockedAndSourceCheck() throws {
        try CommandLineLab.run { lab in
            let stranger = CommandLineLab.stranger
            try lab.script("bridge link set dev tap0 locked on")
            try lab.preflight(finds: "loses locked tap0")
            try lab.prepare()
            // Before the entry exists, and with a MAC that is not redirected.
            #expect(try !lab.reachesNetwork(by: "tap0"))
            try lab.moved(to: "standby", saying: "note: loses locked tap0")
            #expect(try lab.reachesNetwork(by: "tap0"))
            #expect(try !lab.reachesNetwork(by: "tap0", source: stranger))
            try lab.script("bridge link set dev tap0 locked off")
            try lab.preflight("vm1")
            #expect(try lab.reachesNetwork(by: "tap0", source: stranger))
            try lab.script("bridge link set dev vfrep0 locked on")
            try lab.preflight("vm1", finds: "loses locked vfrep0", "leaks source-check-missing tap0")
            #expect(try !lab.reachesNetwork(by: "vfrep0", source: stranger))
            #expect(try lab.reachesNetwork(by: "tap0", source: stranger))
            try lab.script("bridge link set dev tap0 locked on")
            #expect(try !lab.reachesNetwork(by: "tap0", source: stranger))
        }
    }

    @Test func neighbourSuppression() throws {
        try CommandLineLab.run { lab in
            func announced() throws -> Set<String> {
                try FrameProbe.gratuitousARP(from: lab.lab.peerMAC).send(
                    from: "uplink0-far", lookingAt: "vfrep0-far", "tap0-far")
            }
            try lab.script("bridge link set dev tap0 neigh_suppress on")
            try lab.preflight(finds: "loses neigh-suppress tap0")
            try lab.prepare()
            try lab.moved(to: "standby", saying: "note: loses neigh-suppress tap0")
            #expect(try announced() == ["vfrep0-far"])
            try lab.script("bridge link set dev tap0 neigh_suppress off")
            try lab.preflight("vm1")
            #expect(try announced() == ["vfrep0-far", "tap0-far"])
            try lab.script("bridge link set dev vfrep0 neigh_suppress on")
            try lab.preflight("vm1", also: "note neigh-suppress vfrep0")
        }
    }

    @Test func hairpin() throws {
        try CommandLineLab.run { lab in
            func comesBack(to mac: String, by port: String) throws -> Bool {
                try !FrameProbe(to: mac, from: PreflightTrafficTests.mac).send(
                    from: port + "-far", lookingAt: port + "-far"
                ).isEmpty
            }
            try lab.script("bridge link set dev tap0 hairpin on")
            try lab.preflight(finds: "leaks hairpin tap0")
            try lab.prepare()
            try lab.moved(to: "standby", saying: "note: leaks hairpin tap0")
            #expect(try comesBack(to: CommandLineLab.everybody, by: "tap0"))
            try lab.script("bridge link set dev tap0 hairpin off")
            try lab.preflight("vm1")
            #expect(try !comesBack(to: CommandLineLab.everybody, by: "tap0"))
            // A second MAC behind the same port, which only a hairpin reaches.
            try lab.script("bridge link set dev vfrep0 hairpin on")
            try lab.preflight("vm1", finds: "loses hairpin tap0")
            let nested = "52:54:00:00:00:02"
            try lab.script("bridge fdb replace \(nested) dev vfrep0 master static")
            #expect(try comesBack(to: nested, by: "vfrep0"))
            try lab.script("bridge fdb replace \(nested) dev tap0 master static")
            #expect(try !comesBack(to: nested, by: "tap0"))
            try lab.script("bridge link set dev tap0 hairpin on")
            #expect(try comesBack(to: nested, by: "tap0"))
        }
    }

    /// The kernel's spanning tree takes 4 s to forward, the shortest possible time.
    @Test func bpduGuard() throws {
        try CommandLineLab.run { lab in
            try lab.script("bridge link set dev tap0 guard on")
            try lab.preflight(also: "note bpdu-guard tap0")
            try lab.script("ip link set br0 type bridge forward_delay 200\nip link set br0 type bridge stp_state 1")
            #expect(try lab.forwards("tap0") && lab.forwards("uplink0") && lab.forwards("vfrep0"))
            try lab.preflight(finds: "loses bpdu-guard tap0")
            try lab.prepare()
            try lab.moved(to: "standby", saying: "note: loses bpdu-guard tap0")
            // LLC 42 42 03, a configuration BPDU of the lowest priority.
            let bpdu = FrameProbe(
                to: "01:80:c2:00:00:00", from: PreflightTrafficTests.mac, type: 38,
                payload: [0x42, 0x42, 3, 0, 0, 0, 0, 0] + [UInt8](repeating: 0xff, count: 27))
            _ = try bpdu.send(from: "tap0-far", lookingAt: "tap0-far")
            #expect(try Command.run(["bridge", "link", "show", "dev", "tap0"]).output.contains("state disabled"))
            #expect(try lab.fromNetwork() == [])
            try lab.preflight("vm1", finds: "blocks not-forwarding tap0", "loses bpdu-guard tap0")
            try lab.script("bridge link set dev tap0 guard off\nip link set tap0 down\nip link set tap0 up")
            #expect(try lab.forwards("tap0"))
            _ = try bpdu.send(from: "tap0-far", lookingAt: "tap0-far")
            #expect(try lab.fromNetwork() == ["tap0-far"])
            try lab.preflight("vm1")
        }
    }

    @Test func learningOn() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.moved(to: "standby")
            try lab.script("bridge link set dev vfrep0 learning on")
            try lab.preflight("vm1", finds: "loses learning-on vfrep0")
            try BridgeLab.sendFrame(behind: "vfrep0", source: PreflightTrafficTests.mac)
            #expect(try lab.fromNetwork() == ["vfrep0-far"])
            // Whoever looks at the guest says the same of the port, and reconcile mends it.
            for verb in ["verify vm1", "status", "status vm1"] {
                let output = try lab.fdbsteer(verb).output
                #expect(output.contains("problem: vfrep0: learning is on"), "\(verb): \(output)")
            }
            let reconciled = try lab.fdbsteer("reconcile")
            #expect(reconciled.exitCode == 0 && !reconciled.output.contains("problem"), "\(reconciled.output)")
            #expect(try !lab.fdbsteer("status").output.contains("problem"))
            try lab.moved(to: "standby")
            try BridgeLab.sendFrame(behind: "vfrep0", source: PreflightTrafficTests.mac)
            #expect(try lab.fromNetwork() == ["tap0-far"])
            try lab.preflight("vm1")
            // What reconcile cannot mend it tells.
            try lab.script("ip link set vfrep0 nomaster")
            let without = try lab.fdbsteer("reconcile")
            #expect(without.exitCode == 0 && without.output.contains("vm1: problem: vfrep0: "), "\(without.output)")
        }
    }
}
