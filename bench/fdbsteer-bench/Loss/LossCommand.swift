import ArgumentParser
import Glibc
import JSON
import Lab
import LossMeter

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
    @Option(name: .long, help: "Write the results as JSON.")
    var json: String?
    @Option(name: .long, help: "Write the timeline as SVG.")
    var svg: String?

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
        let outcome = try Namespace.run { () throws -> LossRun.Outcome in
            var run = try LossRun(command, state: state.path)
            return try run.run()
        }
        print(LossTable(outcome.summaries).text)
        print("")
        for timeline in outcome.timelines { print(timeline.drawn() + "\n") }
        if let json {
            try TextFile.write(json: LossReport(outcome.summaries), to: json)
        }
        if let svg {
            let title =
                "One guest address moves between two ports, \(outcome.rate / 1000),000 frames a second, flooding off"
            try TextFile.write(TimelineChart(outcome.timelines, title: title).svg, to: svg)
        }
    }
}

extension TextFile {
    /// Writes an object with snake_case keys in alphabetical order.
    static func write(json value: some Encodable, to path: String) throws {
        try write(JSON(encoding: value).pretty, to: path)
    }
}
