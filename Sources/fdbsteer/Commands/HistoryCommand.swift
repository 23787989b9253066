import ArgumentParser
import Controller
import Glibc
import JSON
import Policy
import Records
import Switchdev
import System

/// `fdbsteer history`.
struct HistoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Show the last redirections, and what was refused or not signalled in time, the newest first.",
        discussion: "TOOK is the work alone; the time that a signal was waited for stands apart, as WAITED.")

    @Argument(help: "One guest interface.", completion: Completions.guests)
    var guest: String?
    @Option(help: "At most so many. Default: 50.")
    var limit: Int?
    @Option(
        help:
            "Only from this time on: 2h, 30min (ago), or 2026-11-30, 2026-11-30T02:15 or 2026-11-30T02:15:00Z, in UTC.",
        transform: HistoryCommand.moment)
    var since: Int64?
    @Option(
        help: ArgumentHelp(
            "Only with this outcome: \(HistoryView.outcomes.joined(separator: ", ")). Several are separated by commas.",
            valueName: "outcome"), completion: .list(HistoryView.outcomes), transform: HistoryCommand.outcomes)
    var outcome: [String] = []
    @Flag(help: "All about the last redirection: what one would attach to a change ticket.")
    var report = false
    @Option(help: "With --report: the redirection of this number.")
    var number: Int64?
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (1...100_000).contains(limit ?? 1) else { throw ValidationError("--limit goes from 1 to 100000") }
        guard number ?? 1 > 0 else { throw ValidationError("--number goes from 1") }
        guard report || number != nil else { return }
        let lists = [("--limit", limit != nil), ("--since", since != nil), ("--outcome", !outcome.isEmpty)]
        let superfluous = lists.filter(\.1).map(\.0).joined(separator: ", ")
        if superfluous.isEmpty { return }
        throw ValidationError(
            "the report is about one redirection, the last or that of --number, which \"fdbsteer history\" shows: leave "
                + "\(superfluous) out")
    }

    func run() {
        let id = common.call.check { () throws(ControllerError) -> GuestID? in
            if let guest { try GuestID(guest) } else { nil }
        }
        common.call.run(reading: true) { host throws(ControllerError) in
            try common.call.folder.requireNamed()
            if report || number != nil {
                let report = try HistoryReading.report(id, number: number, in: common.call.folder)
                if common.json { Output.json(report) } else { report.lines.forEach(Output.line) }
                return 0
            }
            let view = try HistoryView(
                of: id, since: since, outcomes: outcome, limit: limit ?? 50, in: common.call.folder)
            let history = view.history
            if common.json {
                Output.json(view)
            } else if history.isEmpty {
                Output.line(
                    since == nil && outcome.isEmpty ? "no redirection is recorded" : "no such redirection is recorded")
            } else {
                let head = [
                    "NUMBER", "TIME", "GUEST", "VERB", "FROM", "TO", "OUTCOME", "ADDR", "WAITED", "MOVE", "TOOK",
                ]
                Output.table([head + ["BY", "PROOF, OR WHAT FAILED"]] + history.map(HistoryCommand.row))
            }
            return 0
        }
    }

    private static func row(_ entry: HistoryEntry) -> [String] {
        func text(_ text: String) -> String { text.isEmpty ? "-" : text }
        func duration(_ nanoseconds: Int64?) -> String { nanoseconds.map(Output.duration) ?? "-" }
        return [
            entry.number.map { "\($0)" } ?? "-", Timestamp.text(entry.time), entry.guest, entry.verb + entry.bracket,
            text(entry.from), text(entry.to), entry.outcome, "\(entry.addressCount)", duration(entry.waitedNanoseconds),
            duration(entry.moveNanoseconds), duration(entry.totalNanoseconds), entry.doer,
            entry.message ?? entry.proof ?? "-",
        ]
    }

    /// Reads the value of --outcome.
    private static func outcomes(_ text: String) throws -> [String] {
        let words = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        for word in words where !HistoryView.outcomes.contains(word) {
            let meant = Nearest.question(to: word, in: HistoryView.outcomes).map { "; \($0)" } ?? ""
            throw ValidationError(
                (word.isEmpty ? "a comma has no outcome beside it" : "\"\(word)\" is no outcome")
                    + "\(meant); there are \(HistoryView.outcomes.joined(separator: ", "))")
        }
        return words
    }

    /// Reads the value of --since.
    private static func moment(_ text: String) throws -> Int64 {
        if let nanoseconds = DurationText.nanoseconds(text) { return Stopwatch.realTime - nanoseconds }
        let halves = (text.hasSuffix("Z") ? text.dropLast() : text[...]).split(separator: "T", maxSplits: 1)
        // What is no number is none that any field can have.
        func numbers(_ text: Substring, _ separator: Character) -> [Int32] {
            text.split(separator: separator, omittingEmptySubsequences: false).map { Int32($0) ?? -1 }
        }
        let date = halves.first.map { numbers($0, "-") } ?? []
        let clock = halves.count > 1 ? numbers(halves[1], ":") : [0, 0]
        if date.count == 3, (2...3).contains(clock.count), (1970...2261).contains(date[0]), (1...12).contains(date[1]),
            (1...31).contains(date[2]), (0...23).contains(clock[0]), (0...59).contains(clock[1]),
            (0...60).contains(clock.last ?? 0)
        {
            var fields = tm()
            (fields.tm_year, fields.tm_mon, fields.tm_mday) = (date[0] - 1900, date[1] - 1, date[2])
            (fields.tm_hour, fields.tm_min, fields.tm_sec) = (clock[0], clock[1], clock.count > 2 ? clock[2] : 0)
            let seconds = timegm(&fields)
            // timegm(3) makes the 31st of February a day of March.
            if fields.tm_mon == date[1] - 1 { return Int64(seconds) * 1_000_000_000 }
        }
        throw ValidationError(
            TimeLimit.missingUnit(text, "h") + "a time is a duration (2h: two hours ago) or 2026-11-30T02:15:00Z")
    }
}

extension HistoryEntry {
    /// What it has to do with a bracket.
    fileprivate var bracket: String {
        bracketChange.map { " (\($0) bracket)" } ?? (strategy == "bracket" ? " (bracket)" : "")
    }
    /// The program and its verb, and the user who is not root.
    fileprivate var doer: String {
        (by ?? "-") + (uid.flatMap { $0 == 0 ? nil : " (\(UserName.of($0)))" } ?? "")
    }
}

extension HistoryReport {
    /// The report for people.
    var lines: [String] {
        var lines = [
            "redirection \(entry.number ?? 0): \(entry.verb)\(entry.bracket) of \(entry.guest) on \(entry.bridge), \(entry.from) -> \(entry.to)",
            "  when      \(Timestamp.text(entry.time)), strategy \(entry.strategy)",
            "  outcome   \(entry.outcome)" + (entry.message.map { ": \($0)" } ?? ""),
            "  took      \(entry.moveNanoseconds.map(Output.duration) ?? "-") to move, "
                + "\(entry.totalNanoseconds.map(Output.duration) ?? "-") in all"
                + (evidence.map {
                    $0.proofNanoseconds > 0 ? ", \(Output.duration($0.proofNanoseconds)) until proof" : ""
                } ?? ""),
            "  proof     \(entry.proof ?? "-")", "  by        \(entry.doer)",
        ]
        if let signal = entry.signal {
            lines.append(
                "  signal    \(signal), waited for \(entry.waitedNanoseconds.map(Output.duration) ?? "-") before that")
        }
        for (index, result) in addresses.enumerated() {
            lines.append(
                (index == 0 ? "  moved     " : "            ")
                    + "\(result.address) to \(result.port) by \(result.primitive)"
                    + (result.error.map { ": \($0)" } ?? ""))
        }
        if let evidence {
            lines.append("  counters  sent to / received from the port; dropped, from before to after")
            for port in evidence.ports {
                guard port.counters[.before] != nil, port.counters[.after] != nil else { continue }
                func growth(_ counter: KeyPath<PortCounters, UInt64>) -> UInt64? {
                    port.growth(counter, from: .before, to: .after)
                }
                func text(_ number: UInt64?) -> String { number.map { "+\($0)" } ?? "?" }
                let dropped = (growth(\.txDropped) ?? 0).plus(growth(\.rxDropped) ?? 0)
                lines.append(
                    "            \(port.side.rawValue) \(port.name): \(text(growth(\.txPackets))) / "
                        + "\(text(growth(\.rxPackets))); \(dropped)")
            }
            for (index, words) in evidence.words.enumerated() {
                lines.append((index == 0 ? "  loss      " : "            ") + words)
            }
        }
        for (index, note) in notes.enumerated() { lines.append((index == 0 ? "  notes     " : "            ") + note) }
        return lines
    }
}
