import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench throughput`.
struct ThroughputCommand: ParsableCommand {
    /// A part of the bench.
    enum Part: String, ExpressibleByArgument, CaseIterable {
        case moves, snapshot, find, process, instructions, signal, leave, call
    }

    static let configuration = CommandConfiguration(
        commandName: "throughput",
        abstract: "What entries cost by fdbsteer and by what users would pick instead.",
        discussion: """
            Runs in network namespaces of its own; needs root. The peers (bench/peers, built by its script "build") take \
            turns in the same rounds; each is compared with the floor of the same round. Without arguments it takes a few \
            minutes.
            """)

    @Option(help: "Only this part; may be given more than once. Default: all.")
    var part: [Part] = []
    @Option(help: "Entries at most, for a shorter run.")
    var most = 500_000
    @Option(help: "Rounds, in percent of the default.")
    var rounds = 100
    @Option(help: "Switches that the daemon is to make for the latencies of the parts signal and call.")
    var signals = 10_000
    @Option(help: "The folder of the binaries to measure. Default: the one of this bench.")
    var binaries: String?
    @Option(help: "The folder of the peers' sources.")
    var peers = "bench/peers"
    @Flag(help: "Only the peers in C and iproute2's: nothing is installed.")
    var withoutInstallation = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...1_000_000).contains(most), (1...1000).contains(rounds), (1...1_000_000).contains(signals) else {
            throw ValidationError("--most goes from 1 to 1000000, --rounds from 1 to 1000, --signals from 1 to 1000000")
        }
    }

    func run() throws {
        let parts = part.isEmpty ? Part.allCases : part
        let built = try Command.run(["\(peers)/build", withoutInstallation ? "c" : "all"])
        guard built.exitCode == 0, let folder = built.output.split(separator: "\n").last else {
            throw LabError("\(peers)/build (run from the project's root): \(built.errors)")
        }
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        let setting = ThroughputSetting(
            folder: scratch.path, peers: String(folder), binaries: binaries ?? OwnProgram.folder, most: most,
            rounds: rounds,
            signals: signals)
        var report = ThroughputReport(machine: Machine())
        for part in Part.allCases where parts.contains(part) {
            Progress.say("\(part.rawValue) ...")
            let rows = try Namespace.run { () throws -> [ThroughputReport.Row] in
                switch part {
                case .moves: try EntryBench(setting).moves()
                case .snapshot: try EntryBench(setting).snapshots()
                case .find: try EntryBench(setting).finds()
                case .process: try ProcessBench(setting).run()
                case .instructions: try InstructionBench(setting).run()
                case .signal: try SignalBench(setting).run()
                case .leave: try LeaveBench(setting).run()
                case .call: try CallBench(setting).run()
                }
            }
            report.results += rows
            print(TextTable.fitted(ThroughputReport.table(of: rows), numbersFrom: 2, isWide: output.wide))
            fflush(nil)
        }
        report.machine.end()
        print(report.machine.text)
        try output.write(report, report.page)
    }
}

/// The setting of all parts.
struct ThroughputSetting: Sendable {
    /// The folder for journals and files; it is removed at the end of the program.
    let folder: String
    /// The folder of the built peers.
    let peers: String
    /// The folder of `fdbsteer`, `fdbsteerd` and this bench.
    let binaries: String
    let most: Int
    let rounds: Int
    let signals: Int

    /// The number of rounds, scaled by the percentage given on the command line.
    func scaled(_ count: Int) -> Int { max(1, count * rounds / 100) }
}
