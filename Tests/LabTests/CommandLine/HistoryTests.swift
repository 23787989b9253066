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
        return history.output.split(separator: "\n").filter { $0.contains("\"time\"") }
    }

    /// Runs `fdbsteer`, and kills it at its n-th system call of a kind.
    private static func kill(_ lab: CommandLineLab, at call: String, _ step: Int, _ command: String) throws -> Command {
        try Command.run(
            [
                "strace", "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                "inject=\(call):signal=KILL:when=\(step)", CommandLineLab.binary,
            ] + command.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
    }

    @Test func refusalsAndTimeoutsAreInTheLog() throws {
        try CommandLineLab.run { lab in
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 3)
            #expect(TextFile.read(lab.state + "/events.log").isEmpty, "nobody knows that guest")
            try lab.prepare()
            try Command.script("ip link set tap0 down")
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 3)
            #expect(try lab.fdbsteer("switch vm1 --to standby --dry-run").exitCode == 3)
            try Command.script("ip link set tap0 up")
            #expect(try lab.fdbsteer("switch vm1 --to standby --until word --timeout 50ms").exitCode == 6)
            let events = TextFile.read(lab.state + "/events.log").split(separator: "\n")
            let refused = events.filter { $0.contains("\"event\":\"refused\"") }
            #expect(refused.count == 1 && refused[0].contains("tap0") && refused[0].contains("\"guest\":\"vm1\""))
            #expect(events.count { $0.contains("\"event\":\"timeout\"") } == 1)
            // The history has them too.
            #expect(try HistoryTests.times(lab).count == 3)
            #expect(try lab.fdbsteer("history --outcome timeout").output.contains("fdbsteer switch"))
            let rows = try lab.fdbsteer("history --outcome refused,timeout").output.split(separator: "\n").dropFirst()
            #expect(rows.count == 2)
            for row in rows { #expect(row.contains("  primary  standby  "), "\(row)") }
            #expect(try lab.fdbsteer("switch vm1 --to standby --close").exitCode == 3)
            #expect(try lab.fdbsteer("switch vm1 --to standby --strategy bracket").exitCode == 3)
            let brackets = try lab.fdbsteer("history --outcome refused --limit 2").output.split(separator: "\n")
            #expect(brackets.dropFirst().first?.contains("switch (opens bracket)") == true, "\(brackets)")
            #expect(brackets.last?.contains("switch (closes bracket)") == true, "\(brackets)")
        }
    }

    @Test(arguments: ["history", "metrics"], ["pwrite64", "fdatasync", "unlink"])
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

    @Test(arguments: ["write", "close", "fstat"])
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

    /// Events that make the log so large that the next one puts it aside.
    private static func enlarge(_ lab: CommandLineLab) throws {
        let lines = "{\"event\":\"unheard of\",\"id\":\"x\"}\n" + String(repeating: "x", count: 1000)
        let log = TextFile.read(lab.state + "/events.log")
        try TextFile.write(log + String(repeating: lines + "\n", count: 4200), to: lab.state + "/events.log")
    }

    @Test(arguments: ["rename", "unlink", "fcntl"], [false, true])
    func aKilledRotationLosesNothing(_ call: String, isRead: Bool) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            var known: [Substring] = []
            var kills = 0
            var unread = 0
            for step in 1... {
                try HistoryTests.enlarge(lab)
                let isOver = try HistoryTests.kill(lab, at: call, step, "switch vm1 --to standby").exitCode == 0
                if !isOver { kills += 1 }
                #expect(try lab.fdbsteer("reconcile").exitCode == 0)
                for side in ["standby", "primary"] {
                    #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
                }
                unread += 1
                // Four files are kept that were put aside.
                if isRead || unread == 3 || isOver {
                    let times = try HistoryTests.times(lab)
                    // A switch that was killed may have none, and the way back has one.
                    #expect(times.count >= known.count + unread, "\(call) \(step)")
                    #expect(
                        Set(times).count == times.count && Set(times).isSuperset(of: known), "\(call) \(step)")
                    unread = 0
                    known = times
                }
                if isOver { break }
            }
            #expect(kills > 0)
            // Everything that the log still has, and nothing else, is in a database that is made anew.
            #expect(unlink(lab.state + "/history.db") == 0)
            let times = try HistoryTests.times(lab)
            #expect(!times.isEmpty && Set(known).isSuperset(of: times))
        }
    }

    /// The database is for whom its log is for; one that was made with another mode gets that as well. A guest that is released is in
    /// the history still.
    @Test func theDatabaseHasTheModeOfTheLog() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            func modes() throws -> String {
                try Command.run(["stat", "-c", "%a", lab.state + "/events.log", lab.state + "/history.db"]).output
            }
            #expect(try lab.fdbsteer("history").exitCode == 0)
            #expect(try modes() == "600\n600\n")
            #expect(chmod(lab.state + "/history.db", 0o644) == 0)
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            let history = try lab.fdbsteer("history vm1")
            #expect(history.exitCode == 0 && history.output.contains(" release "), "\(history.output)\(history.errors)")
            #expect(try modes() == "600\n600\n")
        }
    }

    @Test func aHistoryThatIsUpToDateCanBeReadWhereNothingCanBeWritten() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            func history() throws -> Command {
                let folder = lab.state
                return try Command.run([
                    "unshare", "-m", "sh", "-c",
                    "mount --bind \(folder) \(folder) && mount -o remount,bind,ro \(folder) && "
                        + "exec \(CommandLineLab.binary) history --json --state \(folder)",
                ])
            }
            let known = try lab.fdbsteer("history --json").output
            let read = try history()
            #expect(read.exitCode == 0 && read.output == known, "\(read.errors)")
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            let new = try history()
            #expect(new.exitCode == 3 && new.errors.contains("(mount it writable"), "\(new.errors)")
        }
    }

    @Test func aFullFileSystemIsANoteAndSpoilsNothing() throws {
        try CommandLineLab.run { lab in
            let script = """
                set -e
                mount -t tmpfs none /run
                mount -t tmpfs none /var/lib
                mkdir /var/lib/fdbsteer
                mount -t tmpfs -o size=256k none /var/lib/fdbsteer
                F="\(CommandLineLab.binary)"
                unset FDBSTEER_STATE
                $F prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address \(CommandLineLab.mac)
                $F switch vm1 --to standby
                $F history > /dev/null
                $F switch vm1 --to primary
                # The log fills its page, and gets no other.
                dd if=/dev/zero of=/var/lib/fdbsteer/filling bs=1k 2>/dev/null || true
                for number in 1 2 3 4 5 6 7 8; do
                    for side in standby primary; do $F switch vm1 --to $side; done
                done
                echo "full:"
                $F history
                rm /var/lib/fdbsteer/filling
                $F switch vm1 --to standby
                echo "free:"
                $F history
                """
            let command = try Command.run(["unshare", "--mount", "sh", "-c", script])
            #expect(command.exitCode == 0, "\(command.output)\(command.errors)")
            let notes = command.output.split(separator: "\n").filter {
                $0.contains("the history was not written: /var/lib/fdbsteer/events.log: No space left on device")
            }
            #expect(!notes.isEmpty && notes.count < 16, "\(command.output)\(command.errors)")
            let rows = command.output.split(separator: "\n").reversed().firstIndex { $0 == "free:" } ?? 0
            // A headline, three before it was full, one after it, and those that found space.
            #expect(rows == 1 + 3 + 1 + 16 - notes.count, "\(command.output)")
        }
    }
}
