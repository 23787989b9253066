import Glibc
import Lab
import Testing

/// What fdbsteerd outlives.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct SurvivalTests {
    /// Starts a daemon whose log goes to a FIFO, and runs `body` with the reading end, which it may close.
    private func withLogInAPipe(
        _ lab: CommandLineLab, listen: String, _ body: (pid_t, inout Int32) throws -> Void
    ) throws {
        let (fifo, file) = (lab.state + "/log", lab.state + "/d.toml")
        try TextFile.write("[metrics]\nlisten = \"\(listen)\"\n[log]\nlevel = \"debug\"\n", to: file)
        try #require(mkfifo(fifo, 0o600) == 0)
        var reader = open(fifo, O_RDONLY | O_NONBLOCK)
        try #require(reader >= 0)
        let daemon = try RunningCommand(
            ["sh", "-c", "exec \(CommandLineLab.products)/fdbsteerd --config \(file) --state \(lab.state) 2>\(fifo)"])
        var failure: (any Error)?
        do {
            var text = ""
            for _ in 0..<1000 where !text.contains("watching") {
                text += SurvivalTests.taken(from: reader)
                usleep(10_000)
            }
            try #require(text.contains("watching"))
            try body(daemon.process, &reader)
        } catch {
            failure = error
        }
        kill(daemon.process, SIGTERM)
        #expect(daemon.wait().exitCode == 0)
        if reader >= 0 { close(reader) }
        if let failure { throw failure }
    }

    private static func taken(from reader: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = read(reader, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    private func expectRepair(_ lab: CommandLineLab, _ attack: String) throws {
        try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
        for _ in 0..<300 {
            if try lab.lab.entry(CommandLineLab.mac)?.contains("vfrep0 master br0 static") == true { return }
            usleep(10_000)
        }
        Issue.record("not repaired: \(attack)")
    }

    @Test(arguments: ["off", "127.0.0.1:9923"])
    func theEndOfItsLogsReader(listen: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try withLogInAPipe(lab, listen: listen) { _, reader in
                close(reader)
                reader = -1
                for number in 1...3 { try expectRepair(lab, "repair \(number) without a reader") }
            }
        }
    }

    @Test func aReaderOfItsLogThatDoesNotRead() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try withLogInAPipe(lab, listen: "off") { process, reader in
                // The smallest pipe: a page (F_SETPIPE_SZ).
                #expect(fcntl(reader, 1031, 4096) >= 4096)
                for _ in 0..<100 { kill(process, SIGHUP); usleep(2000) }
                try expectRepair(lab, "the pipe is full")
                var text = SurvivalTests.taken(from: reader)
                try expectRepair(lab, "the pipe was emptied")
                for _ in 0..<100 where !text.contains("repaired") {
                    text += SurvivalTests.taken(from: reader)
                    usleep(10_000)
                }
                #expect(text.contains(/lines of this log were lost, for nobody read them" count=\d\d/), "\(text)")
            }
        }
    }

    /// Sends 2,000 frames a second to the guest.
    private static func send(seconds: Int) -> [String] {
        [
            CommandLineLab.products + "/fdbsteer-bench", "send", "--interface", BridgeLab.far("uplink0"), "--receive",
            BridgeLab.far("vfrep0"), "--destination", CommandLineLab.mac, "--rate", "2000", "--seconds", "\(seconds)",
        ]
    }

    @Test func thePortGoesWhileItsRateIsWatched() throws {
        try DaemonLab.run(configuration: "[bracket]\nmax_rate = 100000\n") { daemon in
            try daemon.lab.prepare("--kind net_failover")
            // The daemon looks at the counters every half second.
            _ = try Command.run(SurvivalTests.send(seconds: 1))
            usleep(700_000)
            try Command.script("ip link set vfrep0-far down")
            usleep(60_000)
            try Command.script("ip link del vfrep0")
            try daemon.waitForEntry("dev tap0 master br0 static")
        }
    }

    @Test func aBracketIsRefusedByTheRateThatWasSeenBeforehand() throws {
        try DaemonLab.run(configuration: "[bracket]\nmax_rate = 100\n") { daemon in
            try daemon.lab.prepare("--kind net_failover")
            let sender = try RunningCommand(SurvivalTests.send(seconds: 3))
            usleep(1_500_000)
            try Command.script("ip link set vfrep0-far down")
            try daemon.waitFor("code=no-carrier")
            // The reason is not hidden by what the rules say of the port.
            try daemon.waitFor("msg=condition code=bracket-refused")
            #expect(
                daemon.log.contains("no bracket was opened") && daemon.log.contains("frames a second"), "\(daemon.log)")
            // Without the limit a bracket would be open by now.
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
            #expect(try daemon.lab.fdbsteer("status").output.contains("primary  pinned"))
            _ = sender.wait()
        }
    }

    @Test func aConfiguredGuestThatIsNotPreparedIsToldOnce() throws {
        try DaemonLab.run(configuration: "[[guest]]\nid = \"vm1\"\n[[guest]]\nid = \"vmm2\"\n") { daemon in
            try daemon.waitFor("msg=\"configured, but not prepared here\" guest=vmm2")
            try daemon.lab.prepare()
            // It knows the guest once it has repaired it.
            try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
            try daemon.waitFor("repaired")
            #expect(try daemon.lab.fdbsteer("release vm1").exitCode == 0)
            try daemon.waitFor("not prepared here\" guest=vm1", times: 2)
            #expect(daemon.count("not prepared here\" guest=vmm2") == 1, "\(daemon.log)")
        }
    }
}
