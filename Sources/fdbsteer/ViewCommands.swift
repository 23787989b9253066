import ArgumentParser
import Controller
import Glibc

/// `fdbsteer verify`.
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Compare what is intended for a guest with the table and with hardware.",
        discussion: "Exit code 0 when everything is as intended, 3 when not; nothing is changed.")

    @Argument(help: "The guest interface.")
    var guest: String
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        common.call.run { host throws(ControllerError) in
            let verification = try host.verify(id)
            if common.json {
                Output.json(verification)
            } else {
                Output.line(
                    "\(guest): \(verification.ok ? "as intended" : "NOT as intended"), on \(verification.side.rawValue)"
                )
                Output.table(verification.addresses.map { ["  " + ($0.ok ? "ok " : "BAD"), $0.address, $0.found] })
                Output.line("  proof: \(verification.proof)")
                for problem in verification.problems { Output.line("  problem: \(problem)") }
            }
            return verification.ok ? 0 : ControllerError.Code.precondition.rawValue
        }
    }
}

/// `fdbsteer status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the prepared guests, and what is under way.")

    /// The JSON object.
    private struct View: Encodable {
        let guests: [GuestStatus]
    }

    @Argument(help: "One guest interface.")
    var guest: String?
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) -> GuestID? in
            if let guest { try GuestID(guest) } else { nil }
        }
        common.call.run { host throws(ControllerError) in
            let guests = try host.status(id)
            if common.json {
                Output.json(View(guests: guests))
            } else if guests.isEmpty {
                Output.line("no guest is prepared")
            } else {
                Output.table(
                    [["GUEST", "SIDE", "STATE", "BRIDGE", "PRIMARY", "STANDBY", "UPLINK", "ADDRESSES"]]
                        + guests.map { guest in
                            [
                                guest.guest, guest.side.rawValue, guest.state, guest.bridge, guest.primary.name,
                                guest.standby.name, guest.uplink?.name ?? "-",
                                guest.addresses.prefix(2).joined(separator: " ")
                                    + (guest.addresses.count > 2 ? " and \(guest.addresses.count - 2) more" : ""),
                            ]
                        })
            }
            return 0
        }
    }
}

extension GuestStatus {
    /// The state in a few words.
    var state: String {
        if stale { return "void since reboot" }
        if phase == "pinned" { return sticky ? "pinned sticky" : "pinned" }
        let arrow = goal.map { " to \($0.rawValue)" } ?? ""
        return phase + arrow + (running ? "" : " (process gone: abort)")
    }
}

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
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (1...100_000).contains(limit) else { throw ValidationError("--limit goes from 1 to 100000") }
    }

    func run() {
        let id = common.call.check { () throws(ControllerError) -> GuestID? in
            if let guest { try GuestID(guest) } else { nil }
        }
        common.call.run { host throws(ControllerError) in
            let history = try host.history(id, limit: limit)
            if common.json {
                Output.json(View(history: history))
            } else if history.isEmpty {
                Output.line("no redirection is recorded")
            } else {
                Output.table(
                    [["TIME", "GUEST", "VERB", "FROM", "TO", "OUTCOME", "ADDRESSES", "MOVE", "TOTAL", "PROOF"]]
                        + history.map { entry in
                            [
                                HistoryCommand.time(entry.timeNanoseconds), entry.guest, entry.verb, entry.from,
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
    private static func time(_ nanoseconds: Int64) -> String {
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
