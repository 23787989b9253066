import Glibc
import Lab

/// Adds, moves, deletes, and reads: every peer in turn, round by round, in the calling thread's namespace.
struct EntryBench {
    /// The peer that all others are compared with.
    static let floor = "C on libmnl"

    private let setting: ThroughputSetting
    private let lab: BridgeLab
    private let scratch: TemporaryFolder
    private let quick: [PeerProcess]
    private let slow: [PeerProcess]

    init(_ setting: ThroughputSetting) throws {
        self.setting = setting
        let lab = try BridgeLab()
        self.lab = lab
        scratch = try TemporaryFolder(parent: setting.folder)
        let ends = [lab.primary, lab.standby, lab.bridge]
        func peer(_ name: String, _ arguments: [String]) throws -> PeerProcess? {
            guard let file = arguments.last, access(file, F_OK) == 0 || file == "peer" else { return nil }
            return try PeerProcess(name, arguments + ends)
        }
        quick = try [
            peer(EntryBench.floor, [setting.peers + "/fdb_floor"]),
            peer("fdbsteer", [setting.binaries + "/fdbsteer-bench", "peer"]),
            peer("C without acknowledgements (FRR)", [setting.peers + "/fdb_unacknowledged"]),
        ].compactMap { $0 }
        slow = try [
            peer("libnl-route", [setting.peers + "/fdb_libnl_route"]),
            peer("Go vishvananda/netlink", [setting.peers + "/fdb_go"]),
            peer("pyroute2", [setting.peers + "/python/bin/python3", setting.peers + "/fdb_pyroute2.py"]),
        ].compactMap { $0 }
    }

    /// The most entries for a peer: one of its rounds should take seconds, not minutes.
    private static func limit(_ who: String) -> Int {
        switch who {
        case "pyroute2": 1000
        case "Go vishvananda/netlink": 32_000
        case "bridge fdb, a process each": 64
        default: .max
        }
    }

    // MARK: - Changes

    /// The steps in order: add on port 0, move to port 1, move back, delete.
    private static let steps: [(work: String, port: Int)] = [("add", 0), ("move", 1), ("move", 0), ("delete", 0)]

    func moves() throws -> [ThroughputReport.Row] {
        defer { scratch.remove() }
        var rows: [ThroughputReport.Row] = []
        let sizes = [(1, 400, 40), (64, 200, 20), (1000, 60, 6), (32_000, 10, 3), (100_000, 7, 2)]
        for (entries, rounds, slowRounds) in sizes where entries <= setting.most {
            var times: [String: [String: [Double]]] = [:]
            let batches = try writeBatches(entries)
            defer { batches.values.forEach { unlink($0) } }
            for round in 0...setting.scaled(rounds) {
                // The first round is the warm-up. The rounds of slow peers are spread over those of the others.
                let every = max(1, setting.scaled(rounds) / setting.scaled(slowRounds))
                let withSlow = round % every == 0
                for turn in turns(round, withSlow: withSlow, entries: entries) {
                    var done: [String: Double] = [:]
                    for step in EntryBench.steps {
                        let nanoseconds = try turn.run(step.work, step.port, batches)
                        done[step.work, default: 0] += step.work == "move" ? nanoseconds / 2 : nanoseconds
                    }
                    guard round > 0 else { continue }
                    for (work, nanoseconds) in done {
                        times[work, default: [:]][turn.name, default: []].append(nanoseconds)
                        // A peer that did not run in a round has no ratio for it either.
                        if turn.name == EntryBench.floor, withSlow {
                            times[work, default: [:]]["floor of slow rounds", default: []].append(nanoseconds)
                        }
                    }
                }
            }
            for work in ["add", "move", "delete"] {
                rows += EntryBench.rows(work, times[work] ?? [:], entries: entries, order: order)
            }
        }
        return rows
    }

    private var order: [String] { (quick + slow).map(\.name) + ["bridge -batch", "bridge fdb, a process each"] }

    /// The rows by peer, each with the floor of its own rounds.
    private static func rows(
        _ work: String, _ times: [String: [Double]], entries: Int, order: [String]
    ) -> [ThroughputReport.Row] {
        order.compactMap { who in
            guard let own = times[who], !own.isEmpty, let all = times[floor] else { return nil }
            let reference = own.count == all.count ? all : times["floor of slow rounds"] ?? all
            return ThroughputReport.Row(work: work, who: who, entries: entries, nanoseconds: own, floor: reference)
        }
    }

    /// One peer's turn.
    private struct Turn {
        let name: String
        let run: (String, Int, [String: String]) throws -> Double
    }

    /// The peers of a round, starting with a different one each time.
    private func turns(_ round: Int, withSlow: Bool, entries: Int) -> [Turn] {
        var turns = (withSlow ? quick + slow : quick).map { peer in
            Turn(name: peer.name) { work, port, _ in try peer.run(work, entries, port: port).nanoseconds }
        }
        if withSlow {
            turns.append(
                Turn(name: "bridge -batch") { work, port, batches in
                    try TimedCommand.run(["bridge", "-batch", batches["\(work)\(port)"] ?? ""])
                })
            turns.append(
                Turn(name: "bridge fdb, a process each") { work, port, _ in
                    let device = port == 0 ? lab.primary : lab.standby
                    var sum = 0.0
                    for number in 0..<entries {
                        sum += try TimedCommand.run(
                            ["bridge"] + EntryBench.words(work, number, device).split(separator: " ").map(String.init))
                    }
                    return sum
                })
        }
        turns.removeAll { EntryBench.limit($0.name) < entries }
        let first = round % max(1, turns.count)
        return Array(turns[first...] + turns[..<first])
    }

    /// The arguments of `bridge` for one entry.
    private static func words(_ work: String, _ number: Int, _ device: String) -> String {
        let verb = ["add": "add", "move": "replace", "delete": "del"][work] ?? work
        return "fdb \(verb) \(mac(number)) dev \(device) master" + (verb == "del" ? "" : " static")
    }

    /// The MAC of a number, as in bench/peers/peer.h.
    static func mac(_ number: Int) -> String {
        let digits = Array("0123456789abcdef")
        return "02:fd"
            + [24, 16, 8, 0].map { shift in
                let octet = (number >> shift) & 255
                return ":\(digits[octet >> 4])\(digits[octet & 15])"
            }.joined()
    }

    /// The files for `bridge -batch`, by work and port; they are written before anything is timed.
    private func writeBatches(_ entries: Int) throws -> [String: String] {
        var files: [String: String] = [:]
        for step in EntryBench.steps {
            let device = step.port == 0 ? lab.primary : lab.standby
            let path = "\(scratch.path)/\(step.work)\(step.port)"
            let lines = (0..<entries).map { EntryBench.words(step.work, $0, device) + "\n" }
            try TextFile.write(lines.joined(), to: path)
            files["\(step.work)\(step.port)"] = path
        }
        return files
    }

    // MARK: - Reading

    func snapshots() throws -> [ThroughputReport.Row] {
        defer { scratch.remove() }
        var rows: [ThroughputReport.Row] = []
        let sizes = [(1000, 100, 20), (10_000, 40, 6), (100_000, 10, 3), (500_000, 5, 2)]
        for (entries, rounds, slowRounds) in sizes where entries <= setting.most {
            _ = try quick[0].run("add", entries)
            defer { _ = try? quick[0].run("delete", entries) }
            var times: [String: [Double]] = [:]
            for round in 0...setting.scaled(rounds) {
                let every = max(1, setting.scaled(rounds) / setting.scaled(slowRounds))
                let withSlow = round % every == 0
                var readers = quick.filter { !$0.name.contains("FRR") } + (withSlow ? slow : [])
                readers.removeAll { $0.name == "pyroute2" && entries > 10_000 }
                let first = round % readers.count
                for reader in readers[first...] + readers[..<first] {
                    let turn = try reader.run("dump", entries)
                    guard turn.entries >= entries else {
                        throw LabError("\(reader.name) read \(turn.entries) of \(entries) entries")
                    }
                    guard round > 0 else { continue }
                    times[reader.name, default: []].append(turn.nanoseconds)
                    if reader.name == EntryBench.floor, withSlow {
                        times["floor of slow rounds", default: []].append(turn.nanoseconds)
                    }
                }
                if withSlow {
                    let nanoseconds = try TimedCommand.run(["bridge", "-j", "fdb", "show", "br", lab.bridge])
                    if round > 0 { times["bridge -j fdb show", default: []].append(nanoseconds) }
                }
            }
            rows += EntryBench.rows("snapshot", times, entries: entries, order: order + ["bridge -j fdb show"])
        }
        return rows
    }

    /// Reads 64 addresses of a large table from the kernel, alone and after finding them in a table that was just read.
    func finds() throws -> [ThroughputReport.Row] {
        defer { scratch.remove() }
        let size = min(100_000, setting.most)
        _ = try quick[0].run("add", size)
        defer { _ = try? quick[0].run("delete", size) }
        return try finds(in: size, rounds: 300, isRead: false) + finds(in: size, rounds: 40, isRead: true)
    }

    /// - Parameter isRead: the table is read first, which is not timed.
    private func finds(in size: Int, rounds: Int, isRead: Bool) throws -> [ThroughputReport.Row] {
        var times: [String: [Double]] = [:]
        for round in 0...setting.scaled(rounds) {
            let pair = Array(quick[..<2])
            for reader in round % 2 == 0 ? pair : pair.reversed() {
                if isRead { _ = try reader.run("dump", size) }
                let turn = try reader.run("find", 64)
                guard turn.entries == 64 else { throw LabError("\(reader.name) found \(turn.entries) of 64 entries") }
                if round > 0 { times[reader.name, default: []].append(turn.nanoseconds) }
            }
        }
        return EntryBench.rows("find in \(size)\(isRead ? ", just read" : "")", times, entries: 64, order: order)
    }
}
