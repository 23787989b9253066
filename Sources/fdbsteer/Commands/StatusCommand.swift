import ArgumentParser
import Controller
import Glibc
import Policy
import Records
import Switchdev
import System

/// `fdbsteer status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the prepared guests, what is under way, and what is wrong; the worst first.",
        discussion: """
            With one name all that is known of that guest. HEALTH: problem (not as intended), interrupted (the process of a \
            redirection died), warning (the next redirection would fail, or what fdbsteerd has found cannot be read), under_way, elsewhere (in another network namespace), \
            void (the kernel has nothing of it any more), ok. The exit code is 0 whatever is wrong with guests: that of verify tells.
            """)

    @Argument(help: "Guest interfaces. Default: all.", completion: Completions.guests)
    var guests: [String] = []
    @Flag(help: "Show it again and again, until Ctrl-C.")
    var watch = false
    @Option(help: "With --watch: the pause between two looks.", transform: TimeLimit.read)
    var interval = TimeLimit(nanoseconds: 2_000_000_000)
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if watch, common.json {
            throw ValidationError("--watch draws for people; \"fdbsteer monitor --json\" prints what happens as JSON")
        }
        if watch, interval.nanoseconds < 100_000_000 { throw ValidationError("--interval is 100ms at least") }
    }

    func run() {
        let call = common.call
        let ids = call.ids(guests)
        call.run(reading: true) { host throws(ControllerError) in
            try call.folder.requireNamed()
            guard watch else {
                call.sayWhyEmpty()
                let found = try StatusView(of: ids, on: &host)
                if common.json {
                    Output.json(found)
                } else {
                    for line in lines(found, isDetailed: ids.count == 1) { Output.line(line) }
                }
                for fault in found.faults { Output.error("fdbsteer: \(fault)") }
                return found.faults.isEmpty ? 0 : ControllerError.Code.precondition.rawValue
            }
            let view = try LiveView(for: nil)
            repeat {
                let found = try StatusView(of: ids, on: &host)
                Output.text(Screen.drawing(lines(found, isDetailed: ids.count == 1) + found.faults.map { "\($0)" }))
            } while view.wait(atMost: interval.nanoseconds)
            return 0
        }
    }

    /// A line of the table, and what is told of the guest below it.
    private struct Row {
        let guest: String
        let health: Health
        let cells: [String]
        let troubles: [String]
    }

    private func lines(_ found: StatusView, isDetailed: Bool) -> [String] {
        if isDetailed, let guest = found.guests.first { return guest.details(besides: found.daemon) }
        var rows = found.guests.map { guest in
            Row(
                guest: guest.guest, health: guest.health,
                cells: [
                    guest.side.rawValue, guest.state, guest.age, guest.bridge, guest.primary?.name ?? "-",
                    (guest.standby ?? guest.local)?.name ?? "-", guest.uplink?.name ?? "-",
                    guest.addresses.prefix(1).joined()
                        + (guest.addresses.count > 1 ? " and \(guest.addresses.count - 1) more" : ""),
                ], troubles: guest.troubles)
        }
        for guest in found.unprepared {
            let age = guest.conditions.map(\.since).min().map { Output.age(since: $0) } ?? "-"
            rows.append(
                Row(
                    guest: guest.guest, health: guest.health,
                    cells: ["-", "not prepared", age, "-", "-", "-", "-", "-"],
                    troubles: guest.conditions.map(\.line)))
        }
        let ended =
            found.daemon == .ended
            ? [
                "fdbsteerd has ended: nobody watches guests (systemctl start fdbsteerd; journalctl -u fdbsteerd tells why "
                    + "it ended)"
            ] : []
        if rows.isEmpty { return ["no guest is prepared"] + ended }
        rows.sort { Health.isBefore(($0.health, guest: $0.guest), ($1.health, guest: $1.guest)) }
        let head = ["GUEST", "HEALTH", "SIDE", "STATE", "SINCE", "BRIDGE", "PRIMARY", "STANDBY", "UPLINK", "ADDRESSES"]
        let table = Output.aligned([head] + rows.map { [$0.guest, $0.health.rawValue] + $0.cells })
        // After the alignment: escapes have no width.
        let painted = zip(table.dropFirst(), rows).map { line, row -> String in
            guard let place = line.firstRange(of: "  \(row.health.rawValue)  ") else { return line }
            var line = line
            line.replaceSubrange(place, with: "  \(row.health.painted)  ")
            return line
        }
        let blurred = found.guests.count { !$0.unseen.isEmpty }
        return [table[0]] + painted + rows.flatMap { row in row.troubles.map { "\(row.guest): \($0)" } }
            + (blurred == 0
                ? []
                : ["not all of \(blurred == 1 ? "1 guest" : "\(blurred) guests") is seen, which takes CAP_NET_ADMIN"])
            + ended
    }
}

/// A terminal on which something is drawn again and again.
private enum Screen {
    /// The lines, on a terminal in the place of those before and cut to its height; elsewhere followed by an empty line.
    static func drawing(_ lines: [String]) -> String {
        guard isatty(STDOUT_FILENO) != 0 else { return lines.map { $0 + "\n" }.joined() + "\n" }
        var size = winsize()
        let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 2
        let height = isKnown ? Int(size.ws_row) - 1 : 24
        var shown = lines
        if lines.count > height {
            shown = lines.prefix(height - 1) + ["and \(lines.count - height + 1) more lines"]
        }
        // A line that wraps would push others out of the screen.
        if isKnown, size.ws_col > 0 { shown = shown.map { cut($0, to: Int(size.ws_col)) } }
        // Cursor home; each line erases what it leaves of the one before; at last all below.
        return "\u{1b}[H" + shown.map { $0 + "\u{1b}[K\n" }.joined() + "\u{1b}[J"
    }

    /// A line of at most so many columns; escapes take none of them, and all are kept.
    private static func cut(_ line: String, to width: Int) -> String {
        let visible = line.replacing(/\u{1b}\[[0-9;]*m/, with: "")
        if visible.count <= width { return line }
        var (text, columns, isEscape) = ("", 0, false)
        for character in line {
            if character == "\u{1b}" { isEscape = true }
            if isEscape {
                text.append(character)
                if character == "m" { isEscape = false }
                continue
            }
            columns += 1
            if columns < width { text.append(character) } else if columns == width { text.append(">") }
        }
        return text
    }
}

extension ConditionView {
    /// For how long it has been so.
    var age: String { Output.age(since: since) }

    /// One line, with what to do.
    fileprivate var line: String { "\(severity.rawValue): \(words), for \(age) (\(remedy))" }
}

extension GuestStatus {
    /// For how long side and phase have been as they are.
    fileprivate var age: String { since == 0 ? "-" : Output.age(since: since) }

    /// The state in a few words.
    var state: String {
        switch place {
        case .here: break
        case .earlierBoot: return "void since reboot"
        case .goneNamespace: return "void: its network namespace is gone"
        case .otherNamespace: return "in another network namespace"
        }
        if phase == "pinned" {
            return (sticky ? "pinned sticky" : "pinned")
                + (gate.map { ", gate \($0.rawValue)" + (gateBy == .table ? " (nftables)" : "") } ?? "")
        }
        let arrow = goal.map { " to \($0.rawValue)" } ?? ""
        if let wait, running { return phase + arrow + " for \(wait.words)" }
        if phase == "bracketed" { return "bracket\(arrow)" }
        return phase + arrow + (running ? "" : " (process gone: abort)")
    }

    /// What is wrong, what is open, and what to do about it.
    fileprivate var troubles: [String] {
        var lines: [String] = []
        let conditions = conditions ?? []
        for problem in problems ?? [] {
            let age = conditions.first { $0.words == problem.words }.map { ", for \($0.age)" } ?? ""
            lines.append("problem: \(problem)\(age) (\(problem.remedy))")
        }
        // What the look of just now has not told already.
        for condition in conditions where problems?.contains(where: { $0.words == condition.words }) != true {
            lines.append(condition.line)
        }
        if let bracket, phase == "bracketed" {
            lines.append("bracket to \(bracket.goal.rawValue) \(bracket.words)")
            lines.append(
                "closes by: fdbsteer switch \(guest) --to \(bracket.goal.rawValue) --close, once the guest is there; "
                    + "fdbsteer abort \(guest) gives it up")
            if let closing { lines.append("closed by: \(closing)") }
        }
        if let next, !lines.contains(where: { $0.contains(next) }) { lines.append("next: \(next)") }
        return lines
    }

    /// All that is known.
    fileprivate func details(besides daemon: DaemonState) -> [String] {
        let unknown = daemon == .running ? "not known" : "no: fdbsteerd does not run"
        func port(_ role: String, _ port: Port?) -> [[String]] {
            port.map { [["  " + role, "\($0.name) (ifindex \($0.ifindex))"]] } ?? []
        }
        func process(_ holder: Holder) -> String {
            "process \(holder.pid) (\(holder.by)), since \(Output.age(since: holder.since))"
        }
        var rows = [
            [
                "  state",
                "\(state), since \(since == 0 ? "-" : Timestamp.text(since)) by \(writtenBy)",
            ],
            ["  held by", holder.map(process) ?? "nobody"],
        ]
        if let wait {
            rows.append(["  waiting", "\(wait.process) for \(wait.words), until \(Timestamp.text(wait.until))"])
        }
        rows.append(["  followed", followed.map { $0 ? "by fdbsteerd" : "no" } ?? unknown])
        rows += [["  kind", kind.rawValue], ["  namespace", namespace.words], ["  bridge", bridge]]
        rows += port("primary", primary) + port("standby", standby) + port("port", local) + port("uplink", uplink)
        for (index, address) in addresses.prefix(Self.shownAddresses).enumerated() {
            rows.append([index == 0 ? "  addresses" : "", address])
        }
        if addresses.count > Self.shownAddresses {
            rows.append(["", "and \(addresses.count - Self.shownAddresses) more (--json has all)"])
        }
        rows.append(["  proof", proofStatus.rawValue.replacing("_", with: " ")])
        return ["\(guest): \(health.painted), on \(side.rawValue) for \(age)"] + Output.aligned(rows)
            + troubles.map { "  \($0)" } + unseen.map { "  not seen: \($0)" }
    }

    private static let shownAddresses = 16
}

extension NamespaceView {
    fileprivate var words: String {
        (name.map { "\($0), " } ?? "") + "inode \(inode)" + (cookie.map { ", cookie \($0)" } ?? "")
    }
}
