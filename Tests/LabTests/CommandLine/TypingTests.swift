import Glibc
import Lab
import Testing

/// Thirty mistakes that everybody makes: each answer says what is wrong and what to type.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct TypingTests {
    /// A command line, its exit code, and what its answer has to contain.
    struct Mistake: Sendable, CustomTestStringConvertible {
        let words: String
        let code: Int32
        let answers: [String]
        var testDescription: String { words }

        init(_ words: String, _ code: Int32 = 64, _ answers: String...) {
            self.words = words
            self.code = code
            self.answers = answers
        }
    }

    private static let ports = "--primary vfrep0 --standby tap0 --uplink uplink0"
    private static let mac = "--address 52:54:00:00:00:07"

    static let mistakes = [
        Mistake("statsu", 64, "there is no verb \"statsu\"", "did you mean \"fdbsteer status\"?"),
        Mistake("swtich vm1 --to standby", 64, "did you mean \"fdbsteer switch\"?"),
        Mistake("help swich", 64, "there is no verb \"swich\"", "did you mean \"fdbsteer switch\"?"),
        Mistake("show", 64, "there is no verb \"show\"", "the verbs are topology, preflight,"),
        Mistake("prepare", 64, "missing: <guest>; --bridge <bridge>; --address <address>; name the guest's ports:"),
        Mistake("prepare vm7 \(ports)", 64, "missing: --bridge <bridge>; --address <address>", "fdbsteer help prepare"),
        Mistake("switch", 64, "--to <to>", "name the guest, or several, or take --all"),
        Mistake("switch vm1 --too standby", 64, "--to"),
        Mistake(
            "probe mac-filter", 64, "missing: --pf <pf>; --vf <vf>; --address <address>; --from <from> (",
            "fdbsteer help probe mac-filter"),
        Mistake(
            "probe mac-filtr", 64, "there is no verb \"probe mac-filtr\"", "did you mean \"fdbsteer probe mac-filter\"?"
        ),
        Mistake("--state /nowhere statsu vm1", 64, "there is no verb \"statsu\"", "did you mean \"fdbsteer status\"?"),
        Mistake("switch vm1 --to stanby", 64, "The value 'stanby' is invalid", "primary", "standby", "remote"),
        Mistake("help swich", 64, "there is no verb \"swich\"", "did you mean \"fdbsteer switch\"?"),
        Mistake("switch VM1 --to standby", 3, "guest VM1 is not known", "did you mean vm1?"),
        Mistake("switch vm1 --to standby --waive no-carrier,port-down", 64, "an option --waive of its own"),
        Mistake("switch vm2 --to standby", 3, "guest vm2 is not known", "did you mean vm1?"),
        Mistake("verify wm1", 3, "did you mean vm1?"),
        Mistake("switch vm1 --to standby --timeout 10", 64, "the unit is missing, write 10s"),
        Mistake("switch vm1 --to standby --timeout 10sec", 64, "a duration is a whole number with its unit"),
        Mistake("switch vm1 --to standby --until qmp:/x", 64, "qmp:SOCKET:EVENT"),
        Mistake("switch vm1 --to standby --until carier:tap0=up", 64, "carrier:PORT=up|down"),
        Mistake("switch vm1 --to standby --waive mtu-smalle", 64, "did you mean mtu-smaller?", "no-carrier"),
        Mistake("switch vm1 --to standby --strategy brackets", 64, "'cut' and 'bracket'"),
        Mistake(
            "switch vm1 --to standby --until qmp:/run/none.sock:MIGRATION=active --timeout 10ms", 3, "/run/none.sock"),
        Mistake("prepare vm7 --bridge br1 \(ports) \(mac)", 3, "br1: it is no Linux bridge"),
        Mistake("prepare vm7 --bridge br0 --primary vfrep1 --standby tap0 \(mac)", 3, "vfrep1: primary: there is no"),
        Mistake("prepare vm7 --bridge br0 --primary tap0-far --standby tap0 \(mac)", 3, "it is no port of br0"),
        Mistake(
            "prepare vm1 --bridge br0 --primary tap0 --standby vfrep0 \(mac)", 3, "prepared already, but not like this"),
        Mistake("prepare vm7 --bridge br0 \(ports) --address 52:54:00:00:07", 64, "is not a MAC address"),
        Mistake("prepare vm7 --bridge br0 \(ports) \(mac)", 3, "--at"),
        Mistake(
            "prepare vm7 --bridge br0 \(ports) --address \(CommandLineLab.mac) --at primary", 3, "belongs to guest vm1"),
        Mistake("prepare vm/7 --bridge br0 \(ports) \(mac)", 64, "guest name \"vm/7\" is not usable"),
        Mistake("prepare vm7 --bridge br0 --port tap0 --primary vfrep0 \(mac)", 64, "a guest with one --port"),
        Mistake("switch vm1 --to local", 3, "vm1"),
        Mistake("switch vm1 --to standby --close", 3, "no bracket"),
        Mistake(
            "reconcile vm1", 64, "\"fdbsteer reconcile\" takes options alone: \"vm1\" is too much",
            "did you mean \"fdbsteer verify vm1\" or \"fdbsteer switch vm1 --to SIDE\"?"),
        Mistake("metrics foo", 64, "\"fdbsteer metrics\" takes options alone", "did you mean \"fdbsteer status foo\""),
        Mistake(
            "probe list vf0 vf1", 64, "takes options alone", "\"vf0\", \"vf1\" is too much",
            "\"fdbsteer help probe list\""),
        Mistake("abort vm1 vm2", 64, "\"fdbsteer abort\" takes <guest> and options", "\"vm2\" is too much"),
        Mistake("history --limit 0", 64, "--limit goes from 1"),
        Mistake("history --limit -1", 64, "--limit goes from 1"),
        Mistake("history --number -1", 64, "--number goes from 1"),
        Mistake("history --since 2", 64, "the unit is missing, write 2h; a time is a duration"),
        Mistake("history --outcome done,", 64, "a comma has no outcome beside it; there are done"),
        Mistake("history --report --limit 3 --since 2h --outcome done", 64, "leave --limit, --since, --outcome out"),
        Mistake("history --number 1 --outcome done", 64, "about one redirection", "leave --outcome out"),
        Mistake("switch vm1 --to standby --until word --timeout -1s", 64, "a duration is a whole number with its unit"),
        Mistake("switch vm1 --to standby --to primary", 64, "--to is given twice, as \"standby\" and as \"primary\""),
        Mistake("probe mac-filter --vf 1 --vf=2", 64, "--vf is given twice, as \"1\" and as \"2\": it takes one value"),
        Mistake("--state= status vm1", 64, "--state was given an empty word"),
        Mistake("history --report --number 77", 3, "fdbsteer history"),
        Mistake("topology br9", 3, "br9"),
        Mistake("status --state /nowhere vm1", 3, "/nowhere"),
        Mistake("release vm2", 3, "guest vm2 is not known", "did you mean vm1?"),
        Mistake("watch br9", 3, "br9: there is no bridge of that name", "there are br0"),
        Mistake("prepare vm7 --domain vm1", 64, "--domain finds the guests' names", "leave vm7 out"),
    ]

    @Test(arguments: mistakes)
    func isAnsweredByWhatIsWrongAndWhatToType(_ mistake: Mistake) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let before = try lab.table()
            let command = try lab.fdbsteer(mistake.words)
            #expect(command.exitCode == mistake.code, "\(command.output)\(command.errors)")
            for answer in mistake.answers { #expect(command.errors.contains(answer), "\(command.errors)") }
            // In JSON too, wherever the option stands.
            for words in ["-j " + mistake.words, mistake.words + " --json"] {
                let json = try lab.fdbsteer(words)
                #expect(json.exitCode == mistake.code, "\(words): \(json.output)\(json.errors)")
                #expect(json.output.contains("\"exit_code\" : \(mistake.code)"), "\(words): \(json.output)")
                for answer in mistake.answers { #expect(json.errors.contains(answer), "\(words): \(json.errors)") }
            }
            #expect(try lab.table() == before)
        }
    }

    /// Words that no line with spaces between them has, and what the answer has to contain.
    static let oddWords: [([String], String)] = [
        (["reconcile", "a b", "c'd"], "options alone: \"a b\", \"c'd\" is too much (\"fdbsteer help reconcile\""),
        (["metrics", "it's"], "options alone: \"it's\" is too much (\"fdbsteer help metrics\""),
        (["reconcile", "a\u{1b}[2Jb\nc"], "\"a\\u{1b}[2Jb\\nc\" is too much"),
        (["switch", "a\u{1b}[2J\u{202e}", "--to", "standby"], "guest name \"a\\u{1b}[2J\\u{202e}\" is not usable"),
        (["switch", "vm1", "--to", "\u{1b}[2J"], "The value '\\u{1b}[2J' is invalid"),
        (["reconcile", String(repeating: "x", count: 5000)], "xxx... (4744 more characters)\" is too much"),
        (
            ["history", "--outcome=" + String(repeating: "x", count: 5000)],
            "xxx... (4744 more characters)\" is no outcome"
        ),
        (["history", "--outcome", ""], "--outcome was given an empty word"),
        (["watch", ""], "\"fdbsteer watch\" was given an empty word"),
        (
            ["switch", "--", "vm1", "--to", "standby"],
            "missing: --to <to> (\"--to\" is no option, as it stands after \"--\"; \"fdbsteer help switch\""
        ),
    ]

    @Test(arguments: oddWords) func wordsAreTakenAsTheyAreAndShownSafely(_ words: [String], _ answer: String) throws {
        for more in [[], ["--json"]] {
            let command = try Command.run([CommandLineLab.binary] + words[..<1] + more + words[1...])
            #expect(command.exitCode == 64 && command.errors.contains(answer), "\(command.errors)")
            let isSafe = command.errors.unicodeScalars.allSatisfy {
                $0 == "\n" || ![.control, .format].contains($0.properties.generalCategory)
            }
            #expect(isSafe && command.errors.utf8.count < 4096, "\(command.errors)")
        }
    }

    @Test func optionsThatTakeSeveralValuesAreGivenAgain() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let several = "switch vm1 --to standby -n --until word --until word --waive no-carrier --waive port-down"
            for words in [several, "announce vm1 --dry-run --ip 192.0.2.1 --ip 192.0.2.2"] {
                let command = try lab.fdbsteer(words)
                #expect(!command.errors.contains("twice"), "\(words): \(command.errors)")
            }
            #expect(try lab.fdbsteer(several).exitCode == 0)
        }
    }

    @Test func optionsMayStandBeforeTheVerbAndHaveShortNames() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let json = try lab.fdbsteer(
                "-j --state \(lab.state) status vm1", environment: ["FDBSTEER_STATE": "/nowhere"])
            #expect(json.exitCode == 0 && json.output.contains("\"guest\" : \"vm1\""), "\(json.output)\(json.errors)")
            let planned = try lab.fdbsteer("-n switch vm1 --to standby")
            #expect(planned.output.contains("switch would send"), "\(planned.output)\(planned.errors)")
            #expect(try lab.fdbsteer("--json probe list").output.contains("{"))
            let version = try lab.fdbsteer("-V")
            #expect(try version.exitCode == 0 && version.output == lab.fdbsteer("--version").output)
            #expect(try lab.fdbsteer("--help switch").output.contains("USAGE: fdbsteer switch"))
        }
    }

    @Test func whatIsNotThereIsSaidWhereItIsNoError() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let monitor = try lab.fdbsteer("monitor wm1 --for 10ms")
            #expect(monitor.exitCode == 0 && monitor.errors.contains("did you mean vm1?"), "\(monitor.errors)")
            #expect(monitor.errors.contains("waiting for wm1 all the same"), "\(monitor.errors)")
            #expect(try lab.fdbsteer("monitor vm1 --for 10ms").errors == "")
        }
    }

    @Test func abortEndsACommandThatWaits() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--kind net_failover")
            func waiting(_ extra: String) throws -> RunningCommand {
                let words = "switch vm1 --to standby --until carrier:tap0=down --timeout 60s \(extra)"
                let command = try RunningCommand(
                    [CommandLineLab.binary] + words.split(separator: " ").map(String.init),
                    environment: ["FDBSTEER_STATE": lab.state])
                for _ in 0..<1000 where access(lab.state + "/waits/vm1.json", F_OK) != 0 { usleep(10_000) }
                return command
            }
            let cut = try waiting("")
            let process = cut.process
            let aborted = try lab.fdbsteer("abort vm1")
            #expect(aborted.exitCode == 0, "\(aborted.errors)")
            #expect(
                aborted.output.contains("process \(process) waits for carrier:tap0=down no longer"), "\(aborted.output)"
            )
            let ended = cut.wait()
            #expect(
                ended.exitCode == 3 && ended.errors.contains("was aborted; guest vm1 stays on primary"),
                "\(ended.errors)")
            // Of a bracket the copy ends too.
            let bracket = try waiting("--strategy bracket")
            let back = try lab.fdbsteer("abort vm1")
            #expect(back.exitCode == 0 && back.output.contains("no longer"), "\(back.output)\(back.errors)")
            #expect(bracket.wait().exitCode == 6)
            #expect(try lab.fdbsteer("status vm1").output.contains("vm1: ok, on primary"))
            #expect(try lab.fdbsteer("abort vm1").output.contains("nothing to do"))
        }
    }
}
