import Glibc
import Lab
import Testing

/// The history while its writers and readers are killed.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct HistoryTests {
    /// The times of the redirections in the history, the newest first.
    private static func times(_ lab: CommandLineLab) throws -> [Substring] {
        let history = try lab.fdbsteer("history --limit 1000 --json")
        #expect(history.exitCode == 0, "\(history.errors)")
        return history.output.split(separator: "\n").filter { $0.contains("\"time_nanoseconds\"") }
    }

    /// Runs `fdbsteer`, and kills it at its n-th system call of a kind.
    private static func kill(_ lab: CommandLineLab, at call: String, _ step: Int, _ command: String) throws -> Command {
        try Command.run(
            [
                "strace", "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                "inject=\(call):signal=KILL:when=\(step)", CommandLineLab.binary,
            ] + command.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
    }

    @Test(arguments: ["history", "metrics"], ["pwrite64", "fdatasync", "ftruncate"])
    func aKilledReaderLosesAndDoublesNothing(_ reader: String, _ call: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            var redirections = 1
            var kills = 0
            for step in 1... {
                for side in ["standby", "primary"] {
                    #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
                    redirections += 1
                }
                let isOver = try HistoryTests.kill(lab, at: call, step, reader).exitCode == 0
                if !isOver { kills += 1 }
                if step % 3 == 0 || isOver {
                    let times = try HistoryTests.times(lab)
                    #expect(times.count == redirections && Set(times).count == redirections, "\(call) \(step)")
                }
                if isOver { break }
            }
            #expect(kills > 0)
        }
    }

    @Test(arguments: ["write", "close", "fcntl"])
    func aKilledSwitchTakesNoOtherRecordWithIt(_ call: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            var count = 1
            for step in 1... {
                let isOver = try HistoryTests.kill(lab, at: call, step, "switch vm1 --to standby").exitCode == 0
                // A redirection that a kill interrupted before the move is ended, which adds its own record.
                #expect(try lab.fdbsteer("reconcile").exitCode == 0)
                let killed = try HistoryTests.times(lab)
                #expect((count...count + 1).contains(killed.count), "\(call) \(step): \(killed.count) after \(count)")
                #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
                #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
                let times = try HistoryTests.times(lab)
                #expect((1...2).contains(times.count - killed.count), "\(call) \(step)")
                #expect(
                    Set(times).count == times.count && Array(times.suffix(killed.count)) == killed, "\(call) \(step)")
                count = times.count
                if isOver { break }
            }
        }
    }
}
