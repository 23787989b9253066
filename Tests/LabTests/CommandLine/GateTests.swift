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

    /// Whether nftables shuts the port.
    private static func isShut() throws -> Bool {
        try Command.run(["nft", "list", "ruleset"]).output.contains("\"tap0\" . \(mac)")
    }

    /// The means of a gate: the flag, or nftables as after a driver's refusal.
    enum Means: String, CaseIterable, Sendable {
        case lock, table

        /// Prepares vm1; for the table the kernel's answer to the lock is replaced by a refusal.
        func prepare(_ lab: CommandLineLab) throws -> Command {
            if self == .lock { return try lab.fdbsteer(GateTests.prepare) }
            let words = [CommandLineLab.binary] + GateTests.prepare.split(separator: " ").map(String.init)
            let environment = ["FDBSTEER_STATE": lab.state]
            func traced(_ options: [String]) throws -> Command {
                // The program nft is not needed.
                try Command.run(
                    ["strace", "-E", "PATH=/nonexistent", "-f", "-o", lab.state + "-trace", "-e", "trace=sendmsg"]
                        + options + words, environment: environment)
            }
            defer { unlink(lab.state + "-trace") }
            #expect(try traced([]).exitCode == 0)
            let calls = TextFile.read(lab.state + "-trace").split(separator: "\n").filter { $0.contains("sendmsg(") }
            let lock = try #require(calls.firstIndex { $0.contains("RTM_SETLINK") }) + 1
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            try Command.script("bridge fdb del \(GateTests.mac) dev uplink0 master")
            return try traced(["-e", "inject=sendmsg:error=EOPNOTSUPP:when=\(lock)"])
        }
    }

    @Test(arguments: Means.allCases) func nothingLeavesBeforeTheGuestIsHereAndEverythingAfter(by means: Means) throws {
        try CommandLineLab.run { lab in
            let before = try lab.table()
            let prepared = try means.prepare(lab)
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            #expect(prepared.output.contains("takes no lock") == (means == .table), "\(prepared.output)")
            #expect(try lab.fdbsteer("status").output.contains("gate closed"))
            #expect(try lab.fdbsteer("status --json").output.contains("\"gate_by\" : \"\(means.rawValue)\""))
            let version = means == .lock ? 2 : 3
            #expect(TextFile.read(lab.state + "/guests/vm1.json").contains("\"version\" : \(version)"))
            #expect(try GateTests.isLocked() == (means == .lock) && GateTests.isShut() == (means == .table))
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
            #expect(try GateTests.leaks() == 0)
            #expect(try GateTests.isLocked() == (means == .lock) && GateTests.isShut() == (means == .table))
            // Somebody opens it.
            try Command.script(means == .lock ? "bridge link set dev tap0 locked off" : "nft flush ruleset")
            let verified = try lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 3 && verified.output.contains("its gate is open"), "\(verified.output)")
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try GateTests.leaks() == 0)
            #expect(try GateTests.isLocked() == (means == .lock) && GateTests.isShut() == (means == .table))

            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            #expect(try Command.run(["nft", "list", "ruleset"]).output == "")
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
                usleep(500_000)
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

    @Test(arguments: Means.allCases) func aDaemonOpensNoGateForFramesAndShutsOneThatOthersOpened(by means: Means) throws
    {
        try CommandLineLab.run { lab in
            #expect(try means.prepare(lab).exitCode == 0)
            try DaemonLab.run(in: lab) { daemon in
                for _ in 0..<10 {
                    #expect(try GateTests.leaks() == 0)
                    usleep(100_000)
                }
                // The daemon hears of ports, and not of nftables: a port that changes makes it look there too.
                try Command.script(
                    means == .lock
                        ? "bridge link set dev tap0 locked off" : "nft flush ruleset\nip link set uplink0 alias x")
                for _ in 0..<1000 {
                    if try means == .lock ? GateTests.isLocked() : GateTests.isShut() { break }
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
    @Test(arguments: Means.allCases) func aSwitchAfterAKilledOneSetsTheGate(by means: Means) throws {
        try CommandLineLab.run { lab in
            #expect(try means.prepare(lab).exitCode == 0)
            for (killed, next) in [("local", "remote"), ("remote", "local"), ("local", "local"), ("remote", "remote")] {
                for step in 1..<20 {
                    #expect(try lab.fdbsteer("switch vm1 --to \(killed == "local" ? "remote" : "local")").exitCode == 0)
                    let command = try Command.run(
                        [
                            "strace", "-f", "-o", "/dev/null", "-e", "trace=sendmsg", "-e",
                            "inject=sendmsg:signal=KILL:when=\(step)", CommandLineLab.binary, "switch", "vm1", "--to",
                            killed,
                        ], environment: ["FDBSTEER_STATE": lab.state])
                    #expect(try lab.fdbsteer("switch vm1 --to \(next)").exitCode == 0)
                    let leaks = try GateTests.leaks()
                    #expect(
                        leaks == (next == "local" ? 100 : 0), "\(killed), killed at \(step), then \(next): \(leaks)")
                    if command.exitCode == 0 { break }
                }
            }
        }
    }

    /// Who locks the port of a guest that is here has his reasons (802.1X): the lock is named and left, and given back with the port.
    @Test(arguments: Means.allCases) func aLockOfOthersIsLeft(by means: Means) throws {
        try CommandLineLab.run { lab in
            #expect(try means.prepare(lab).exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
            try DaemonLab.run(in: lab) { daemon in
                try Command.script("bridge link set dev tap0 locked on")
                for _ in 0..<200 where daemon.count("tap0") == 0 { usleep(10_000) }
                usleep(300_000)
                #expect(try GateTests.isLocked(), "\(daemon.log)")
            }
            #expect(try lab.fdbsteer("verify vm1").output.contains("tap0: it is locked"))
            let away = ["switch vm1 --to remote", "reconcile", "switch vm1 --to local"]
            for verb in ["reconcile", "switch vm1 --to local", "abort vm1"] + away {
                #expect(try lab.fdbsteer(verb).exitCode == 0, "\(verb)")
                #expect(try GateTests.isLocked(), "\(verb)")
            }
            // Once the others have taken it off while the guest is away, the gate has one of its own.
            for verb in away {
                #expect(try lab.fdbsteer(verb).exitCode == 0, "\(verb)")
                if verb == away[0] { try Command.script("bridge link set dev tap0 locked off") }
                #expect(try GateTests.isLocked() == (verb == "reconcile" && means == .lock), "\(verb)")
            }
            try Command.script("bridge link set dev tap0 locked on")
            let released = try lab.fdbsteer("release vm1")
            #expect(released.exitCode == 0, "\(released.errors)")
            #expect(released.output.contains("tap0 stays locked") == (means == .lock), "\(released.output)")
            #expect(try GateTests.isLocked())
        }
    }

    /// Killed at any message on the guest's way out and back, with the lock of others: it is left, whatever is done next.
    @Test func aLockOfOthersOutlivesAKill() throws {
        try CommandLineLab.run { lab in
            for step in 1..<100 {
                #expect(try lab.fdbsteer(GateTests.prepare).exitCode == 0)
                #expect(try lab.fdbsteer("switch vm1 --to local").exitCode == 0)
                try Command.script("bridge link set dev tap0 locked on")
                let command = try Command.run(
                    [
                        "strace", "-f", "-o", "/dev/null", "-e", "trace=sendmsg", "-e",
                        "inject=sendmsg:signal=KILL:when=\(step)", CommandLineLab.binary, "switch", "vm1", "--to",
                        "remote",
                    ], environment: ["FDBSTEER_STATE": lab.state])
                for verb in ["reconcile", "switch vm1 --to local", "release vm1"] {
                    #expect(try lab.fdbsteer(verb).exitCode == 0, "\(step): \(verb)")
                    #expect(try GateTests.isLocked(), "\(step): \(verb)")
                }
                try Command.script("bridge link set dev tap0 locked off")
                if command.exitCode == 0 { return }
            }
        }
    }

    /// A gate stands on a port of one guest: it would shut the other out, or let it in.
    @Test(arguments: Means.allCases) func aSecondGuestOnAGatedPortIsRefused(by means: Means) throws {
        try CommandLineLab.run { lab in
            #expect(try means.prepare(lab).exitCode == 0)
            let second = "prepare vm2 --bridge br0 --port tap0 --uplink uplink0 --address 52:54:00:00:00:77"
            for side in ["local", "remote"] {
                try lab.refused("\(second) --at \(side)", code: 3, saying: "tap0 has the gate of guest vm1", "release")
            }
            try lab.refused("\(second) --at remote --gate", code: 3, saying: "tap0 has the gate of guest vm1")
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
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
    @Test(arguments: ["prepare", "switch vm1 --to local", "switch vm1 --to remote", "release vm1"], Means.allCases)
    func killedAnywhereItIsShut(_ verb: String, by means: Means) throws {
        // What is killed on the way to a table has not come to it.
        if verb == "prepare", means == .table { return }
        try CommandLineLab.run { lab in
            var kills = 0
            for step in 1..<100 {
                if verb != "prepare" {
                    #expect(try means.prepare(lab).exitCode == 0)
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
                    // A lock lets in what has its entry on the port; a table does so once it is opened.
                    let leaks = try GateTests.leaks()
                    let isHere = entry.contains("dev tap0 ")
                    #expect(
                        leaks == (isHere ? 100 : 0) || means == .table && isHere && leaks == 0,
                        "\(verb) \(step): \(leaks), \(entry)")
                }
                #expect(try lab.fdbsteer("reconcile").exitCode == 0)
                let status = try lab.fdbsteer("status --json").output
                let isRemote = status.contains("\"side\" : \"remote\"")
                let isShut = try means == .lock ? GateTests.isLocked() : GateTests.isShut()
                #expect(isShut == isRemote, "\(verb) \(step): \(status)")
                if status.contains("vm1") {
                    #expect(try lab.fdbsteer("verify vm1").exitCode == 0, "\(verb) \(step)")
                    #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                }
                #expect(try !GateTests.isLocked() && !GateTests.isShut())
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
