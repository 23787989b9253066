import Glibc
import Lab
import Testing

/// What an operator sees first: which guest needs attention, since when, and what to type.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct StatusTests {
    /// Prepares further guests, each with a primary of its own and the lab's standby.
    static func prepare(_ names: [String], in lab: CommandLineLab) throws {
        for (number, name) in names.enumerated() {
            try lab.lab.addPort("vf\(number)")
            let command = try lab.fdbsteer(
                "prepare \(name) --bridge br0 --primary vf\(number) --standby tap0 --uplink uplink0 "
                    + "--address 52:54:00:00:01:0\(number) --at primary")
            #expect(command.exitCode == 0, "\(command.errors)")
        }
    }

    /// The first words of the table's rows.
    private func column(_ output: String, _ number: Int = 0) -> [String] {
        output.split(separator: "\n").map { $0.split(separator: " ") }.filter { $0.count >= 9 && $0[0].last != ":" }.map
        {
            String($0[number])
        }
    }

    @Test func aFullFolderIsSaid() throws {
        try CommandLineLab.run(flooding: false) { lab in
            let status = try Command.run([
                "unshare", "-m", "sh", "-c",
                "mount -t tmpfs -o size=16k,mode=750 none \(lab.state) && { head -c 64k /dev/zero >\(lab.state)/fill; "
                    + "\(CommandLineLab.products)/fdbsteer status --state \(lab.state); } 2>&1",
            ])
            #expect(status.exitCode == 3, "\(status.output)\(status.errors)")
            #expect(
                status.output.contains("the file system of \(lab.state) is full: no redirection"), "\(status.output)")
            #expect(status.output.contains("(free some space there: df \(lab.state))"), "\(status.output)")
        }
    }

    @Test func theWorstIsFirstAndNamesAreInNaturalOrder() throws {
        try CommandLineLab.run { lab in
            try StatusTests.prepare(["vm10", "vm2", "vm1", "vm9"], in: lab)
            let fine = try lab.fdbsteer("status").output
            #expect(column(fine) == ["GUEST", "vm1", "vm2", "vm9", "vm10"], "\(fine)")
            #expect(column(fine, 1) == ["HEALTH", "ok", "ok", "ok", "ok"], "\(fine)")
            // The port of vm9 loses its carrier, and somebody deletes the entry of vm10 from its place: the table tells later.
            try Command.script("ip link set \(BridgeLab.far("vf3")) down")
            let broken = try lab.fdbsteer("status").output
            #expect(column(broken) == ["GUEST", "vm9", "vm1", "vm2", "vm10"], "\(broken)")
            #expect(column(broken, 1)[1] == "problem", "\(broken)")
            #expect(broken.contains("(bring the other end up"), "\(broken)")
            let json = try lab.fdbsteer("status vm9 --json").output
            #expect(json.contains("\"health\" : \"problem\"") && json.contains("\"next\" : "), "\(json)")
        }
    }

    /// It is said once, below the table, whatever the number of guests, and not where no daemon was ever started.
    @Test func aDaemonThatHasEndedIsSaidOnce() throws {
        try CommandLineLab.run { lab in
            let words = "fdbsteerd has ended: nobody watches guests (systemctl start fdbsteerd;"
            func expect(_ state: String, _ count: Int) throws {
                let status = try lab.fdbsteer("status").output
                #expect(status.ranges(of: words).count == count, "\(status)")
                #expect(count == 0 || status.split(separator: "\n").last?.hasPrefix(words) == true, "\(status)")
                let json = try lab.fdbsteer("status --json").output
                #expect(json.contains("\"daemon\" : \"\(state)\""), "\(json)")
            }
            try expect("absent", 0)
            try StatusTests.prepare(["vm1", "vm2"], in: lab)
            try expect("absent", 0)
            try DaemonLab.run(in: lab) { daemon in
                try expect("running", 0)
                kill(daemon.process, SIGKILL)
            }
            try expect("ended", 1)
            try DaemonLab.run(in: lab, log: "second") { _ in try expect("running", 0) }
            #expect(try lab.fdbsteer("release vm1 vm2").exitCode == 0)
            try expect("ended", 1)
        }
    }

    @Test func oneGuestIsShownWithAllThatIsKnownOfIt() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--kind net_failover")
            let quiet = try lab.fdbsteer("status vm1").output
            for words in [
                "vm1: ok, on primary for ", "by fdbsteer prepare", "nobody", "net_failover", "cookie ",
                "vfrep0 (ifindex ", "tap0 (ifindex ", "uplink0 (ifindex ", CommandLineLab.mac, "fdbsteerd does not run",
            ] {
                #expect(quiet.contains(words), "\(words): \(quiet)")
            }
            #expect(try lab.fdbsteer("switch vm1 --to standby --strategy bracket").exitCode == 0)
            let open = try lab.fdbsteer("status vm1").output
            #expect(open.contains("closed by: nobody closes it by itself: fdbsteerd does not run"), "\(open)")
            #expect(open.contains("closes by: fdbsteer switch vm1 --to standby --close"), "\(open)")
            try DaemonLab.run(in: lab) { daemon in
                let watched = try lab.fdbsteer("status vm1").output
                #expect(
                    watched.contains("fdbsteerd (process \(daemon.process)) does not follow this guest"), "\(watched)")
            }
        }
    }

    @Test func aWaitIsShownWithItsProcess() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let waiting = try RunningCommand(
                [
                    CommandLineLab.binary, "switch", "vm1", "--to", "standby", "--until", "carrier:tap0=down",
                    "--timeout", "60s",
                ],
                environment: ["FDBSTEER_STATE": lab.state])
            for _ in 0..<1000 where access(lab.state + "/waits/vm1.json", F_OK) != 0 { usleep(10_000) }
            let status = try lab.fdbsteer("status vm1").output
            #expect(status.contains("process \(waiting.process) (fdbsteer switch) for carrier:tap0=down"), "\(status)")
            #expect(status.contains("vm1: under_way"), "\(status)")
            kill(waiting.process, SIGTERM)
            _ = waiting.wait()
            #expect(try lab.fdbsteer("status vm1").output.contains("vm1: ok"))
        }
    }

    @Test func verifyWithoutANameComparesAllAndSaysWhatToType() throws {
        try CommandLineLab.run { lab in
            #expect(try lab.fdbsteer("verify").output == "no guest is prepared\n")
            try StatusTests.prepare(["vm10", "vm2"], in: lab)
            let fine = try lab.fdbsteer("verify")
            #expect(fine.exitCode == 0, "\(fine.errors)")
            let lines = fine.output.split(separator: "\n")
            #expect(lines.map { $0.prefix(5) } == ["vm2: ", "vm10:"], "\(fine.output)")
            try Command.script("bridge fdb del 52:54:00:00:01:01 dev vf1 master")
            let broken = try lab.fdbsteer("verify")
            #expect(broken.exitCode == 3)
            #expect(broken.output.contains("vm2: NOT as intended, on primary: 52:54:00:00:01:01 should be on vf1"))
            #expect(broken.output.contains("; next: fdbsteer reconcile\n"), "\(broken.output)")
            #expect(broken.output.contains("vm10: as intended"), "\(broken.output)")
            let json = try lab.fdbsteer("verify --json")
            #expect(json.exitCode == 3 && json.output.contains("\"guests\" : ["), "\(json.output)")
            #expect(json.output.contains("\"next\" : \"fdbsteer reconcile\""), "\(json.output)")
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try lab.fdbsteer("verify").exitCode == 0)
        }
    }

    /// `status`, `verify` and `reconcile` agree on what is wrong with entries, guard and copy.
    @Test(arguments: [
        "bridge fdb del \(CommandLineLab.mac) dev vfrep0 master",
        "bridge fdb replace \(CommandLineLab.mac) dev tap0 master static",
        "bridge fdb replace \(CommandLineLab.mac) dev uplink0 master dynamic",
        "bridge fdb replace \(CommandLineLab.mac) dev vfrep0 master dynamic",
        "nft delete table bridge $(nft list tables bridge | grep -o 'fdbsteer-guard[^ ]*')",
    ]) func statusSaysWhatVerifySays(_ damage: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try lab.fdbsteer("status vm1").output.contains("vm1: ok"))
            #expect(try Command.run(["sh", "-c", damage]).exitCode == 0)
            let verify = try lab.fdbsteer("verify vm1")
            #expect(verify.exitCode == 3, "\(verify.output)")
            let lines = verify.output.split(separator: "\n")
            let problem = try #require(lines.first { $0.hasPrefix("  problem: ") }).dropFirst("  problem: ".count)
            let table = try lab.fdbsteer("status").output
            #expect(column(table, 1) == ["HEALTH", "problem"], "\(table)")
            #expect(table.contains("vm1: problem: \(problem) (fdbsteer reconcile)"), "\(table)")
            let status = try lab.fdbsteer("status vm1").output
            #expect(status.contains("vm1: problem, on primary"), "\(status)")
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try lab.fdbsteer("status vm1").output.contains("vm1: ok"))
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    /// Without its bridge a guest has no entries: that is one thing that is wrong, and the kernel's own words are none.
    @Test func aBridgeThatIsGoneIsOneProblem() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try Command.script("ip link del br0")
            let verify = try lab.fdbsteer("verify")
            #expect(
                verify.exitCode == 3 && verify.output.contains("no longer exists; next: "), "\(verify.output)")
            let reconcile = try lab.fdbsteer("reconcile")
            #expect(reconcile.exitCode == 5, "\(reconcile.output)")
            #expect(reconcile.output.contains("the bridge of guest vm1 no longer exists"), "\(reconcile.output)")
            #expect(!reconcile.output.contains("EINVAL"), "\(reconcile.output)")
        }
    }

    /// Nothing is ever prepared in a folder that was mistyped.
    @Test func aStateFolderThatIsNotThereIsNoHostWhereAllIsWell() throws {
        try CommandLineLab.run { lab in
            let verbs = ["status", "verify", "reconcile", "switch --all --to standby", "history", "metrics"]
            for verb in verbs {
                for (extra, environment) in [
                    (" --state \(lab.state)/none", [:]), ("", ["FDBSTEER_STATE": lab.state + "/none"]),
                ] {
                    let wrong = try lab.fdbsteer(verb + extra, environment: environment)
                    #expect(
                        wrong.exitCode == 3 && wrong.errors.contains("there is no folder \(lab.state)/none ("),
                        "\(verb): \(wrong.output)\(wrong.errors)")
                }
            }
            // What comes before the first `prepare` needs none.
            let first = try lab.fdbsteer("topology --state \(lab.state)/none")
            #expect(first.exitCode == 0 && first.output.contains("br0"), "\(first.errors)")
            for verb in verbs.prefix(4) {
                let empty = try lab.fdbsteer(verb)
                #expect(
                    empty.exitCode == 0 && empty.errors.contains("the folder \(lab.state) has no record of any guest"),
                    "\(verb): \(empty.output)\(empty.errors)")
            }
            let unknown = try lab.fdbsteer("status vm1").errors
            #expect(unknown.contains("the folder \(lab.state) has no record of any guest"), "\(unknown)")
            // Another folder knows nothing of what was prepared with this one.
            try lab.prepare("--no-guard")
            try Command.script("mkdir -m 755 \(lab.state)/other")
            let second = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --address \(CommandLineLab.mac) --state "
                    + "\(lab.state)/other")
            #expect(
                second.exitCode == 0 && second.output.contains("or fdbsteer with another --state"), "\(second.output)")
        }
    }

    @Test func guestsOfOtherNamespacesAreNotPassedOverInSilence() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let elsewhere = try Command.run(
                ["unshare", "-n", CommandLineLab.binary, "verify"], environment: ["FDBSTEER_STATE": lab.state])
            #expect(elsewhere.exitCode == 0 && elsewhere.output == "no guest is prepared\n", "\(elsewhere.output)")
            #expect(elsewhere.errors.contains("1 guest of other network namespaces left alone"), "\(elsewhere.errors)")
        }
    }

    @Test func ofSeveralGuestsAllAreTriedAndTheWorstCodeIsGiven() throws {
        try CommandLineLab.run { lab in
            try StatusTests.prepare(["vm1", "vm2", "vm3"], in: lab)
            try Command.script("ip link set vf1 nomaster")
            // The second cannot go back to a port that has left the bridge; the others go.
            #expect(try lab.fdbsteer("switch vm1 vm2 vm3 --to standby").exitCode == 0)
            let back = try lab.fdbsteer("switch vm1 vm2 nobody vm3 --to primary")
            #expect(back.exitCode == 3, "\(back.output)\(back.errors)")
            #expect(back.output.contains("vm1: standby -> primary") && back.output.contains("vm3: standby -> primary"))
            #expect(back.errors.contains("vm2: vf1: ") && back.errors.contains("nobody: guest nobody is not known"))
            let json = try lab.fdbsteer("switch vm1 vm2 --to primary --json")
            #expect(json.exitCode == 3)
            #expect(json.output.contains("\"outcome\" : \"already\"") && json.output.contains("\"exit_code\" : 3"))
            #expect(try lab.fdbsteer("status vm1 vm3").output.contains("vm3"))
            #expect(try lab.fdbsteer("status vm1 nobody").exitCode == 3)
            #expect(try lab.fdbsteer("verify vm1 vm2").exitCode == 3)
            let released = try lab.fdbsteer("release vm1 vm2 vm3")
            #expect(released.output.contains("vm3: released"), "\(released.output)\(released.errors)")
            #expect(try lab.fdbsteer("release vm1").exitCode == 3)
            let gone = try lab.fdbsteer("release vm1 vm3 --if-exists")
            #expect(gone.exitCode == 0 && gone.output.contains("vm1: not prepared"), "\(gone.output)\(gone.errors)")
            #expect(try lab.fdbsteer("release vm1 --if-exists --json").output.contains("\"outcome\" : \"already\""))
        }
    }

    @Test func allGuestsLeaveTheirPrimariesWithProgressAndASummary() throws {
        try CommandLineLab.run { lab in
            try StatusTests.prepare(["vm10", "vm2"], in: lab)
            try lab.lab.addPort("pod0")
            let pod = try lab.fdbsteer(
                "prepare pod --bridge br0 --port pod0 --uplink uplink0 --address 52:54:00:00:02:01 --at local")
            #expect(pod.exitCode == 0, "\(pod.errors)")
            let moved = try lab.fdbsteer("switch --all --to standby")
            #expect(moved.exitCode == 0, "\(moved.errors)")
            #expect(moved.errors.contains("pod has no standby: left where it is"), "\(moved.errors)")
            #expect(moved.errors.contains("1/2 vm2\n") && moved.errors.contains("2/2 vm10\n"), "\(moved.errors)")
            #expect(moved.errors.contains("2 guests: 2 moved to standby, 0 already there, 0 failed"))
            let again = try lab.fdbsteer("switch --all --to standby --json")
            #expect(again.errors.contains("0 moved to standby, 2 already there, 0 failed"), "\(again.errors)")
            #expect(again.output.contains("\"guests\" : ["))
            try lab.refused("switch --to standby", code: 64, saying: "name the guest, or several, or take --all")
            try lab.refused("switch vm2 --all --to standby", code: 64, saying: "--all takes every guest")
            try lab.refused(
                "switch vm2 vm10 --to primary --until carrier:tap0=up", code: 64, saying: "--until is for one")
        }
    }

    @Test func aTerminalGetsColourUnlessItIsNotWanted() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            func onTerminal(_ verb: String, _ variables: [String: String] = [:]) throws -> String {
                // script(1) runs it on a terminal.
                try Command.run(
                    ["script", "-q", "-e", "-c", "\(CommandLineLab.binary) \(verb)", "/dev/null"],
                    environment: ["FDBSTEER_STATE": lab.state, "TERM": "xterm"].merging(variables) { $1 }
                ).output
            }
            for verb in ["status", "status vm1"] {
                #expect(try onTerminal(verb).contains("\u{1b}[1;32mok\u{1b}[0m"), "\(verb)")
                #expect(try !onTerminal(verb, ["NO_COLOR": "1"]).contains("\u{1b}"), "\(verb)")
                #expect(try !onTerminal(verb, ["TERM": "dumb"]).contains("\u{1b}"), "\(verb)")
                #expect(try !lab.fdbsteer(verb).output.contains("\u{1b}"), "\(verb)")
            }
        }
    }

    /// A line that wraps would push the guest that needs attention out of the screen.
    @Test func linesThatAreTooLongAreCutOnANarrowTerminal() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let typescript = lab.state + "/typescript"
            let running = try RunningCommand(
                [
                    "script", "-q", "-f", "-c",
                    "stty cols 40 rows 10; exec \(CommandLineLab.binary) status --watch --interval 100ms", typescript,
                ], environment: ["FDBSTEER_STATE": lab.state, "TERM": "xterm"])
            // Each drawing begins with this.
            for _ in 0..<3000 where TextFile.read(typescript).ranges(of: "\u{1b}[H").count < 2 { usleep(10_000) }
            kill(running.process, SIGTERM)
            _ = running.wait()
            let drawings = TextFile.read(typescript).split(separator: "\u{1b}[H")
            let drawing = drawings.dropFirst().first?.split(separator: "\u{1b}[J").first ?? ""
            let lines = drawing.replacing(/\u{1b}\[[0-9;]*[A-Za-z]/, with: "").split(whereSeparator: \.isNewline)
            #expect(lines.count == 2 && lines[1].hasPrefix("vm1 "), "\(drawings)")
            #expect(lines.allSatisfy { $0.count == 40 && $0.hasSuffix(">") }, "\(lines)")
        }
    }

    @Test func watchingRedrawsUntilNobodyReads() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let watched = try Command.run(
                ["bash", "-c", "\(CommandLineLab.binary) status --watch --interval 100ms | head -n 8"],
                environment: ["FDBSTEER_STATE": lab.state])
            #expect(watched.output.ranges(of: "GUEST").count >= 2, "\(watched.output)")
            #expect(!watched.output.contains("\u{1b}"), "escapes without a terminal")
            try lab.refused("status --watch --json", code: 64, saying: "monitor --json")
        }
    }
}
