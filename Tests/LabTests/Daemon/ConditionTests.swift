import Glibc
import JSON
import Lab
import Testing

/// What is wrong with prepared guests is known to the daemon when it happens, and to `status` and the metrics.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct ConditionTests {
    /// Something that goes wrong, the condition that it makes, and what ends it.
    struct Trouble: Sendable, CustomStringConvertible {
        let script: String
        let code: String
        let level: String
        let end: String
        var description: String { script }
    }

    static let troubles = [
        Trouble(script: "ip link set br0 down", code: "bridge-down", level: "error", end: "ip link set br0 up"),
        Trouble(
            script: "ip link set uplink0 nomaster", code: "not-a-port", level: "error",
            end: "ip link set uplink0 master br0"),
        Trouble(
            script: "ip link set tap0 nomaster", code: "not-a-port", level: "error", end: "ip link set tap0 master br0"),
        Trouble(
            script: "ip link set tap0-far down", code: "no-carrier", level: "warning", end: "ip link set tap0-far up"),
        Trouble(script: "ip link set tap0 down", code: "port-down", level: "warning", end: "ip link set tap0 up"),
    ]

    private func waitForStatus(_ lab: CommandLineLab, _ holds: (String) -> Bool) throws -> String {
        var status = ""
        for _ in 0..<500 {
            status = try lab.fdbsteer("status vm1 --json").output
            if holds(status) { return status }
            usleep(20_000)
        }
        throw LabError("status shows: \(status)")
    }

    private func waitForMetric(_ line: String) throws {
        var page = ""
        for _ in 0..<200 {
            page = try HTTPConnection.get("/metrics", port: 9923).body
            if page.contains(line) { return }
            usleep(50_000)
        }
        throw LabError("no \(line) in:\n\(page)")
    }

    @Test(arguments: troubles)
    func aConditionBeginsAndEndsInLogStatusEventsAndMetrics(_ trouble: Trouble) throws {
        try DaemonLab.run(configuration: "[metrics]\nlisten = \"127.0.0.1:9923\"\n") { daemon in
            try Command.script("ip link set lo up")
            try daemon.lab.prepare()
            try Command.script(trouble.script)
            try daemon.waitFor("level=\(trouble.level) msg=condition code=\(trouble.code)")
            let code = "\"code\" : \"\(trouble.code)\""
            let status = try waitForStatus(daemon.lab) { $0.contains(code) }
            #expect(status.contains("\"conditions\""), "\(status)")
            try waitForMetric(
                "fdbsteer_conditions{guest=\"vm1\",code=\"\(trouble.code)\",severity=\"\(trouble.level == "error" ? "problem" : "warning")\"} 1"
            )
            try Command.script(trouble.end)
            try daemon.waitFor("msg=\"condition over\" code=\(trouble.code)")
            _ = try waitForStatus(daemon.lab) { !$0.contains(code) }
            #expect(daemon.count("msg=condition code=\(trouble.code)") == 1, "\(daemon.log)")
            let events = TextFile.read(daemon.lab.state + "/events.log")
            #expect(events.contains("\"event\":\"condition_over\"") && events.contains("\"code\":\"\(trouble.code)\""))
        }
    }

    @Test func aBridgeThatIsDeletedIsAConditionOfEachOfItsGuests() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            for guest in 11...29 {
                try daemon.lab.lab.addPort("vf\(guest)")
                let command = try daemon.lab.fdbsteer(
                    "prepare vm\(guest) --bridge br0 --primary vf\(guest) --standby tap0 --uplink uplink0 "
                        + "--address 52:54:00:00:01:\(guest) --at primary")
                #expect(command.exitCode == 0, "\(command.errors)")
            }
            try Command.script("ip link del br0")
            try daemon.waitFor("msg=condition code=no-bridge", times: 20)
        }
    }

    @Test func aGuestWhoseLinkFlapsDoesNotFillTheLog() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            for _ in 0..<60 {
                try Command.script("ip link set tap0-far down")
                usleep(110_000)
                try Command.script("ip link set tap0-far up")
                usleep(110_000)
            }
            let told = daemon.count("code=no-carrier")
            #expect(told >= 10 && told <= 30, "\(told) of 120 changes were told")
        }
    }

    @Test func movesOfGuestsAddressesAreCountedByKind() throws {
        try DaemonLab.run(configuration: "[metrics]\nlisten = \"127.0.0.1:9923\"\n") { daemon in
            try Command.script("ip link set lo up")
            try daemon.lab.prepare()
            try waitForMetric("fdbsteer_mac_moves_total{bridge=\"br0\",origin=\"learned\"} 0")
            // Away, and back by the daemon.
            try Command.script("bridge fdb replace \(CommandLineLab.mac) dev tap0 master static")
            try waitForMetric("fdbsteer_mac_moves_total{bridge=\"br0\",origin=\"static\"} 2")
        }
    }

    @Test func withoutADaemonNobodyKnowsOfConditions() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try DaemonLab.run(in: lab) { daemon in
                try Command.script("ip link set tap0 nomaster")
                _ = try waitForStatus(lab) { $0.contains("\"conditions\"") && $0.contains("not-a-port") }
            }
            #expect(try !lab.fdbsteer("status vm1 --json").output.contains("\"conditions\""))
        }
    }

    /// It says so before it finds the address of its metrics taken.
    @Test(arguments: ["", "[metrics]\nlisten = \"off\"\n"])
    func aSecondDaemonOnOneFolderEnds(configuration: String) throws {
        try DaemonLab.run { daemon in
            let file = daemon.lab.state + "/second.toml"
            try TextFile.write(configuration, to: file)
            let second = try Command.run(
                [CommandLineLab.products + "/fdbsteerd", "--config", file, "--state", daemon.lab.state])
            #expect(second.exitCode == 3, "\(second.errors)")
            #expect(second.errors.contains("another daemon (process \(daemon.process))"), "\(second.errors)")
        }
    }

    @Test func aMonitorThatIsNotThereIsACondition() throws {
        let guest = "[[guest]]\nid = \"vm1\"\nqmp = \"/nowhere/qmp\"\nfollow = true\nkind = \"net_failover\"\n"
        try DaemonLab.run(configuration: guest) { daemon in
            try daemon.lab.prepare()
            try daemon.waitFor("msg=condition code=monitor-silent")
            let status = try waitForStatus(daemon.lab) { $0.contains("monitor-silent") }
            #expect(status.contains("/nowhere/qmp") && status.contains("No such file"), "\(status)")
            #expect(daemon.count("msg=condition code=monitor-silent") == 1, "\(daemon.log)")
        }
    }

    /// The policy that would close the bracket, or tell of it, hears nothing.
    @Test func aBracketOfAGuestWhoseMonitorIsNotThereIsNobodys() throws {
        let guest = """
            [bracket]
            timeout = "1s"
            [[guest]]
            id = "vm1"
            qmp = "/nowhere/qmp"
            follow = true
            kind = "net_failover"
            """
        try DaemonLab.run(configuration: guest) { daemon in
            try daemon.lab.prepare("--kind net_failover")
            _ = try waitForStatus(daemon.lab) { $0.contains("monitor-silent") }
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby --strategy bracket").exitCode == 0)
            let status = try daemon.lab.fdbsteer("status vm1").output
            #expect(status.contains("nobody closes it while QEMU's monitor is not heard"), "\(status)")
            try daemon.waitFor("msg=condition code=bracket-open guest=vm1")
        }
    }

    /// A guest that only looks well is not told of as `ok`, and the daemon writes the file anew when it hears of the change.
    @Test(arguments: [
        ": >$F", "truncate -s 5 $F", "printf '{' >$F", "printf '[]' >$F", "head -c 500 /dev/urandom >$F", "rm $F",
        "rm $F; mkdir $F", "mv $F $G; ln -s $G $F", "mv $F $G", "sed -i 's/\"version\":1,/\"version\":2,/' $F",
        "sed -i 's/\"boot\":\"/&x/' $F", "sed -i 's/\"severity\"/\"x\"/' $F",
    ])
    func whatTheDaemonHasFoundCannotBeRead(_ damage: String) throws {
        try DaemonLab.run { daemon in
            let (lab, file) = (daemon.lab, daemon.lab.state + "/conditions.json")
            try lab.prepare()
            try Command.script("ip link set tap0 down")
            _ = try waitForStatus(lab) { $0.contains("port-down") }
            #expect(try lab.fdbsteer("status").exitCode == 0)
            let whole = TextFile.read(file)
            kill(daemon.process, SIGSTOP)
            // One that is stopped does not end.
            defer { kill(daemon.process, SIGCONT) }
            _ = try Command.run(["sh", "-c", "F=\(file); G=\(lab.state)/other; \(damage)"])
            for verb in ["status", "status vm1"] {
                let status = try lab.fdbsteer(verb)
                #expect(status.exitCode == 3 && status.output.contains("warning"), "\(status.output)")
                let errors = status.errors
                #expect(errors.contains("what fdbsteerd has found is not known: cannot read \(file): "), "\(errors)")
                #expect(errors.contains("systemctl restart fdbsteerd)") || errors.contains("move it away"), "\(errors)")
            }
            let json = try lab.fdbsteer("status --json").output
            #expect(json.contains("\"health\" : \"warning\"") && !json.contains("\"followed\""), "\(json)")
            kill(daemon.process, SIGCONT)
            if damage.contains("mkdir") {
                try daemon.waitFor("with=conditions")
                #expect(rmdir(file) == 0)
            }
            try lab.waitUntil { try lab.fdbsteer("status").exitCode == 0 }
            #expect(TextFile.read(file) == whole)
        }
    }

    /// What goes with the record is over: a release, or another guest of the same name.
    @Test(arguments: [false, true]) func aConditionEndsWithItsRecord(isReplaced: Bool) throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try Command.script("ip link set tap0 down")
            try daemon.waitFor("msg=condition code=port-down")
            #expect(try daemon.lab.fdbsteer("release vm1").exitCode == 0)
            if isReplaced { try daemon.lab.prepare() }
            try daemon.waitFor("msg=\"condition over\" code=port-down")
            let events = TextFile.read(daemon.lab.state + "/events.log")
            #expect(events.contains("condition_over"), "\(events)")
            if isReplaced { try daemon.waitFor("msg=condition code=port-down", times: 2) }
        }
    }

    /// When a condition of vm1 began, as the daemon's file has it.
    private func since(_ lab: CommandLineLab, _ code: String) throws -> Int64 {
        for _ in 0..<500 {
            let file = Array(TextFile.read(lab.state + "/conditions.json").utf8)
            let found = file.withUnsafeBytes { JSON($0) }?["conditions"]?.elements?.first { $0["code"]?.text == code }
            if let since = found?["since_ns"]?.integer { return since }
            usleep(10_000)
        }
        throw LabError("\(code) is not in the file of conditions")
    }

    /// By the rules about a port, and by the look at a guest whose primary is mute.
    @Test(arguments: [
        ("port-down", "ip link set tap0 down", "ip link set tap0 up"),
        ("bracket-refused", "ip link set vfrep0-far down", "ip link set vfrep0-far up"),
    ])
    func aConditionGoesOnAcrossARestartAndBeginsAnewWhereItHadEnded(code: String, begin: String, end: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            var (first, second): (Int64, Int64) = (0, 0)
            try DaemonLab.run(in: lab) { daemon in
                try Command.script(begin)
                first = try since(lab, code)
            }
            try DaemonLab.run(in: lab, log: "second") { daemon in
                try daemon.waitFor("msg=condition code=\(code)")
                #expect(try since(lab, code) == first)
                try Command.script(end)
                try daemon.waitFor("msg=\"condition over\" code=\(code)")
                try Command.script(begin)
                try daemon.waitFor("msg=condition code=\(code)", times: 2)
                try daemon.waitForFile { (try? since(lab, code)).map { $0 > first } ?? false }
                second = try since(lab, code)
            }
            // It ends while no daemon runs.
            try Command.script(end)
            try DaemonLab.run(in: lab, log: "third") { daemon in
                // The guest has been looked at.
                try lab.prepare("--kind unknown")
                try daemon.waitForFile { !TextFile.read(lab.state + "/conditions.json").contains(code) }
                try Command.script(begin)
                try daemon.waitFor("msg=condition code=\(code)")
                try daemon.waitForFile { (try? since(lab, code)).map { $0 > second } ?? false }
            }
        }
    }

    // MARK: - Observing only

    @Test func anObservingDaemonSaysWhatItWouldDoAndDoesNothing() throws {
        try DaemonLab.run(configuration: "[daemon]\nact = false\n") { daemon in
            try daemon.lab.prepare()
            let before = try daemon.lab.table()
            try Command.script("bridge fdb replace \(CommandLineLab.mac) dev tap0 master static")
            try daemon.waitFor("msg=condition code=would-act")
            let mac = CommandLineLab.mac
            #expect(
                daemon.log.contains("\(mac) from tap0 to vfrep0: it would repair the guest (stolen)"), "\(daemon.log)")
            #expect(try daemon.lab.lab.entry(CommandLineLab.mac)?.contains("dev tap0") == true)
            // Another plan is another condition.
            try Command.script("bridge fdb replace \(mac) dev uplink0 master static")
            try daemon.waitFor("\(mac) from uplink0 to vfrep0: it would")
            try daemon.waitFor("msg=\"condition over\" code=would-act")
            try Command.script("bridge fdb replace \(CommandLineLab.mac) dev vfrep0 master static")
            try daemon.waitFor("msg=\"condition over\" code=would-act", times: 2)
            #expect(try daemon.lab.table() == before)
            try Command.script("ip link set vfrep0 nomaster")
            try daemon.waitFor("move the guest to standby")
            #expect(daemon.count("redirected") == 0 && daemon.count("repaired") == 0, "\(daemon.log)")
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"primary\""))
        }
    }

    @Test func anObservingDaemonSaysWhatHasHappenedBeforeItsStart() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare()
            try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
            try DaemonLab.run(in: lab, configuration: "[daemon]\nact = false\n") { daemon in
                try daemon.waitFor("msg=condition code=would-act guest=vm1")
                #expect(daemon.log.contains("from no port to vfrep0: it would repair the guest"), "\(daemon.log)")
                #expect(try lab.lab.entry(CommandLineLab.mac) == nil)
            }
        }
    }

    /// A guest on its standby goes back one day.
    @Test func aGuestOnItsStandbyIsWarnedOfItsPrimary() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try Command.script("ip link set vfrep0-far down")
            try daemon.waitFor("level=warning msg=condition code=no-carrier guest=vm1")
            let status = try waitForStatus(daemon.lab) { $0.contains("\"health\" : \"warning\"") }
            #expect(status.contains("\"subject\" : \"vfrep0\""), "\(status)")
            try Command.script("ip link set vfrep0-far up")
            try daemon.waitFor("msg=\"condition over\" code=no-carrier guest=vm1")
        }
    }

    @Test func oneGuestCanBeObservedOnly() throws {
        try DaemonLab.run(configuration: "[[guest]]\nid = \"vm1\"\nact = false\n") { daemon in
            try daemon.lab.prepare()
            try daemon.lab.lab.addPort("vf2")
            let second = "52:54:00:00:01:02"
            #expect(
                try daemon.lab.fdbsteer(
                    "prepare vm2 --bridge br0 --primary vf2 --standby tap0 --address \(second) --at primary"
                ).exitCode == 0)
            try Command.script(
                "bridge fdb del \(CommandLineLab.mac) dev vfrep0 master\nbridge fdb del \(second) dev vf2 master")
            try daemon.waitFor("repaired")
            try daemon.waitFor("msg=condition code=would-act guest=vm1")
            #expect(try daemon.lab.lab.entry(CommandLineLab.mac) == nil)
            #expect(try daemon.lab.lab.entry(second)?.contains("dev vf2") == true)
        }
    }
}

/// A guest that cannot be put back when the daemon starts.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct StartTests {
    @Test func aPrimaryThatWasLostBeforeTheStartIsTreatedAsLost() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare()
            try Command.script("ip link set vfrep0 nomaster")
            try DaemonLab.run(in: lab) { daemon in
                try daemon.waitForEntry("dev tap0 master br0 static")
                #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"standby\""))
            }
        }
    }
}
