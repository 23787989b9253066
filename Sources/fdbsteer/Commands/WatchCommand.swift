import ArgumentParser
import Controller
import FDB
import JSON
import Policy
import System

/// `fdbsteer watch`.
struct WatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Show each move of a MAC between the ports of a bridge, until Ctrl-C.",
        discussion: """
            Any bridge can be watched: nothing has to be prepared, nothing is changed, and no privilege is needed. Each line has the \
            time, the MAC, the ports, and how its entry was made: learned (by a frame), static (by a program), extern_learn (by a \
            control plane). A return within 10 s is a flap. At the end there is a summary. With --json each event is an object on a \
            line of its own, and the summary is the last.
            """)

    @Argument(help: "One bridge. Default: all.", completion: Completions.bridges)
    var bridge: String?
    @Option(name: .customLong("for"), help: "End after this time.", transform: TimeLimit.read)
    var limit: TimeLimit?
    @Flag(help: "Only count: print the summary alone.")
    var quiet = false
    @OptionGroup var common: CommonOptions

    func run() {
        let call = common.call
        call.run(reading: true) { host throws(ControllerError) in
            let view = try LiveView(for: limit)
            var watch = try MoveWatch(bridge: bridge, on: &host)
            let begin = monotonicNanoseconds()
            if !common.json { Output.error("watching \(watch.bridgeNames.joined(separator: ", "))") }
            while view.wait(for: watch.descriptor, atMost: 3_600_000_000_000) { _ = try hear(&watch, on: &host) }
            // What waits has happened before the end.
            for _ in 0..<WatchCommand.lastLooks where Output.failure == nil {
                if try !hear(&watch, on: &host) { break }
            }
            summarize(&watch, seconds: Double(monotonicNanoseconds() - begin) / 1e9)
            return 0
        }
    }

    /// Prints what was heard.
    ///
    /// - Returns: whether more may wait.
    private func hear(_ watch: inout MoveWatch, on host: inout Host) throws(ControllerError) -> Bool {
        var events: [Moves.Event] = []
        let (isLost, new, isMore) = try watch.hear(on: &host) { if !quiet { events.append($0) } }
        if !new.isEmpty, !common.json { Output.error("watching \(new.joined(separator: ", ")) too") }
        if isLost {
            Output.error("fdbsteer: the kernel dropped notifications: what is counted is a minimum from here on")
        }
        var lines: [UInt8] = []
        for event in events {
            if common.json {
                Output.versioned(watch.json(event)).write(to: &lines)
            } else {
                lines += event.words(&watch).utf8
            }
            lines.append(UInt8(ascii: "\n"))
        }
        if !lines.isEmpty { Output.bytes(lines) }
        return isMore
    }

    /// At the end so many looks: more notifications than can wait.
    private static let lastLooks = 256

    /// How many addresses the summary names.
    private static let named = 10

    private func summarize(_ watch: inout MoveWatch, seconds: Double) {
        let moves = watch.moves
        let busiest = moves.busiest(WatchCommand.named)
        if common.json {
            return Output.line(
                Output.versioned(watch.summary(seconds: seconds, naming: WatchCommand.named)).description)
        }
        let least = watch.overruns == 0 ? "" : "at least "
        Output.line(
            "\(least)\(moves.changes) changes in \(Int(seconds.rounded())) s: \(moves.total) moves of \(moves.movers) addresses ("
                + Moves.Origin.allCases.filter { $0 != .local }.map { "\(moves.moves[$0] ?? 0) \($0.rawValue)" }
                .joined(separator: ", ")
                + "), \(moves.flaps) flaps, \(moves.seconds) on a second port"
                + (watch.overruns == 0
                    ? ""
                    : "; the kernel dropped notifications \(watch.overruns == 1 ? "once" : "\(watch.overruns) times")"))
        for count in busiest {
            let place = count.port.map { "now on \(watch.name($0))" } ?? "now without an entry"
            Output.line(
                "  \(watch.name(count.bridge))  \(count.address)  \(count.moves) moves, \(count.flaps) flaps, \(place)"
                    + (count.wasEarly ? ", which spoke with it before it stayed there" : ""))
        }
        if moves.movers > busiest.count { Output.line("  and \(moves.movers - busiest.count) more addresses") }
    }
}

extension Moves.Event {
    /// One line for people.
    fileprivate func words(_ watch: inout MoveWatch) -> String {
        switch self {
        case .moved(let move):
            var line = "\(Timestamp.text(move.time))  \(watch.name(move.bridge))  \(move.address)  "
            line += "\(watch.name(move.from)) -> \(watch.name(move.to))  \(move.origin.rawValue)"
            if move.originBefore != move.origin { line += " (was \(move.originBefore.rawValue))" }
            line += ", after \(Output.duration(move.stay))"
            if move.gap > 0 { line += " and \(Output.duration(move.gap)) without an entry" }
            if move.isFlap { line += ", flap" }
            if let early = move.early {
                line +=
                    "; \(watch.name(move.to)) spoke with it \(Output.duration(early.ago)) ago already, for "
                    + "\(Output.duration(early.stay)), before it was there"
            }
            return line
        case .second(let bridge, let address, let port, let origin, let other, let otherPort):
            return "\(Timestamp.text(Stopwatch.realTime))  \(watch.name(bridge))  \(address)  second port: on "
                + "\(watch.name(port)) \(origin.rawValue), and as \(other) on \(watch.name(otherPort))"
        }
    }
}
