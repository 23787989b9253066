import Glibc
import Lab
import Testing

/// Neighbours that send from a guest's addresses, and guests that ask for others'.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct GuardTests {
    private static let mac = CommandLineLab.mac

    /// Sends from the guest's address by the third port, and returns how often its entry was not where it belongs then.
    private static func attack(_ lab: CommandLineLab, times: Int, entry words: String) throws -> Int {
        var taken = 0
        for _ in 0..<times {
            try BridgeLab.sendFrame(behind: "third0", source: mac)
            if try lab.lab.entry(mac)?.contains(words) != true { taken += 1 }
        }
        return taken
    }

    @Test func noThirdPortTakesAPinnedAddress() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.lab.addPort("third0")
            #expect(try Self.attack(lab, times: 50, entry: "dev vfrep0 master br0 static") == 0)
            let verified = try lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 0, "\(verified.output)")
            #expect(verified.output.contains("50 frames from \(Self.mac) by third0 (ifindex "), "\(verified.output)")
            for side in ["standby", "remote", "primary"] {
                #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
                let port = ["standby": "tap0", "remote": "uplink0"][side] ?? "vfrep0"
                #expect(try Self.attack(lab, times: 5, entry: "dev \(port) master br0 static") == 0)
            }
            // A guest that leaves, and comes back, is let through.
            try BridgeLab.sendFrame(behind: "uplink0", source: Self.mac)
            #expect(try lab.lab.entry(Self.mac)?.contains("dev uplink0") == true)
            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            try BridgeLab.sendFrame(behind: "tap0", source: Self.mac)
            #expect(try lab.lab.entry(Self.mac)?.contains("dev tap0") == true)
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            #expect(try Command.run(["nft", "list", "tables"]).output == "")
            #expect(try Self.attack(lab, times: 1, entry: "dev third0") == 0)
        }
    }

    @Test func aGuardThatIsGoneIsTold() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try Command.script("nft flush ruleset")
            let verified = try lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 3 && verified.output.contains("fdbsteer-guard-"), "\(verified.output)")
            try lab.lab.addPort("third0")
            #expect(try Self.attack(lab, times: 1, entry: "dev third0") == 0)
            let taken = try lab.fdbsteer("verify vm1").output
            #expect(taken.contains("taken by third0 (ifindex "), "\(taken)")
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(try Self.attack(lab, times: 5, entry: "dev vfrep0") == 0)
        }
    }

    @Test func theDaemonMakesAGuardAgain() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try daemon.lab.lab.addPort("third0")
            // The look that the new port causes must be over.
            usleep(1_200_000)
            try Command.script("nft flush ruleset")
            try BridgeLab.sendFrame(behind: "third0", source: Self.mac)
            try daemon.waitFor("repaired")
            #expect(daemon.log.contains("by=\"third0 (ifindex "), "\(daemon.log)")
            try daemon.waitForEntry("dev vfrep0")
            #expect(try Self.attack(daemon.lab, times: 20, entry: "dev vfrep0") == 0)
            #expect(daemon.count("repaired") == 1, "\(daemon.log)")
        }
    }

    @Test func theMetricsHaveTheFramesThatWereDropped() throws {
        try DaemonLab.run(configuration: "[metrics]\nlisten = \"127.0.0.1:9923\"\n") { daemon in
            try Command.script("ip link set lo up")
            try daemon.lab.prepare()
            try daemon.lab.lab.addPort("third0")
            #expect(try Self.attack(daemon.lab, times: 7, entry: "dev vfrep0") == 0)
            let metric = "\nfdbsteer_guard_dropped_frames_total{guest=\"vm1\"} "
            var page = ""
            for _ in 0..<300 where !page.contains(metric + "7\n") {
                page = try HTTPConnection.get("/metrics", port: 9923).body
                usleep(100_000)
            }
            #expect(page.contains(metric + "7\n"), "\(page)")
        }
    }

    /// Without the guard the daemon does not concede the fight.
    @Test func aGuestThatCannotBeGuardedIsHeldWhileItIsFoughtOver() throws {
        try DaemonLab.run(configuration: "[daemon]\nrepair_burst = 3\n") { daemon in
            try daemon.lab.prepare("--no-guard")
            try daemon.lab.lab.addPort("third0")
            for _ in 0..<10 where daemon.count("something undoes") == 0 {
                try BridgeLab.sendFrame(behind: "third0", source: Self.mac)
                try daemon.waitForEntry("dev vfrep0")
            }
            try daemon.waitFor("something undoes")
            try daemon.waitForEntry("dev vfrep0 sticky")
            #expect(try Self.attack(daemon.lab, times: 50, entry: "dev vfrep0") == 0)
            // A look that finds everything as intended meanwhile neither ends it nor forgets its end.
            kill(daemon.process, SIGHUP)
            try daemon.waitFor("configuration read again")
            try daemon.waitFor("reason=reload")
            #expect(daemon.count("msg=\"condition over\" code=repairs-fought") == 0, "\(daemon.log)")
            // It is let roam again, and held at once when that is used.
            for _ in 0..<1000 {
                if try daemon.lab.lab.entry(Self.mac)?.contains("sticky") == false { break }
                usleep(10_000)
            }
            let verified = try daemon.lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 0, "\(verified.output)\(daemon.log)")
            try BridgeLab.sendFrame(behind: "third0", source: Self.mac)
            try daemon.waitForEntry("dev vfrep0 sticky")
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try daemon.waitForEntry("dev tap0")
            #expect(daemon.count("repaired") <= 4, "\(daemon.log)")
        }
    }
}
