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
            let files = try shell(lab, "find \(lab.state) -type f | xargs grep -l -e not.known -e move_nanoseconds")
            #expect(files.output == "", "\(files.output)")
        }
    }
}
