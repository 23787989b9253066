import ArgumentParser
import Controller
import Glibc
import Policy
import Records
import Switchdev

/// `fdbsteer history`.
struct HistoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history", abstract: "Show the last redirections, the newest first.")

    /// The JSON object.
    private struct View: Encodable {
        let history: [HistoryEntry]
    }

    @Argument(help: "One guest interface.")
    var guest: String?
    @Option(help: "At most so many.")
    var limit = 50
    @Flag(help: "All about the last redirection: what one would attach to a change ticket.")
    var report = false
    @Option(help: "With --report: the redirection of this number.")
    var number: Int64?
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (1...100_000).contains(limit) else { throw ValidationError("--limit goes from 1 to 100000") }
    }

    func run() {
        let id = common.call.check { () throws(ControllerError) -> GuestID? in
            if let guest { try GuestID(guest) } else { nil }
        }
        common.call.run(reading: true) { host throws(ControllerError) in
            if report || number != nil {
                let report = try HistoryReading.report(id, number: number, in: common.call.folder)
                if common.json { Output.json(report) } else { report.lines.forEach(Output.line) }
                return 0
            }
            let history = try HistoryReading.entries(id, limit: limit, in: common.call.folder)
            // A name that neither history nor journal has is a typing error.
            if let id, history.isEmpty { _ = try Journal.open(common.call.folder, for: id).guest(id, .anywhere) }
            if common.json {
                Output.json(View(history: history))
            } else if history.isEmpty {
                Output.line("no redirection is recorded")
            } else {
                Output.table(
                    [
                        [
                            "NUMBER", "TIME", "GUEST", "VERB", "FROM", "TO", "OUTCOME", "ADDRESSES", "MOVE", "TOTAL",
                            "PROOF",
                        ]
                    ]
                        + history.map { entry in
                            [
                                "\(entry.id)", HistoryCommand.time(entry.timeNanoseconds), entry.guest, entry.verb,
                                entry.from,
                                entry.to,
                                entry.outcome, "\(entry.addresses)",
                                entry.moveNanoseconds.map(Output.duration) ?? "-",
                                entry.totalNanoseconds.map(Output.duration) ?? "-", entry.message ?? entry.proof ?? "-",
                            ]
                        })
            }
            return 0
        }
    }

    /// A time as ISO 8601 in UTC, to the millisecond.
    static func time(_ nanoseconds: Int64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var fields = tm()
        gmtime_r(&seconds, &fields)
        func digits(_ value: Int, _ count: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let date = [(Int(fields.tm_year) + 1900, 4), (Int(fields.tm_mon) + 1, 2), (Int(fields.tm_mday), 2)]
        let clock = [(Int(fields.tm_hour), 2), (Int(fields.tm_min), 2), (Int(fields.tm_sec), 2)]
        return date.map(digits).joined(separator: "-") + "T" + clock.map(digits).joined(separator: ":") + "."
            + digits(Int(nanoseconds / 1_000_000 % 1000), 3) + "Z"
    }
}

extension HistoryReport {
    /// The report for people.
    var lines: [String] {
        var lines = [
            "redirection \(entry.id): \(entry.verb) of \(entry.guest) on \(entry.bridge), \(entry.from) -> \(entry.to)",
            "  when      \(HistoryCommand.time(entry.timeNanoseconds)), strategy \(entry.strategy)",
            "  outcome   \(entry.outcome)" + (entry.message.map { ": \($0)" } ?? ""),
            "  took      \(entry.moveNanoseconds.map(Output.duration) ?? "-") to move, "
                + "\(entry.totalNanoseconds.map(Output.duration) ?? "-") in all"
                + (evidence.map {
                    $0.proofNanoseconds > 0 ? ", \(Output.duration($0.proofNanoseconds)) until proof" : ""
                } ?? ""),
            "  proof     \(entry.proof ?? "-")",
        ]
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
