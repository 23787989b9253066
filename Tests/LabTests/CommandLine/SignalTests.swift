import Glibc
import Lab
import QMP
import Testing

/// Redirections that wait for a signal, through the command line.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct SignalTests {
    @Test func waitsForTheCarrierAndSaysSo() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let running = try lab.startWaiting("carrier:primary=down", "word")
            let status = try lab.fdbsteer("status vm1").output
            let metrics = try lab.fdbsteer("metrics").output
            #expect(metrics.contains("fdbsteer_guest_states{state=\"waiting\"} 1"), "\(metrics)")
            #expect(status.contains("waiting to standby for carrier:primary=down or word since"), "\(status)")
            #expect(try lab.fdbsteer("switch vm1 --to standby --until word").exitCode == 8)
            // Who waits holds nobody up.
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0 && lab.isWaiting())
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(try lab.port() == "vfrep0")
            usleep(1_000_000)
            try Command.script("ip link set vfrep0-far down")
            let command = running.wait()
            #expect(command.exitCode == 0, "\(command.errors)")
            #expect(command.output.contains("signal: vfrep0 has no carrier, after"), "\(command.output)")
            // The wait is no part of the work.
            let history = try lab.fdbsteer("history vm1 --limit 1 --json").output
            let total = try #require(history.firstMatch(of: /"total_ns" : (\d+)/))
            #expect(Int(total.1) ?? .max < 1_000_000_000, "\(history)")
            #expect(try lab.port() == "tap0")
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
        }
    }

    @Test(arguments: [("switch vm1 --to standby", "is on standby by now"), ("release vm1", "was released meanwhile")])
    func aWaitWithoutASignalSaysWhereOthersHaveTakenTheGuest(_ verb: String, _ words: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let running = try lab.startWaiting("carrier:primary=down", timeout: "3s")
            #expect(try lab.fdbsteer(verb).exitCode == 0)
            let command = running.wait()
            #expect(command.exitCode == 6 && command.errors.contains(words), "\(command.errors)")
        }
    }

    @Test func aWaitMovesNoOtherGuestOfTheSameName() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let running = try lab.startWaiting("carrier:primary=down")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            try lab.prepare()
            try Command.script("ip link set vfrep0-far down")
            let command = running.wait()
            #expect(command.exitCode == 3, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("released and prepared anew during the wait"), "\(command.errors)")
            #expect(try lab.port() == "vfrep0")
        }
    }

    @Test func whatIsSoAlreadyIsNotWaitedFor() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let command = try lab.fdbsteer("switch vm1 --to standby --until carrier:standby=up --json")
            #expect(command.exitCode == 0, "\(command.errors)")
            #expect(command.output.contains("\"was_already\" : true"), "\(command.output)")
            #expect(try lab.port() == "tap0")
            // There is also no wait if the guest is already there.
            let again = try lab.fdbsteer("switch vm1 --to standby --until word")
            #expect(again.exitCode == 0 && again.output.contains("already on standby"))
            let planned = try lab.fdbsteer("switch vm1 --to primary --until word --dry-run")
            #expect(planned.exitCode == 0 && planned.output.contains("would wait for word"), "\(planned.output)")
        }
    }

    @Test func whatCannotBeHeardIsSaidAndWhatCanHaveNoEndEnds() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            // The socket's file of a QEMU that has ended.
            let listen = "IO::Socket::UNIX->new(Local => '\(lab.state)/dead', Listen => 1) or die"
            #expect(try Command.run(["perl", "-MIO::Socket::UNIX", "-e", listen]).exitCode == 0)
            let dead = try lab.fdbsteer("switch vm1 --to standby --until qmp:\(lab.state)/dead:STOP --timeout 30s")
            #expect(dead.exitCode == 3 && dead.errors.contains("nobody listens there"), "\(dead.errors)")
            #expect(dead.errors.contains("(name another signal by --until, or switch it"), "\(dead.errors)")
            try TextFile.write("", to: lab.state + "/file")
            let file = try lab.fdbsteer("switch vm1 --to standby --until qmp:\(lab.state)/file:STOP")
            #expect(file.exitCode == 3 && file.errors.contains("/file is no socket"), "\(file.errors)")
            // Another client has the monitor: connected, not greeted.
            let monitor = try FakeMonitor()
            let busy = try lab.fdbsteer("switch vm1 --to standby --until qmp:\(monitor.path):STOP --timeout 1s")
            #expect(busy.exitCode == 6 && busy.errors.contains("fdbsteer: waiting; "), "\(busy.errors)")
            #expect(busy.errors.ranges(of: "it serves one client at a time").count == 2, "\(busy.errors)")
            let running = try lab.startWaiting("frame:primary", timeout: "30s")
            try Command.script("ip link del vfrep0")
            let gone = running.wait()
            #expect(gone.exitCode == 3 && gone.errors.contains("vfrep0 is gone"), "\(gone.errors)")
        }
    }

    @Test func withoutASignalNothingIsChanged() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.refused(
                "switch vm1 --to standby --until carrier:primary=down --timeout 50ms", code: 6,
                saying: "no signal came in 50 ms", "stays on primary")
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
        }
    }

    @Test(
        arguments: [
            ("qmp:/nonexistent:STOP", 3, "no monitor socket /nonexistent"),
            ("carrier:nothere=up", 3, "no interface nothere"),
            ("bus-master:0000:ff:1f.7=on", 3, "cannot be read"), ("command:/nonexistent", 3, "cannot be run"),
            ("frame:nothere", 3, "no interface nothere"), ("nonsense", 64, "signal \"nonsense\""),
        ] as [(String, Int32, String)])
    func whatCannotBeWaitedForIsRefused(signal: String, code: Int32, words: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.refused("switch vm1 --to standby --until \(signal)", code: code, saying: words)
        }
    }

    @Test func theFirstFrameOfTheGuestByAPort() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let running = try lab.startWaiting("frame:primary")
            let mac = CommandLineLab.mac
            // A hypervisor's announcement, another guest's frame, and the guest's own frame that the bridge sends out there.
            let announcement = FrameProbe(to: "ff:ff:ff:ff:ff:ff", from: mac, type: 0x8035)
            #expect(try announcement.send(from: "vfrep0-far", lookingAt: "uplink0-far") == ["uplink0-far"])
            let tagged = FrameProbe(to: "ff:ff:ff:ff:ff:ff", from: mac, type: 0x8035, vlan: 7)
            #expect(try tagged.send(from: "vfrep0-far", lookingAt: "uplink0-far") == ["uplink0-far"])
            let other = FrameProbe(to: "ff:ff:ff:ff:ff:ff", from: "52:54:00:00:00:02")
            #expect(try other.send(from: "vfrep0-far", lookingAt: "uplink0-far") == ["uplink0-far"])
            let flooded = FrameProbe(to: "ff:ff:ff:ff:ff:ff", from: mac)
            #expect(try flooded.send(from: "tap0-far", lookingAt: "vfrep0-far") == ["vfrep0-far"])
            usleep(200_000)
            #expect(try lab.isWaiting())
            try BridgeLab.sendFrame(behind: "vfrep0", source: mac)
            let command = running.wait()
            #expect(
                command.exitCode == 0 && command.output.contains("a frame of the guest by vfrep0"), "\(command.errors)")
            #expect(try lab.port() == "tap0")
        }
    }

    @Test func anExternalCommand() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let good = try lab.script("good", "echo this is no JSON\nexit 0")
            let command = try lab.fdbsteer("switch vm1 --to standby --until command:\(good) --json")
            #expect(command.exitCode == 0 && command.output.hasPrefix("{"), "\(command.output)\(command.errors)")
            let bad = try lab.script("bad", "exit 7")
            try lab.refused(
                "switch vm1 --to primary --until command:\(bad)", code: 3, saying: "ended with 7", "nothing was changed"
            )
            // At the end of the wait it is killed with its children.
            let endless = try lab.script("endless", "sleep 600 &\necho $! >\(lab.state)/child\nwait")
            let late = try lab.fdbsteer("switch vm1 --to primary --until command:\(endless) --timeout 2s")
            #expect(late.exitCode == 6, "\(late.errors)")
            let child = TextFile.read(lab.state + "/child")
            let process = try #require(pid_t(child.dropLast()))
            // init has to reap it.
            try lab.waitUntil {
                let state = try Command.run(["sh", "-c", "cut -d' ' -f3 /proc/\(process)/stat 2>/dev/null"]).output
                return state.isEmpty || state == "Z\n"
            }
        }
    }

    @Test func theCallersWord() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let piped = try Command.run(
                ["sh", "-c", "(sleep 0.2; echo go) | \(CommandLineLab.binary) switch vm1 --to standby --until word"],
                environment: ["FDBSTEER_STATE": lab.state])
            #expect(piped.exitCode == 0 && piped.output.contains("a line on standard input"), "\(piped.errors)")
            #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
            let running = try lab.startWaiting("word")
            kill(running.process, SIGUSR1)
            let command = running.wait()
            #expect(
                command.exitCode == 0 && command.output.contains("SIGUSR1"), "\(command.exitCode) \(command.errors)")
        }
    }

    /// A caller does not know when the process that it has started listens.
    @Test func aWordBeforeTheWaitIsHeard() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            // With -D the tracer is another process: this one becomes fdbsteer, which stops at its first message to the kernel.
            let running = try RunningCommand(
                [
                    "strace", "-D", "-o", "/dev/null", "-e", "inject=sendmsg:delay_enter=2000000:when=1",
                    CommandLineLab.binary, "switch", "vm1", "--to", "standby", "--until", "word", "--timeout", "30s",
                ], environment: ["FDBSTEER_STATE": lab.state])
            let process = running.process
            try lab.waitUntil {
                let held = TextFile.read("/proc/\(process)/status").firstMatch(of: /SigBlk:\s*([0-9a-f]+)/)
                return held.flatMap { UInt64($0.1, radix: 16) }.map { $0 & 1 << UInt64(SIGUSR1 - 1) != 0 } ?? false
            }
            #expect(try !lab.fdbsteer("status vm1").output.contains("waiting"), "it listens already")
            kill(process, SIGUSR1)
            let command = running.wait()
            #expect(
                command.exitCode == 0 && command.output.contains("SIGUSR1"), "\(command.exitCode) \(command.errors)")
        }
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func anInterruptedWaitChangesNothing(signal: Int32) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let before = try lab.table()
            let running = try lab.startWaiting("word")
            kill(running.process, signal)
            let command = running.wait()
            #expect(command.exitCode == 3 && command.errors.contains("was interrupted"), "\(command.errors)")
            #expect(try lab.table() == before)
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
        }
    }

    @Test(arguments: ["abort vm1", "reconcile", "switch vm1 --to standby", "release vm1"])
    func aKilledWaiterIsRecognised(verb: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let running = try lab.startWaiting("word")
            kill(running.process, SIGKILL)
            #expect(running.wait().exitCode == 128 + SIGKILL)
            #expect(try !lab.fdbsteer("status vm1").output.contains("waiting"))
            #expect(try lab.port() == "vfrep0")
            let command = try lab.fdbsteer(verb)
            #expect(command.exitCode == 0, "\(command.errors)")
            let status = try lab.fdbsteer("status --json").output
            #expect(!status.contains("waiting"), "\(status)")
        }
    }

    @Test func aBracketIsClosedByItsEvidence() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--kind net_failover")
            try lab.refused(
                "switch vm1 --to standby --strategy bracket --until frame:nothere", code: 3,
                saying: "no interface nothere")
            let late = try lab.fdbsteer(
                "switch vm1 --to standby --strategy bracket --until carrier:primary=down --timeout 50ms")
            #expect(late.exitCode == 6 && late.errors.contains("stays open"), "\(late.errors)")
            #expect(try lab.port() == "tap0")
            #expect(try lab.fdbsteer("status vm1").output.contains("bracket"))
            let ended = try lab.fdbsteer(
                "switch vm1 --to standby --strategy bracket --until word --timeout 50ms --on-timeout abort")
            #expect(ended.exitCode == 6 && ended.errors.contains("was closed on primary"), "\(ended.errors)")
            #expect(try lab.port() == "vfrep0")
            let running = try RunningCommand(
                [
                    CommandLineLab.binary, "switch", "vm1", "--to", "standby", "--strategy", "bracket", "--until",
                    "carrier:primary=down", "--timeout", "60s",
                ], environment: ["FDBSTEER_STATE": lab.state])
            try lab.waitUntil {
                try lab.fdbsteer("status vm1").output.contains("for carrier:primary=down since")
            }
            #expect(try lab.port() == "tap0")
            try Command.script("ip link set vfrep0-far down")
            let command = running.wait()
            #expect(command.exitCode == 0 && command.output.contains("vfrep0 has no carrier"), "\(command.errors)")
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
            #expect(try lab.port() == "tap0")
        }
    }

    /// How a wait with a bracket ends: what others do, or nil for SIGTERM; the exit code; what is said and kept.
    struct WaitEnd: Sendable, CustomTestStringConvertible {
        let others: String?
        var extra = ""
        let code: Int32
        let says: String
        var testDescription: String { "\(others ?? "SIGTERM") \(extra)" }
    }

    static let ends = [
        WaitEnd(others: "abort vm1", code: 6, says: "the bracket of guest vm1 was closed on primary by others"),
        WaitEnd(
            others: "switch vm1 --to standby --close", code: 0,
            says: "the bracket of guest vm1 was closed on standby by others"),
        WaitEnd(
            others: "switch vm1 --to primary --close", extra: "--on-timeout abort", code: 6,
            says: "was ended; the bracket of guest vm1 was closed on primary by others"),
        WaitEnd(others: "release vm1", code: 6, says: "was ended; guest vm1 was released meanwhile"),
        WaitEnd(others: nil, code: 6, says: "by SIGTERM; the bracket of guest vm1 stays open, frames reach both ports"),
        WaitEnd(
            others: nil, extra: "--on-timeout abort", code: 6,
            says: "by SIGTERM; the bracket of guest vm1 was closed on primary"),
    ]

    @Test(arguments: ends) func aWaitWithABracketSaysHowItStands(_ end: WaitEnd) throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--kind net_failover")
            let words = "switch vm1 --to standby --strategy bracket --until word --timeout 1h \(end.extra)"
            let running = try RunningCommand(
                [CommandLineLab.binary] + words.split(separator: " ").map(String.init),
                environment: ["FDBSTEER_STATE": lab.state])
            try lab.waitUntil { try lab.fdbsteer("status vm1").output.contains("for word since") }
            if let others = end.others {
                let command = try lab.fdbsteer(others)
                #expect(command.exitCode == 0, "\(command.output)\(command.errors)")
            } else {
                kill(running.process, SIGTERM)
            }
            let ended = running.wait()
            #expect(ended.exitCode == end.code, "\(ended.output)\(ended.errors)")
            let said = end.code == 0 ? ended.output : ended.errors
            #expect(said.contains(end.says), "\(said)")
            let history = try lab.fdbsteer("history --json").output
            #expect(history.contains(end.says) == (end.code != 0), "\(history)")
            for told in [said, history] where end.others != nil { #expect(!told.contains("stays open"), "\(told)") }
            if end.others == nil { #expect(!said.contains("by others"), "\(said)") }
        }
    }

    @Test(.enabled(if: access("/usr/bin/qemu-system-x86_64", X_OK) == 0, "qemu-system-x86_64 is not installed"))
    func anEventOfQEMU() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let ours = lab.state + "/ours.qmp"
            let theirs = lab.state + "/theirs.qmp"
            let emulator = try RunningCommand([
                "/usr/bin/qemu-system-x86_64", "-S", "-nodefaults", "-nographic", "-m", "32", "-accel", "tcg", "-qmp",
                "unix:\(ours),server=on,wait=off", "-qmp", "unix:\(theirs),server=on,wait=off",
            ])
            let process = emulator.process
            let result = Result {
                try lab.waitUntil { access(ours, F_OK) == 0 && access(theirs, F_OK) == 0 }
                // It does not run yet: that is not an event, and stopping it again is not one either.
                let stopped = try lab.fdbsteer("switch vm1 --to standby --until qmp:\(ours):STOP --json")
                #expect(stopped.exitCode == 0 && stopped.output.contains("\"was_already\" : true"), "\(stopped.errors)")
                #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
                let running = try lab.startWaiting("qmp:\(ours):RESUME")
                try execute("cont", at: theirs)
                let command = running.wait()
                #expect(
                    command.exitCode == 0 && command.output.contains("RESUME"), "\(command.output)\(command.errors)")
                #expect(try lab.port() == "tap0")
            }
            kill(process, SIGKILL)
            _ = emulator.wait()
            try result.get()
        }
    }

    /// Sends one command to a monitor and waits for its answer.
    private func execute(_ command: String, at path: String) throws {
        var client = QMPClient(path: path, now: 0)
        var id: Int64?
        var isAnswered = false
        for _ in 0..<6000 where !isAnswered {
            client.advance(now: 1) { if case .reply = $0 { isAnswered = true } }
            if client.isConnected, id == nil { id = client.send(command) }
            usleep(10_000)
        }
        guard isAnswered else { throw LabError("\(path) did not answer") }
    }
}
