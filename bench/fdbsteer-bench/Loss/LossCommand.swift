import ArgumentParser
import Glibc
import Lab
import LossMeter
import Pages

/// `fdbsteer-bench loss`.
struct LossCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "loss",
        abstract: "Counts each frame that a move loses or duplicates, method by method, with flooding on and off.",
        discussion: """
            Runs in a network namespace of its own: a bridge, an uplink that frames come from, a VF's port and a \
            standby's port with a receiver behind each. Needs root. Nothing outside the namespace is touched.
            """)

    @Option(help: "Frames a second. Default: 200000, or the highest rate that the sender holds here.")
    var rate: Int?
    @Option(help: "Moves of the fdbsteer method for each flood setting.")
    var moves = 1000
    @Option(help: "Moves of each other method for each flood setting.")
    var otherMoves = 160
    @Option(help: "The worst resolution of a conclusive move, in microseconds.")
    var bound = 10
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard rate.map({ (1000...1_000_000).contains($0) }) ?? true else {
            throw ValidationError("--rate goes from 1000 to 1000000 frames a second")
        }
        guard moves > 0, otherMoves > 0, bound > 0 else {
            throw ValidationError("--moves, --other-moves and --bound are at least 1")
        }
    }

    func run() throws {
        let command = self
        let state = try TemporaryFolder.goneWhenInterrupted()
        defer { state.remove() }
        var machine = Machine()
        let outcome = try Namespace.run { () throws -> LossRun.Outcome in
            var run = try LossRun(command, state: state.path)
            return try run.run()
        }
        machine.end()
        print(TextTable.fitted(LossTable(outcome.summaries).rows, numbersFrom: 1, isWide: output.wide))
        print("")
        for timeline in outcome.timelines { print(timeline.drawn() + "\n") }
        var page = LossPage(rate: outcome.rate, outcome.summaries, outcome.timelines).page
        page.setting(machine)
        try output.write(LossReport(outcome.summaries), page)
    }
}
