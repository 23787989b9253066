import ArgumentParser
import Controller
import Policy
import Records
import System

/// `fdbsteer monitor`.
struct MonitorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "monitor", abstract: "Show what happens to guests, with who did it and why, until Ctrl-C.",
        discussion: """
            Redirections, repairs, refusals, conditions that begin and end, and signals that came or did not: what fdbsteer, the \
            libvirt hook and the daemon append to the log of events. With --json each event is one object on a line of its own.
            """)

    @Argument(help: "Guest interfaces. Default: all.", completion: Completions.guests)
    var guests: [String] = []
    @Option(help: "Begin with so many events that are in the log already.")
    var last = 0
    @Option(name: .customLong("for"), help: "End after this time.", transform: TimeLimit.read)
    var limit: TimeLimit?
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (0...10_000).contains(last) else { throw ValidationError("--last goes from 0 to 10000") }
    }

    func run() {
        let call = common.call
        let ids = call.ids(guests)
        let names = Set(ids.map(\.text))
        call.check { () throws(ControllerError) in
            for id in ids where !common.json {
                // It may be prepared later.
                do throws(ControllerError) { _ = try Journal.open(call.folder, for: id).guest(id, .anywhere) } catch {
                    Output.error("fdbsteer: waiting for \(id) all the same: \(error)")
                }
            }
            let view = try LiveView(for: limit)
            func show(_ event: LoggedEvent) {
                guard names.isEmpty || names.contains(event.text("guest") ?? "") else { return }
                if common.json {
                    Output.json(EventView(event), isLine: true)
                } else {
                    event.lines.forEach(Output.line)
                }
            }
            var tail = try EventTail(call.folder, last: last, show)
            do throws(ControllerError) { try call.folder.requireNamed() } catch {
                Output.error("fdbsteer: \(error.message) yet: waiting for it")
            }
            // A folder that is not there yet cannot be watched: it is looked for once a second.
            repeat { try tail.read(show) } while view.wait(for: tail.descriptor, atMost: 1_000_000_000)
        }
        call.end(0, reading: true)
    }
}

extension LoggedEvent {
    /// Who did it: the program and its verb, and the user where it is not root.
    fileprivate var doer: String {
        let user = integer("uid").flatMap { $0 == 0 ? nil : " (\(UserName.of(Int64($0))))" } ?? ""
        return text("by").map { "by \($0)\(user)" } ?? "by an earlier version"
    }

    /// The lines for people.
    fileprivate var lines: [String] {
        let beginning = "\(Timestamp.text(time))  \(text("guest") ?? "-")  "
        let message = text("message") ?? ""
        switch kind {
        case .redirection: return redirectionLines(beginning)
        case .replay: return [beginning + "\(text("part") ?? "-"): \(message)"]
        case .refused: return [beginning + "refused: \(message); \(doer)"]
        case .timeout: return [beginning + "no signal: \(message); \(doer)"]
        case .condition: return [beginning + "condition \(text("code") ?? "-") begins: \(message)"]
        case .conditionOver: return [beginning + "condition \(text("code") ?? "-") is over: \(message)"]
        case .log, nil: return []
        }
    }

    private func redirectionLines(_ beginning: String) -> [String] {
        let (from, to) = (text("from") ?? "-", text("to") ?? "-")
        let verb = text("verb") ?? "-"
        var line = "\(beginning)\(verb) " + (from == to ? "on \(to)" : "\(from) -> \(to)")
        if let change = text("bracket_change") {
            line += ", \(change) bracket"
        } else if text("strategy") == "bracket" {
            line += " by a bracket"
        }
        line += ": \(text("outcome") ?? "-"), \(addressCount == 1 ? "1 address" : "\(addressCount) addresses")"
        if let nanoseconds = integer("move_ns"), nanoseconds > 0 { line += " in \(Output.duration(nanoseconds))" }
        if let signal = text("signal") {
            line += "; signal \(signal)"
            if let waited = integer("waited_ns") { line += " after \(Output.duration(waited))" }
        }
        line += "; \(doer)"
        if let message = text("message") { line += "; \(message)" }
        return [line] + texts("notes").map { "    \($0)" }
    }
}
