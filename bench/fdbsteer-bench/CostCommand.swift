import ArgumentParser
import FDB
import Glibc
import Lab
import Netlink

/// `fdbsteer-bench cost`.
struct CostCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cost",
        abstract: "What a batch costs beside C on libmnl, and what a switch costs as a process beside bridge.",
        discussion: """
            Runs in a network namespace of its own; needs root. The peers take turns with fdbsteer in one run. The C peer \
            (bench/peers) is compiled by the bench.
            """)

    @Option(help: "Entries that are repointed in a round.")
    var entries = 6400
    @Option(help: "Rounds of the batch comparison.")
    var rounds = 40
    @Option(help: "Processes of each kind.")
    var processes = 200
    @Option(help: "The fdbsteer binary to start. Default: the one beside this bench.")
    var binary: String?
    @Option(help: "The folder of the C peer's source.")
    var peers = "bench/peers"
    @Option(name: .long, help: "Write the results as JSON.")
    var json: String?

    func validate() throws {
        guard (1...60_000).contains(entries), rounds > 0, processes > 0 else {
            throw ValidationError("--entries goes from 1 to 60000, --rounds and --processes from 1")
        }
    }

    /// One line of the result.
    struct Row: Encodable, Sendable {
        let work: String
        let who: String
        let samples: Int
        let usMedian: Double
        let usMin: Double
        let usP90: Double
        /// The median of the turns' ratios to the peer; 1 for the peer.
        let ratioMedian: Double
    }

    private struct Results: Encodable {
        let results: [Row]
    }

    func run() throws {
        let command = self
        let scratch = try Scratch()
        defer { scratch.remove() }
        let floor = scratch.path + "/fdb_floor"
        defer { unlink(floor) }
        let compiled = try Command.run(
            ["cc", "-O2", "-Wall", "-Werror", "-o", floor, "\(peers)/fdb_floor.c", "-lmnl"])
        guard compiled.exitCode == 0 else {
            throw LabError("cannot compile \(peers)/fdb_floor.c (run from the project's root): \(compiled.errors)")
        }
        let own = binary ?? Self.siblingBinary
        let rows = try Namespace.run { () throws -> [Row] in
            let lab = try BridgeLab()
            return try command.batches(lab, floor: floor)
                + command.starts(lab, binary: own, state: scratch.path)
        }
        for row in rows { print(row.text) }
        if let json {
            try Scratch.write(json: Results(results: rows), to: json)
        }
    }

    /// `fdbsteer` in the folder of this executable.
    private static var siblingBinary: String {
        var path = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        let text = String(decoding: path.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return text.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            + "/fdbsteer"
    }

    // MARK: - Batches

    /// Microseconds an entry: this project's transaction and the C peer, a round each in turn.
    private func batches(_ lab: BridgeLab, floor: String) throws -> [Row] {
        var socket = try CommandSocket()
        guard let primary = try Interface.index(of: lab.primary), let standby = try Interface.index(of: lab.standby)
        else { throw LabError("the lab has no ports") }
        let addresses = try (0..<entries).map { try Address(mac: MACAddress(value: 0x5254_0100_0000 + UInt64($0))) }
        let ports = [primary, standby]
        func moves(to port: Int32) -> Transaction {
            Transaction(addresses.map { EntryChange($0, .replace, port: port) })
        }
        let transactions = [moves(to: primary), moves(to: standby)]
        func round(_ number: Int) throws -> Double {
            let begin = Self.now()
            let results = transactions[number % 2].run(on: &socket)
            let cost = (Self.now() - begin) / Double(entries)
            if let error = results.compactMap({ $0 }).first { throw error }
            return cost
        }
        _ = try round(0)
        var ours: [Double] = []
        var theirs: [Double] = []
        // Pairs of rounds: each side repoints there and back in a turn.
        for turn in 0..<max(1, rounds / 2) {
            ours += [try round(1), try round(0)]
            let peer = try Command.run([floor, lab.primary, lab.standby, "\(entries)", "2"])
            let costs = peer.output.split(separator: "\n").compactMap { Double($0) }
            guard peer.exitCode == 0, costs.count == 2 else {
                throw LabError("fdb_floor in turn \(turn): \(peer.errors)")
            }
            theirs += costs
        }
        _ = Transaction(addresses.map { EntryChange($0, .delete, port: ports[0]) }).run(on: &socket)
        let work = "move, us an entry, \(entries) entries by 64"
        return [
            Row(work: work, who: "C on libmnl", values: theirs, peer: theirs),
            Row(work: work, who: "fdbsteer", values: ours, peer: theirs),
        ]
    }

    // MARK: - Processes

    /// Microseconds from start to exit: `fdbsteer switch` with its journal, and `bridge fdb replace`, in turn.
    private func starts(_ lab: BridgeLab, binary: String, state: String) throws -> [Row] {
        let mac = lab.guestMAC
        let environment = ["FDBSTEER_STATE": state]
        let prepared = try Command.run(
            [
                binary, "prepare", "guest", "--bridge", lab.bridge, "--primary", lab.primary, "--standby", lab.standby,
                "--at", "primary", "--address", mac,
            ], environment: environment)
        guard prepared.exitCode == 0 else { throw LabError("\(binary) prepare: \(prepared.errors)") }
        var ours: [Double] = []
        var theirs: [Double] = []
        for turn in 0..<processes {
            let side = turn % 2 == 0 ? "standby" : "primary"
            let port = turn % 2 == 0 ? lab.standby : lab.primary
            ours.append(try Self.time([binary, "switch", "guest", "--to", side], environment))
            theirs.append(
                try Self.time(["bridge", "fdb", "replace", "52:54:00:fd:b5:99", "dev", port, "master", "static"], [:]))
        }
        let work = "one address, process from start to exit, us"
        return [
            Row(work: work, who: "bridge fdb replace", values: theirs, peer: theirs),
            Row(work: work, who: "fdbsteer switch", values: ours, peer: theirs),
        ]
    }

    private static func time(_ arguments: [String], _ environment: [String: String]) throws -> Double {
        let begin = now()
        let running = try RunningCommand(arguments, environment: environment)
        let command = running.wait()
        let cost = now() - begin
        guard command.exitCode == 0 else { throw LabError("\(arguments.joined(separator: " ")): \(command.errors)") }
        return cost
    }

    /// Microseconds of CLOCK_MONOTONIC.
    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
    }
}

extension CostCommand.Row {
    init(work: String, who: String, values: [Double], peer: [Double]) {
        func at(_ share: Double, of values: [Double]) -> Double {
            let sorted = values.sorted()
            return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
        }
        let ratios = zip(values, peer).map { $0 / $1 }
        self.init(
            work: work, who: who, samples: values.count, usMedian: at(0.5, of: values), usMin: at(0, of: values),
            usP90: at(0.9, of: values), ratioMedian: at(0.5, of: ratios))
    }

    var text: String {
        func hundredths(_ value: Double) -> String {
            let scaled = Int((value * 100).rounded())
            return "\(scaled / 100).\(scaled % 100 < 10 ? "0" : "")\(scaled % 100)"
        }
        return "\(work)  \(who): median \(hundredths(usMedian)), min \(hundredths(usMin)), p90 \(hundredths(usP90)) "
            + "(n=\(samples)), \(hundredths(ratioMedian)) x"
    }
}
