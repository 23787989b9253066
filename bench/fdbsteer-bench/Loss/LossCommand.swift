import ArgumentParser
import FoundationEssentials
import Glibc
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
        let state = try Scratch.goneWhenInterrupted()
        defer { state.remove() }
        let outcome = try Namespace.run { () throws -> LossRun.Outcome in
            var run = try LossRun(command, state: state.path)
            return try run.run()
        }
        print(LossTable(outcome.summaries).text)
        print("")
        for timeline in outcome.timelines { print(timeline.drawn() + "\n") }
        if let json {
            try Scratch.write(json: LossReport(outcome.summaries), to: json)
        }
        if let svg {
            let title =
                "One guest address moves between two ports, \(outcome.rate / 1000),000 frames a second, flooding off"
            try Scratch.write(Array(TimelineChart(outcome.timelines, title: title).svg.utf8), to: svg)
        }
    }
}

/// A folder for a journal, on a tmpfs if there is one, like `/run` in production.
struct Scratch: Sendable {
    let path: String

    /// - Parameter parent: the folder to make it in; nil for a tmpfs if there is one.
    init(parent: String? = nil) throws {
        let parent = parent ?? (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        var template = Array("\(parent)/fdbsteer-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw LabError("cannot make a folder in \(parent)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Removes the folder with its contents.
    func remove() { _ = try? Command.run(["rm", "-rf", path]) }

    /// A folder that is also removed with its contents if the program is interrupted. Call it before there are other threads.
    static func goneWhenInterrupted() throws -> Scratch {
        let scratch = try Scratch()
        try Interruption.onSignal { scratch.remove() }
        return scratch
    }

    /// Writes an object with snake_case keys in alphabetical order.
    static func write(json value: some Encodable, to path: String) throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try write(Array(try encoder.encode(value)), to: path)
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        guard let file = fopen(path, "w") else {
            throw LabError("cannot write \(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw LabError("cannot write \(path)") }
    }
}
