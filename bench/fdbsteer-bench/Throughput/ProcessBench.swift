import Glibc
import Lab

/// A redirection as a process, from start to exit: `fdbsteer switch` with journal, history and evidence, next to `bridge`.
struct ProcessBench {
    private let setting: ThroughputSetting

    init(_ setting: ThroughputSetting) throws { self.setting = setting }

    func run() throws -> [ThroughputReport.Row] {
        let lab = try BridgeLab()
        let state = try TemporaryFolder(parent: setting.folder)
        defer { state.remove() }
        let files = try TemporaryFolder(parent: setting.folder)
        defer { files.remove() }
        let environment = ["FDBSTEER_STATE": state.path]
        let binary = setting.binaries + "/fdbsteer"
        var first = 0x1000
        var rows: [ThroughputReport.Row] = []
        for (entries, rounds) in [(1, 300), (8, 100), (32, 100), (64, 100), (256, 50)] {
            let guest = "guest\(entries)"
            let own = (first..<first + entries).map(EntryBench.mac)
            let others = (first + entries..<first + 2 * entries).map(EntryBench.mac)
            first += 2 * entries
            let prepared = try Command.run(
                [binary, "prepare", guest, "--bridge", lab.bridge, "--primary", lab.primary, "--standby", lab.standby]
                    + ["--at", "primary"] + own.flatMap { ["--address", $0] }, environment: environment)
            guard prepared.exitCode == 0 else { throw LabError("\(binary) prepare: \(prepared.errors)") }
            var batches: [String] = []
            for port in [lab.standby, lab.primary] {
                let path = "\(files.path)/\(port)"
                let lines = others.map { "fdb replace \($0) dev \(port) master static\n" }
                try TextFile.write(lines.joined(), to: path)
                batches.append(path)
            }
            defer { batches.forEach { unlink($0) } }
            var times: [String: [Double]] = [:]
            for round in 0...setting.scaled(rounds) {
                let way = round % 2
                var done: [(String, Double)] = []
                func bridge() throws {
                    if entries == 1 {
                        done.append(
                            (
                                "bridge fdb replace",
                                try TimedCommand.run(
                                    ["bridge", "fdb", "replace", others[0], "dev"]
                                        + [way == 0 ? lab.standby : lab.primary, "master", "static"])
                            ))
                    } else {
                        done.append(("bridge -batch", try TimedCommand.run(["bridge", "-batch", batches[way]])))
                    }
                }
                if round % 4 < 2 { try bridge() }
                let side = way == 0 ? "standby" : "primary"
                done.append(
                    (
                        "fdbsteer switch",
                        try TimedCommand.run([binary, "switch", guest, "--to", side], environment: environment)
                    ))
                if round % 4 >= 2 { try bridge() }
                guard round > 0 else { continue }
                for (who, nanoseconds) in done { times[who, default: []].append(nanoseconds) }
            }
            let peer = entries == 1 ? "bridge fdb replace" : "bridge -batch"
            for who in [peer, "fdbsteer switch"] {
                rows.append(
                    ThroughputReport.Row(
                        work: "process", who: who, entries: entries, nanoseconds: times[who] ?? [],
                        floor: times[peer] ?? []))
            }
        }
        var information = stat()
        if stat(binary, &information) == 0 { print("\(binary): \(information.st_size) bytes") }
        return rows
    }
}

/// Counts instructions in user space with valgrind: they are exact even where times are not.
struct InstructionBench {
    private let setting: ThroughputSetting

    init(_ setting: ThroughputSetting) throws { self.setting = setting }

    func run() throws -> [ThroughputReport.Row] {
        guard try Command.run(["sh", "-c", "command -v valgrind"]).exitCode == 0 else {
            print("no valgrind: instructions are not counted")
            return []
        }
        let lab = try BridgeLab()
        let state = try TemporaryFolder(parent: setting.folder)
        defer { state.remove() }
        let ends = "\(lab.primary) \(lab.standby) \(lab.bridge)"
        let peers = [
            (EntryBench.floor, "\(setting.peers)/fdb_floor"), ("fdbsteer", "\(setting.binaries)/fdbsteer-bench peer"),
        ]
        var rows: [ThroughputReport.Row] = []
        for (work, entries) in [("move", 6400), ("dump", 10_000)] {
            let before = "add \(entries) 0"
            let after = "delete \(entries) \(work == "dump" ? 0 : 1)"
            var floor = 0.0
            for (who, command) in peers {
                // Two runs that differ by a few works: the cost of a start is in both.
                let most = 5
                let counts = try [1, most].map { times in
                    let works = [before] + Array(repeating: "\(work) \(entries) 1", count: times) + [after]
                    return try count(
                        "printf '\(works.map { $0 + "\\n" }.joined())' | valgrind --tool=callgrind "
                            + "--callgrind-out-file=/dev/null \(command) \(ends)")
                }
                let each = (counts[1] - counts[0]) / Double((most - 1) * entries)
                if floor == 0 { floor = each }
                var row = ThroughputReport.Row(
                    work: "instructions of \(work)", who: who, entries: entries, nanoseconds: [], floor: [])
                row.instructionsPerEntry = each
                row.ratio(each / floor)
                rows.append(row)
            }
        }
        return rows + (try processes(lab, state: state.path))
    }

    /// Whole processes that redirect one address.
    private func processes(_ lab: BridgeLab, state: String) throws -> [ThroughputReport.Row] {
        let environment = "FDBSTEER_STATE=\(state)"
        let binary = "\(setting.binaries)/fdbsteer"
        try Command.script(
            "env \(environment) \(binary) prepare g --bridge \(lab.bridge) --primary \(lab.primary) --standby "
                + "\(lab.standby) --at primary --address \(EntryBench.mac(1))")
        // The first switch creates the history's file.
        try Command.script("env \(environment) \(binary) switch g --to standby")
        let valgrind = "valgrind --tool=callgrind --callgrind-out-file=/dev/null"
        let peer = try count("\(valgrind) bridge fdb replace \(EntryBench.mac(2)) dev \(lab.primary) master static")
        let own = try count("\(environment) \(valgrind) \(binary) switch g --to primary")
        return [("bridge fdb replace", peer), ("fdbsteer switch", own)].map { who, count in
            var row = ThroughputReport.Row(
                work: "instructions of a process", who: who, entries: 1, nanoseconds: [], floor: [])
            row.instructionsPerEntry = count
            row.ratio(count / peer)
            return row
        }
    }

    /// Runs a shell line under callgrind and returns the number of instructions.
    private func count(_ line: String) throws -> Double {
        let command = try Command.run(["sh", "-c", line])
        let words = command.errors.split { $0 == " " || $0 == "\n" }
        guard command.exitCode == 0, let place = words.firstIndex(of: "Collected"), place + 2 < words.count,
            let number = Double(words[place + 2])
        else { throw LabError("\(line): \(command.errors)") }
        return number
    }
}

extension ThroughputReport.Row {
    mutating func ratio(_ value: Double) {
        var row = ThroughputReport.Row(
            work: work, who: who, entries: entries, rounds: 1, usPerEntryMedian: 0, usPerEntryMin: 0, usPerEntryP90: 0,
            ratioToFloor: value)
        row.instructionsPerEntry = instructionsPerEntry
        self = row
    }
}
