import Glibc
import Lab
import Testing

/// What happens to guests, as `monitor` and `history` tell it: who, and why.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct MonitorTests {
    /// A `monitor` that runs, with what it has written so far.
    private struct Monitor: ~Copyable {
        let command: RunningCommand
        let file: String

        init(_ lab: CommandLineLab, _ arguments: String, into name: String) throws {
            file = lab.state + "/" + name
            command = try RunningCommand([
                "sh", "-c", "exec \(CommandLineLab.binary) monitor \(arguments) --state \(lab.state) >\(file) 2>&1",
            ])
        }

        func waitFor(_ words: String...) throws {
            for _ in 0..<2000 {
                let lines = TextFile.read(file).split(separator: "\n")
                if lines.contains(where: { line in words.allSatisfy { line.contains($0) } }) { return }
                usleep(10_000)
            }
            throw LabError("monitor did not show \(words), but:\n\(TextFile.read(file))")
        }

        consuming func end() {
            kill(command.process, SIGINT)
            let ended = command.wait()
            #expect(ended.exitCode == 0)
        }
    }

    @Test func eachEventIsToldWithWhoDidItAndWhy() throws {
        try CommandLineLab.run { lab in
            // Before there is a log.
            let monitor = try Monitor(lab, "", into: "text")
            let json = try Monitor(lab, "vm1 --json", into: "json")
            try lab.prepare()
            try monitor.waitFor("vm1  prepare on primary: done, 1 address", "by fdbsteer prepare")
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try monitor.waitFor("vm1  switch primary -> standby: done", "by fdbsteer switch")
            let waited = try lab.fdbsteer("switch vm1 --to primary --until carrier:vfrep0=up")
            #expect(waited.exitCode == 0, "\(waited.errors)")
            try monitor.waitFor("switch standby -> primary", "; signal carrier:vfrep0=up after ")
            #expect(try lab.fdbsteer("switch vm1 --to standby --until word --timeout 50ms").exitCode == 6)
            try monitor.waitFor("no signal: ", "by fdbsteer switch")
            try DaemonLab.run(in: lab) { daemon in
                try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
                try monitor.waitFor("repair on primary: done", "by fdbsteerd")
                try Command.script("ip link set tap0 down")
                try monitor.waitFor("condition port-down begins: tap0")
                try Command.script("ip link set tap0 up")
                try monitor.waitFor("condition port-down is over")
            }
            try json.waitFor("\"event\":\"condition_over\"")
            let lines = TextFile.read(json.file).split(separator: "\n")
            #expect(lines.allSatisfy { $0.first == "{" && $0.last == "}" && $0.contains("\"uid\":0") })
            monitor.end()
            json.end()
            let last = try lab.fdbsteer("monitor --last 2 --for 10ms").output
            #expect(last.split(separator: "\n").count == 2 && last.contains("port-down is over"), "\(last)")
        }
    }

    @Test func theHistoryTellsByWhomAndTheWaitApartFromTheWork() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let begin = ContinuousClock.now
            let waiting = try RunningCommand(
                [
                    CommandLineLab.binary, "switch", "vm1", "--to", "standby", "--until", "carrier:uplink0=down",
                    "--timeout", "60s",
                ], environment: ["FDBSTEER_STATE": lab.state])
            for _ in 0..<1000 where access(lab.state + "/waits/vm1.json", F_OK) != 0 { usleep(10_000) }
            usleep(300_000)
            try Command.script("ip link set \(BridgeLab.far("uplink0")) down")
            #expect(waiting.wait().exitCode == 0)
            let took = (ContinuousClock.now - begin) / .nanoseconds(1)
            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 3)
            let user = try Command.run(
                ["env", "SUDO_UID=65534", CommandLineLab.binary, "switch", "vm1", "--to", "primary"],
                environment: ["FDBSTEER_STATE": lab.state])
            #expect(user.exitCode == 0, "\(user.errors)")
            let history = try lab.fdbsteer("history").output.split(separator: "\n")
            #expect(history.count == 5 && history[1].contains("fdbsteer switch (nobody)"), "\(history)")
            #expect(history[2].contains("refused") && history[2].contains("uplink0"), "\(history)")
            let json = try lab.fdbsteer("history --json").output
            let waited = json.firstMatch(of: /"waited_ns" : (\d+)/).flatMap { Double($0.1) } ?? 0
            #expect(waited >= 300e6 && waited <= took, "\(json)")
            #expect(
                json.contains("\"signal\" : \"carrier:uplink0=down\"") && json.contains("\"uid\" : 65534"), "\(json)")
            let report = try lab.fdbsteer("history --report --number 2").output
            #expect(report.contains("signal    carrier:uplink0=down, waited for 3"), "\(report)")
            #expect(report.contains("by        fdbsteer switch"), "\(report)")
            // The filters.
            func lines(_ options: String) throws -> Int {
                let command = try lab.fdbsteer("history " + options)
                #expect(command.exitCode == 0, "\(command.errors)")
                return command.output.split(separator: "\n").count - 1
            }
            #expect(try lines("--outcome done") == 3)
            #expect(try lines("--outcome refused,timeout") == 1)
            #expect(try lines("--since 1h") == 4)
            #expect(try lines("--since 2020-01-01T00:00:00Z vm1") == 4)
            #expect(try lab.fdbsteer("history --since 2100-01-01").output.contains("no such redirection"))
            try lab.refused("history --since yesterday", code: 64, saying: "2026-11-30T02:15:00Z")
            try lab.refused("history --outcome dome", code: 64, saying: "did you mean done?", "timeout")
        }
    }
}
