import Glibc
import Lab
import Testing

private let noPrometheus = Unpacked.obstacle("prometheus", programs: ["/usr/bin/promtool"])

/// What somebody finds who is called at night: the alert with the guest's name, `status` with it on top and the next command, and in the log a
/// line for the beginning and one for the end (docs/operating.md).
@Suite(
    .enabled(if: noPrometheus == nil, "\(noPrometheus ?? "")"),
    .enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct NightTests {
    /// Something that is made to go wrong.
    struct Night: Sendable, CustomStringConvertible {
        let description: String
        var configuration = ""
        /// How `vm1` is prepared, but for its name and bridge; nil: by the configuration, or not at all.
        var guest: String? =
            "--primary vfrep0 --standby tap0 --uplink uplink0 --address \(CommandLineLab.mac) --at primary"
        var guests = 1
        /// Before the daemon starts.
        var before: @Sendable (CommandLineLab) throws -> Void = { _ in }
        let make: @Sendable (DaemonLab) throws -> Void
        /// In the log, when it begins and when it ends; once for each guest.
        let begins: String
        let end: @Sendable (DaemonLab) throws -> Void
        let ends: String
        let alert: String
        /// The alert fires this many seconds after it began.
        let within: Int
        /// Part of what `status` says is to be done.
        let next: String
    }

    private static func scripts(_ lines: String...) -> @Sendable (DaemonLab) throws -> Void {
        { _ in for line in lines { try Command.script(line) } }
    }

    private static let problem = (alert: "FdbsteerGuestProblem", within: 120)

    /// The configuration of so many guests with one port.
    private static let crowd = (1...50).map { number in
        "[[guest]]\nid = \"vm\(number)\"\nbridge = \"br0\"\nport = \"p\(number)\"\nat = \"local\"\n"
            + "address = [\"52:54:00:00:02:\(number < 10 ? "0" : "")\(number)\"]\n"
    }.joined()

    static let nights = [
        Night(
            description: "the primary loses its carrier", make: scripts("ip link set vfrep0-far down"),
            begins: "msg=condition code=bracket-refused guest=vm1", end: scripts("ip link set vfrep0-far up"),
            ends: "msg=\"condition over\" code=bracket-refused guest=vm1", alert: problem.alert, within: problem.within,
            next: "fdbsteer switch vm1 --to standby"),
        Night(
            description: "the bridge is down", make: scripts("ip link set br0 down"),
            begins: "msg=condition code=bridge-down guest=vm1", end: scripts("ip link set br0 up"),
            ends: "msg=\"condition over\" code=bridge-down guest=vm1", alert: problem.alert, within: problem.within,
            next: "ip link set br0 up"),
        Night(
            description: "the bridge of 50 guests is deleted", configuration: crowd, guest: nil, guests: 50,
            before: { lab in for number in 1...50 { try lab.lab.addPort("p\(number)") } },
            make: scripts("ip link del br0"), begins: "msg=condition code=no-bridge",
            end: { _ in
                try Command.script("ip link add br0 type bridge\nip link set br0 up")
                for number in 1...50 { try Command.script("ip link set p\(number) master br0") }
            }, ends: "msg=\"condition over\" code=no-bridge", alert: problem.alert, within: problem.within,
            next: "there again, with the ports: fdbsteer prepare vm1 --bridge br0 --port p1"),
        Night(
            description: "the primary is gone", make: scripts("ip link del vfrep0"),
            begins: "msg=condition code=no-interface guest=vm1",
            end: { daemon in
                try daemon.lab.lab.addPort("vfrep0")
                try daemon.lab.prepareAgain("--at standby")
            }, ends: "msg=\"condition over\" code=no-interface guest=vm1", alert: "FdbsteerPrimaryLost", within: 60,
            next: "there again: fdbsteer prepare vm1 --bridge br0 --primary vfrep0"),
        Night(
            description: "the standby is gone", make: scripts("ip link del tap0"),
            begins: "msg=condition code=no-interface guest=vm1",
            end: { daemon in
                try daemon.lab.lab.addPort("tap0")
                try daemon.lab.prepareAgain("--at primary")
            }, ends: "msg=\"condition over\" code=no-interface guest=vm1", alert: problem.alert, within: problem.within,
            next: "there again: fdbsteer prepare vm1 --bridge br0 --primary vfrep0"),
        Night(
            description: "a thief takes the entry again and again",
            configuration: "[daemon]\nrepair_burst = 1\nrepair_backoff_initial = \"5min\"\n",
            make: { daemon in
                for time in 1...2 {
                    try Command.script("bridge fdb replace \(CommandLineLab.mac) dev tap0 master static")
                    if time == 1 { try daemon.waitFor("msg=repaired") }
                }
            }, begins: "msg=condition code=repairs-fought guest=vm1",
            end: scripts("bridge fdb replace \(CommandLineLab.mac) dev vfrep0 master static"),
            ends: "msg=\"condition over\" code=repairs-fought guest=vm1", alert: problem.alert, within: problem.within,
            next: "bridge monitor fdb"),
        Night(
            description: "QEMU's monitor is dead",
            configuration: "[[guest]]\nid = \"vm1\"\nqmp = \"/nowhere/qmp\"\nfollow = true\n", make: { _ in },
            begins: "msg=condition code=monitor-silent guest=vm1",
            end: { daemon in
                try TextFile.write("", to: daemon.lab.state + "/fdbsteerd.toml")
                kill(daemon.process, SIGHUP)
            }, ends: "msg=\"condition over\" code=monitor-silent guest=vm1", alert: "FdbsteerMonitorSilent",
            within: 180,
            next: "switch it by hand, or mend the cause"),
        Night(
            description: "a bracket is open for an hour", configuration: "[bracket]\ntimeout = \"1s\"\n",
            make: { daemon in
                let opened = try daemon.lab.fdbsteer("switch vm1 --to standby --strategy bracket --allow-duplicates")
                #expect(opened.exitCode == 0, "\(opened.errors)")
            }, begins: "msg=condition code=bracket-open guest=vm1",
            end: { daemon in
                let closed = try daemon.lab.fdbsteer("switch vm1 --to standby --close")
                #expect(closed.exitCode == 0, "\(closed.errors)")
            },
            ends: "msg=\"condition over\" code=bracket-open guest=vm1", alert: "FdbsteerBracketOpen", within: 660,
            next: "fdbsteer switch vm1 --to standby --close"),
    ]

    @Test(arguments: nights) func itIsSeen(_ night: Night) throws {
        try CommandLineLab.run(flooding: false) { lab in
            try Command.script("ip link set lo up\nip link add br1 type bridge\nip link set br1 up")
            try lab.lab.addPort("a1p")
            try Command.script("ip link set a1p master br1")
            try night.before(lab)
            func prepare(_ words: String) throws {
                let prepared = try lab.fdbsteer("prepare \(words)")
                #expect(prepared.exitCode == 0, "\(prepared.errors)")
            }
            // A guest that is well, whose name comes first.
            try prepare("a1 --bridge br1 --port a1p --address 52:54:00:00:03:01 --at local")
            if let guest = night.guest { try prepare("vm1 --bridge br0 \(guest)") }
            let configuration = night.configuration + "[metrics]\nlisten = \"127.0.0.1:9923\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                if night.guest == nil { try daemon.waitFor("msg=prepared", times: night.guests) }
                let before = try page()
                try night.make(daemon)
                try daemon.waitFor(night.begins, times: night.guests)
                try expectStatus(night, daemon)
                let after = try page()
                try expectAlerts(night, before, after)
                try night.end(daemon)
                try daemon.waitFor(night.ends, times: night.guests)
                #expect(
                    daemon.count(night.begins) == night.guests && daemon.count(night.ends) == night.guests,
                    "\(daemon.log)")
            }
        }
    }

    private func expectStatus(_ night: Night, _ daemon: DaemonLab) throws {
        var status = ""
        // The file of conditions is written at most ten times a second.
        for _ in 0..<300 {
            status = try daemon.lab.fdbsteer("status").output
            if status.contains(night.next) { break }
            usleep(20_000)
        }
        let lines = status.split(separator: "\n")
        #expect(lines.count > night.guests + 1 && lines[1].hasPrefix("vm1 "), "\(status)")
        #expect(lines[1].contains("  problem  "), "\(status)")
        #expect(lines[night.guests + 1].hasPrefix("a1 "), "\(status)")
        let told = lines.dropFirst(night.guests + 2).first ?? ""
        #expect(told.hasPrefix("vm1: "), "\(status)")
        #expect(lines.contains { $0.hasPrefix("vm1: ") && $0.contains(night.next) }, "\(status)")
    }

    /// The samples of the metrics that alerts use, by series.
    private func page() throws -> [String: Double] {
        // A page is made at most once a second.
        usleep(1_100_000)
        let now = Double(time(nil))
        var samples: [String: Double] = [:]
        for line in try HTTPConnection.get("/metrics", port: 9923).body.split(separator: "\n")
        where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else {
                continue
            }
            let series = String(line[..<space])
            // promtool's clock begins at 0.
            samples[series] = series.contains("_time_seconds") ? value - now : value
        }
        return samples
    }

    /// Has promtool evaluate the rules over the two pages, the second of which lasts.
    private func expectAlerts(_ night: Night, _ before: [String: Double], _ after: [String: Double]) throws {
        let rules = Checkout.path + "/packaging/prometheus/fdbsteer.rules.yml"
        let used = Set(TextFile.read(rules).split { !($0.isLetter || $0 == "_") }.filter { $0.hasPrefix("fdbsteer_") })
        var text = "rule_files: [\(rules)]\nevaluation_interval: 15s\ntests:\n  - interval: 15s\n    input_series:\n"
        for (series, value) in after.sorted(by: { $0.key < $1.key }) where used.contains(series.prefix { $0 != "{" }) {
            let name = series.prefix { $0 != "{" }
            let labels = series.dropFirst(name.count).dropFirst().dropLast()
            let first = before[series].map { "\($0)" } ?? "_"
            text += "      - series: '\(name){instance=\"h1\",job=\"fdbsteer\"\(labels.isEmpty ? "" : ",")\(labels)}'\n"
            text += "        values: '\(first) \(value)x300'\n"
        }
        text += "    promql_expr_test:\n"
        for (guest, count) in [("vm.*", night.guests), ("a1", 0)] {
            let alerts = "ALERTS{alertname=\"\(night.alert)\",alertstate=\"firing\",guest=~\"\(guest)\"}"
            text +=
                "      - expr: 'count(count by (guest) (\(alerts))) or vector(0)'\n        eval_time: \(night.within)s\n"
            text += "        exp_samples: [{labels: '{}', value: \(count)}]\n"
        }
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try TextFile.write(text, to: folder.path + "/night.yml")
        let result = try Command.run(
            Unpacked.command("prometheus", ["promtool", "test", "rules", folder.path + "/night.yml"]))
        #expect(result.exitCode == 0, "\(result.output)\(result.errors)")
    }

    /// The tenth has no guest: the daemon's own files.
    @Test func aFullRunIsSeen() throws {
        try DaemonLab.run(configuration: "[metrics]\nlisten = \"127.0.0.1:9923\"\n") { daemon in
            try Command.script("ip link set lo up")
            try daemon.lab.prepare()
            let before = try page()
            try daemon.withoutSpace {
                try Command.script("ip link set br0 down")
                try daemon.waitFor("msg=\"operation failed, will retry\"")
                #expect(
                    daemon.log.contains("No space left on device") && daemon.log.contains("with=conditions"),
                    "\(daemon.log)")
                let status = try daemon.lab.fdbsteer("status").output
                #expect(status.contains("vm1    problem") && status.contains("ip link set br0 up"), "\(status)")
                try expectTrouble(before, try page())
            }
            try daemon.waitFor("msg=\"operation works again\" with=conditions")
            #expect(daemon.count("operation failed") == 1 && daemon.count("works again") == 1, "\(daemon.log)")
        }
    }

    private func expectTrouble(_ before: [String: Double], _ after: [String: Double]) throws {
        #expect(before["fdbsteer_daemon_troubles"] == 0 && after["fdbsteer_daemon_troubles"] == 1)
    }
}

extension CommandLineLab {
    /// Takes a port that was made anew into the record.
    fileprivate func prepareAgain(_ side: String) throws {
        let command = try fdbsteer(
            "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(CommandLineLab.mac) \(side)"
        )
        #expect(command.exitCode == 0, "\(command.errors)")
    }
}
