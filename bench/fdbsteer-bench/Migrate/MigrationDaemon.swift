import Glibc
import Lab
import System

/// fdbsteerd on one host, which follows the QEMUs there; used on one thread.
final class MigrationDaemon {
    let host: MigrationHosts.Host
    private let program: String
    /// The folder with configuration, journal and logs.
    private let state: String
    private let guests: [MigrationGuest]
    private var process: SupervisedProcess?
    private var logs: [String] = []

    /// The time limit for a line in the log, in seconds: for a daemon that never logs it.
    private static let patience = 10.0

    /// Starts the daemon, and waits until it knows the state of its guests.
    ///
    /// - Parameters:
    ///   - program: the path of fdbsteerd.
    ///   - state: the folder of the journal in which the guests were prepared.
    ///   - machines: the machines whose second monitors it follows, all on one host; at least one.
    ///   - replay: it keeps what the guests miss, and sends it again.
    init(program: String, state: String, machines: [GuestMachine], replay: Bool) throws {
        host = machines[0].host
        guests = machines.map(\.guest)
        self.program = program
        self.state = state
        let head = """
            [metrics]
            listen = "off"
            [log]
            level = "debug"
            [replay]
            mode = "\(replay ? "replay" : "off")"

            """
        let configuration = head + machines.map { MigrationDaemon.section($0, replay: replay) }.joined()
        try TextFile.write(configuration, to: state + "/fdbsteerd.toml")
        try start()
    }

    private static func section(_ machine: GuestMachine, replay: Bool) -> String {
        var lines = [
            "[[guest]]", "id = \"\(machine.guest.name)\"", "qmp = \"\(machine.controllerMonitor)\"", "follow = true",
        ]
        if machine.guest.isPair {
            lines += [
                "kind = \"net_failover\"", "standby_device = \"\(GuestMachine.standbyDevice)\"",
                "primary_device = \"\(GuestMachine.primaryDevice)\"",
            ]
        }
        if machine.answers || replay { lines.append("addresses_ip = [\"\(machine.guest.ip)\"]") }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Starts the daemon, possibly again after ``kill()``, and waits until QEMU has answered it.
    func start() throws {
        // A new file, because the log of an earlier migration must not be searched.
        let log = state + "/log-\(monotonicNanoseconds())"
        logs.append(log)
        // Scheduled as by the systemd unit, as far as this process may.
        let script = #"chrt -R -r 1 true 2>/dev/null && exec chrt -R -r 1 "$@"; exec nice -n -20 "$@""#
        let words =
            ["sh", "-c", script, "sh", program] + ["--config", state + "/fdbsteerd.toml", "--state", state]
        process = try host.namespace.run { try SupervisedProcess(words, output: log) }
        for guest in guests { try waitFor("from=unknown guest=\(guest.name) ") }
    }

    /// Kills the daemon with SIGKILL, so it cannot clean up.
    func kill() {
        process?.end()
        process = nil
    }

    /// The most memory that was resident in it so far, in KiB.
    var residentAtMost: Int { process?.residentAtMost ?? 0 }

    /// Waits until the running daemon has logged a text.
    func waitFor(_ text: String) throws {
        if !hears(text) { throw LabError("fdbsteerd on host \(host.name) did not log \"\(text)\", but:\n\(log)") }
    }

    /// Whether the running daemon logs a text within ten seconds.
    func hears(_ text: String) -> Bool {
        let end = monotonicNanoseconds() + Int64(MigrationDaemon.patience * 1e9)
        repeat {
            if logs.last.map(TextFile.read)?.contains(text) == true { return true }
            usleep(2000)
        } while monotonicNanoseconds() < end
        return false
    }

    /// Whether the last state that it logged for a guest is this one, or becomes this one within 45 s. A bracket without
    /// evidence waits 30 s.
    func settles(_ guest: MigrationGuest, at state: String) -> Bool {
        let end = monotonicNanoseconds() + 45_000_000_000
        repeat {
            let lines = log.split(separator: "\n").filter {
                $0.contains(" level=info msg=state ") && $0.contains(" guest=\(guest.name) ")
            }
            if lines.last?.hasSuffix("to=\(state)") == true { return true }
            usleep(20_000)
        } while monotonicNanoseconds() < end
        return false
    }

    /// The logs of all daemons that were started, one after the other.
    var log: String { logs.map(TextFile.read).joined() }

    /// Each line of the log with its time, in nanoseconds of the day (UTC).
    var lines: [(time: Int64, text: String)] {
        log.split(separator: "\n").compactMap { line in
            // 2026-01-31T12:34:56.789Z text
            guard let end = line.firstIndex(of: " "), let begin = line.firstIndex(of: "T"), begin < end else {
                return nil
            }
            let parts = line[line.index(after: begin)..<end].split { $0 == ":" || $0 == "." || $0 == "Z" }
            let numbers = parts.compactMap { Int64($0) }
            guard numbers.count == 4 else { return nil }
            let milliseconds = ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
            return (milliseconds * 1_000_000, String(line[line.index(after: end)...]))
        }
    }
}
