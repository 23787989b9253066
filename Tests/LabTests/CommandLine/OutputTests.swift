import Glibc
import Lab
import Testing

/// What becomes of a verb whose report nobody takes.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct OutputTests {
    /// Runs fdbsteer by a shell; `%` is the program with its folder.
    private func shell(_ lab: CommandLineLab, _ script: String) throws -> Command {
        let program = "FDBSTEER_STATE=\(lab.state) \(CommandLineLab.binary)"
        return try Command.run(["bash", "-c", script.replacing("%", with: program)])
    }

    /// Standard output is a pipe whose reader has ended before anything is written.
    private static let deaf = "exec 3> >(exec true); sleep 0.1; "

    @Test func theExitCodeOfAChangeTellsWhatBecameOfTheGuest() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            for (side, output) in [
                ("standby", "\(OutputTests.deaf) % switch vm1 --to standby >&3"),
                ("primary", "% switch vm1 --to primary --json >/dev/full"),
                ("standby", "\(OutputTests.deaf) % switch vm1 --to standby --json >&3 2>&3"),
                ("primary", "% switch vm1 --to primary >&-"),
                ("standby", "% switch vm1 --to standby <&- >&- 2>&-"),
            ] {
                let command = try shell(lab, output)
                #expect(command.exitCode == 0, "\(output): \(command.errors)")
                #expect(try lab.fdbsteer("status").output.contains(side), "\(output)")
                if output.contains("/full") {
                    #expect(command.errors.contains("standard output cannot be written: No space left on device"))
                }
            }
        }
    }

    @Test(arguments: ["status", "verify vm1", "topology", "history", "metrics", "switch vm1 --to standby --dry-run"])
    func anAnswerThatNobodyTakesIsAnError(verb: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            for script in ["\(OutputTests.deaf) % \(verb) >&3", "% \(verb) --json >/dev/full"] {
                let command = try shell(lab, script)
                #expect(command.exitCode == 74, "\(script): \(command.errors)")
                #expect(command.errors.contains("standard output cannot be written"), "\(script)")
            }
        }
    }

    @Test func nothingThatIsPrintedReachesAFileOfTheState() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            _ = try shell(lab, "% switch vm1 --to standby --json <&- >&- 2>&-; % release vm2 <&- >&- 2>&-")
            let files = try shell(lab, "find \(lab.state) -type f | xargs grep -l -e not.known -e writes_begin_ns")
            #expect(files.output == "", "\(files.output)")
        }
    }

    @Test func anEmptyFolderIsNoFolder() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let empty = try shell(
                lab, "mkdir -p /tmp/x; FDBSTEER_STATE= %".replacing("%", with: CommandLineLab.binary) + " status; true")
            #expect(!empty.errors.contains("folder "), "\(empty.errors)")
            for verb in ["status", "switch vm1 --to standby", "history"] {
                for option in ["--state ''", "--state="] {
                    let command = try shell(lab, "% \(verb) \(option)")
                    #expect(command.exitCode == 64, "\(verb) \(option): \(command.output)\(command.errors)")
                }
            }
            for option in ["--state ''", "--config ''"] {
                let daemon = try shell(lab, "\(CommandLineLab.products)/fdbsteerd --check \(option)")
                #expect(daemon.exitCode == 64, "\(option): \(daemon.errors)")
            }
            let missing = try shell(lab, "\(CommandLineLab.products)/fdbsteerd --check --config \(lab.state)/none")
            #expect(missing.exitCode == 64 && missing.errors.contains("none"), "\(missing.output)\(missing.errors)")
        }
    }

    @Test(arguments: ["loss", "evpn", "migrate", "throughput"])
    func aBenchTriesItsFilesBeforeItMeasures(verb: String) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let bench = CommandLineLab.products + "/fdbsteer-bench"
        let command = try Command.run(
            [bench, verb, "--json", folder.path + "/results", "--html", folder.path + "/missing/page.html"])
        #expect(command.exitCode == 64, "\(command.output)\(command.errors)")
        #expect(command.errors.contains("missing/page.html cannot be written: No such file"), "\(command.errors)")
        #expect(access(folder.path + "/results", F_OK) != 0)
    }

    @Test func thousandsOfAddressesTakeTimeInProportionAndItIsTold() throws {
        try CommandLineLab.run { lab in
            func prepare(_ count: Int, _ form: (String) -> String, joined: String) throws -> (
                took: Double, told: Double
            ) {
                let macs = (0..<count).map { "52:54:00:0\($0 / 4096 % 16):\(hex($0 / 64 % 64)):\(hex($0 % 64))" }
                let list = macs.map(form).joined(separator: joined)
                let verb = joined == "," ? "--address \(list)" : list
                let begin = ContinuousClock.now
                let command = try shell(
                    lab, "% prepare vm1 --json --bridge br0 --primary vfrep0 --standby tap0 --at primary \(verb)")
                let took = (ContinuousClock.now - begin) / .seconds(1)
                #expect(command.exitCode == 0, "\(command.errors.prefix(300))")
                #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                let told = command.output.firstMatch(of: /"total_ns" : (\d+)/).flatMap { Double($0.1) } ?? 0
                return (took, told / 1e9)
            }
            func hex(_ number: Int) -> String { (number < 16 ? "0" : "") + String(number, radix: 16) }
            let few = try prepare(500, { "--address \($0)" }, joined: " ")
            let many = try prepare(4000, { "--address \($0)" }, joined: " ")
            let listed = try prepare(4000, { $0 }, joined: ",")
            #expect(many.took < few.took * 8 * 4 && many.took < listed.took * 3 + 0.5, "\(few) \(many) \(listed)")
            // The answer counts what the arguments cost.
            #expect(many.told > many.took * 0.5, "\(many)")
        }
    }
}
