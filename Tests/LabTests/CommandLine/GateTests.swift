import Glibc
import Lab
import Testing

/// While a guest is awaited, nothing with its MAC leaves a port with a gate.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct GateTests {
    private static let mac = CommandLineLab.mac
    private static let prepare =
        "prepare vm1 --bridge br0 --port tap0 --uplink uplink0 --address \(mac) --at remote --gate"

    /// How many of 100 broadcast frames from the guest's port reach the uplink's far end.
    private static func leaks(_ source: String = mac) throws -> Int {
        let tally = try FrameTally([BridgeLab.far("uplink0")])
        let counts = try tally.send(
            100, from: BridgeLab.far("tap0"), to: "ff:ff:ff:ff:ff:ff", source: source)
        return counts[BridgeLab.far("uplink0")]?.count ?? -1
    }

    private static func isLocked(_ port: String = "tap0") throws -> Bool {
        try Command.run(["bridge", "-d", "link", "show", "dev", port]).output.contains("locked on")
    }

    @Test func nothingLeavesBeforeTheGuestIsHereAndEverythingAfter() throws {
        try CommandLineLab.run { lab in
            let before = try lab.table()
            let prepared = try lab.fdbsteer(GateTests.prepare)
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            #expect(try lab.fdbsteer("status").output.contains("gate closed"))
            #expect(TextFile.read(lab.state + "/guests/vm1.json").contains("\"version\" : 2"))
            #expect(try GateTests.leaks() == 0)
            #expect(try lab.lab.entry(GateTests.mac)?.contains("dev uplink0 master br0 static") == true)
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)

            #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
            #expect(try GateTests.leaks() == 100)
            // Another MAC of the guest's, which nobody prepared.
            #expect(try GateTests.leaks("52:54:00:00:00:99") == 100)
            #expect(try lab.fdbsteer("status").output.contains("gate open"))
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)

            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            #expect(try GateTests.leaks() == 0 && GateTests.isLocked())
            // Somebody opens it.
            try Command.script("bridge link set dev tap0 locked off")
            let verified = try lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 3 && verified.output.contains("its gate is open"), "\(verified.output)")
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try GateTests.isLocked())

            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            _ = try Command.run(["bridge", "fdb", "del", GateTests.mac, "dev", "uplink0", "master"])
            _ = try Command.run(["bridge", "fdb", "del", "52:54:00:00:00:99", "dev", "tap0", "master"])
            #expect(try lab.table() == before)
        }
    }

    /// A primary that is made anew while the guest is elsewhere has neither gate nor learning off.
    @Test func aPrimaryThatComesBackIsClosedToo() throws {
        try CommandLineLab.run { lab in
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(GateTests.mac) --at remote "
                    + "--gate")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let configuration = "[[guest]]\nid = \"vm1\"\nreturn_to_primary = \"when-back\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                #expect(try GateTests.isLocked("vfrep0"))
                try Command.script("ip link del vfrep0")
                try lab.lab.addPort("spare0")
                // Nothing is heard of the port after this.
                try Command.script("ip link set spare0 name vfrep0")
                try lab.waitUntil { try GateTests.isLocked("vfrep0") }
                try lab.waitUntil { try lab.fdbsteer("verify vm1").exitCode == 0 }
                #expect(daemon.count("the primary is back") == 0, "\(daemon.log)")
            }
        }
    }

    /// The guest's first frame is dropped by its port, and seen all the same.
    @Test func theFirstFrameCanBeTheSignal() throws {
        try CommandLineLab.run { lab in
            #expect(try lab.fdbsteer(GateTests.prepare).exitCode == 0)
            let waiting = try RunningCommand(
                [
                    CommandLineLab.binary, "switch", "vm1", "--to", "local", "--until", "frame:local", "--timeout",
                    "20s",
                    "--state", lab.state,
                ])
            for _ in 0..<500 {
                if try lab.fdbsteer("status").output.contains("waiting") { break }
                usleep(10_000)
            }
            try BridgeLab.sendFrame(behind: "tap0", source: GateTests.mac)
            #expect(waiting.wait().exitCode == 0)
            #expect(try lab.lab.entry(GateTests.mac)?.contains("dev tap0 master br0 static") == true)
            #expect(try !GateTests.isLocked())
        }
    }

    @Test func aDaemonOpensNoGateForFramesAndShutsOneThatOthersOpened() throws {
        try CommandLineLab.run { lab in
            #expect(try lab.fdbsteer(GateTests.prepare).exitCode == 0)
            try DaemonLab.run(in: lab) { daemon in
                for _ in 0..<10 {
                    #expect(try GateTests.leaks() == 0)
                    usleep(100_000)
                }
                try Command.script("bridge link set dev tap0 locked off")
                for _ in 0..<1000 {
                    if try GateTests.isLocked() { break }
                    usleep(10_000)
                }
                #expect(try GateTests.leaks() == 0)
                #expect(daemon.count("redirected") == 0, "\(daemon.log)")
                #expect(try lab.fdbsteer("status --json").output.contains("\"side\" : \"remote\""))
            }
        }
    }

    /// A pair has a gate at both ports.
    @Test func bothPortsOfAPairAreShut() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--gate")
            #expect(try !GateTests.isLocked("tap0") && !GateTests.isLocked("vfrep0"))
            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            #expect(try GateTests.isLocked("tap0") && GateTests.isLocked("vfrep0"))
            #expect(try GateTests.leaks() == 0)
            try lab.refused(
                "switch vm1 --to primary --strategy bracket --allow-duplicates", code: 3, saying: "its gate is closed")
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            #expect(try !GateTests.isLocked("tap0") && !GateTests.isLocked("vfrep0"))
            #expect(try GateTests.leaks() == 100)
        }
    }

    /// What a killed switch left is put right by the next, whichever way that goes.
    @Test func aSwitchAfterAKilledOneSetsTheGate() throws {
        try CommandLineLab.run { lab in
            #expect(try lab.fdbsteer(GateTests.prepare).exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
            // As if it had been killed after the lock.
            try Command.script("bridge link set dev tap0 locked on")
            #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
            #expect(try !GateTests.isLocked())
            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            try Command.script("bridge link set dev tap0 locked off")
            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            #expect(try GateTests.isLocked())
        }
    }

    /// The fabric's frames with the guest's MAC move its entry, and close no gate.
    @Test func noFrameOfTheFabricClosesAGate() throws {
        try CommandLineLab.run(flooding: false) { lab in
            #expect(try lab.fdbsteer(GateTests.prepare).exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
            try DaemonLab.run(in: lab) { daemon in
                // The guest's link is down, while frames with its MAC arrive from the fabric.
                try Command.script("ip link set \(BridgeLab.far("tap0")) down")
                for _ in 0..<100 {
                    try BridgeLab.sendFrame(behind: "uplink0", source: GateTests.mac)
                    if daemon.count("only a switch closes its gate") > 0 { break }
                    usleep(50_000)
                }
                try daemon.waitFor("only a switch closes its gate")
                #expect(try !GateTests.isLocked())
                #expect(try lab.fdbsteer("status --json").output.contains("\"side\" : \"local\""))
                try Command.script("ip link set \(BridgeLab.far("tap0")) up")
                for _ in 0..<500 {
                    if try lab.lab.entry(GateTests.mac)?.contains("dev tap0 ") == true { break }
                    try BridgeLab.sendFrame(behind: "tap0", source: GateTests.mac)
                    usleep(20_000)
                }
                try daemon.waitForEntry("dev tap0 master br0 static")
            }
        }
    }

    @Test func whereNoGateCanBeIsSaid() throws {
        try CommandLineLab.run { lab in
            let begin = "prepare vm1 --bridge br0 --port tap0 --address \(GateTests.mac) --gate"
            try lab.refused("\(begin) --at local", code: 3, saying: "no uplink")
            try Command.script("bridge link set dev tap0 locked on")
            try lab.refused("\(begin) --at remote --uplink uplink0", code: 3, saying: "tap0 is locked already")
            try Command.script("bridge link set dev tap0 locked off")
            try BridgeLab.sendFrame(behind: "tap0", source: "52:54:00:00:00:55")
            try lab.refused("\(begin) --at remote --uplink uplink0", code: 3, saying: "locked out", "leave --gate out")
        }
    }

    /// Killed at any message to the kernel: shut as long as the entry is not on the port, and put right by `reconcile`.
    @Test(arguments: ["prepare", "switch vm1 --to local", "switch vm1 --to remote", "release vm1"])
    func killedAnywhereItIsShut(_ verb: String) throws {
        try CommandLineLab.run { lab in
            var kills = 0
            for step in 1..<100 {
                if verb != "prepare" {
                    #expect(try lab.fdbsteer(GateTests.prepare).exitCode == 0)
                    if verb == "switch vm1 --to remote" {
                        #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
                    }
                }
                let words = verb == "prepare" ? GateTests.prepare : verb
                let command = try Command.run(
                    [
                        "strace", "-f", "-o", "/dev/null", "-e", "trace=sendmsg", "-e",
                        "inject=sendmsg:signal=KILL:when=\(step)", CommandLineLab.binary,
                    ] + words.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
                let entry = try lab.lab.entry(GateTests.mac) ?? ""
                if verb.hasPrefix("switch") {
                    #expect(
                        try GateTests.leaks() == (entry.contains("dev tap0 ") ? 100 : 0), "\(verb) \(step): \(entry)")
                }
                #expect(try lab.fdbsteer("reconcile").exitCode == 0)
                let status = try lab.fdbsteer("status --json").output
                let isRemote = status.contains("\"side\" : \"remote\"")
                #expect(try GateTests.isLocked() == isRemote, "\(verb) \(step): \(status)")
                if status.contains("vm1") {
                    #expect(try lab.fdbsteer("verify vm1").exitCode == 0, "\(verb) \(step)")
                    #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                }
                #expect(try !GateTests.isLocked())
                for port in ["tap0", "uplink0"] {
                    _ = try Command.run(["bridge", "fdb", "del", GateTests.mac, "dev", port, "master"])
                }
                if command.exitCode == 0 { break }
                kills += 1
            }
            #expect(kills >= 2, "\(verb): only \(kills) kills")
        }
    }
}
