import Glibc
import JSON
import Lab
import System

/// What an episode acts on, in the calling thread's namespaces, with the model of it.
///
/// Two bridges, each with an uplink and a neighbour's port; on each two guests with a pair or with one port, on the first one
/// more. Nothing sends by itself. The state folder is a small tmpfs of its own.
final class ChaosWorld {
    /// An entry that is nobody's business but its maker's.
    struct ForeignEntry: Hashable {
        let mac: String
        let port: String
        let state: String
        let flags: Set<String>
    }

    let state: String
    /// Where configuration and log are.
    let scratch: String
    let program: String
    let bridges = [ChaosBridge(0), ChaosBridge(1)]
    let uplinks: [ChaosPort]
    let neighbours: [ChaosPort]
    let guests: [ChaosGuest]
    let elsewhere: NetworkNamespace
    /// The namespace of the bridges, for `ip link set ... netns`.
    private let here: Int32
    var hereWords: String { "/proc/\(getpid())/fd/\(here)" }
    var daemon: ChaosDaemon?
    /// One monitor a guest.
    let monitors: [ChaosMonitor]
    /// Entries of others, by the home name of their port.
    var foreignEntries: Set<ForeignEntry> = []
    /// The text of the nftables tables of others; nil without nft.
    private(set) var foreignTables: String?
    /// The state folder has no space left for so many steps.
    var fullSteps = 0
    var isFull: Bool { fullSteps > 0 }
    /// What was done, and what the processes said.
    private(set) var transcript: [String] = []
    /// Processes that were run.
    private(set) var processes = 0
    /// Operations that did nothing, because the kernel cannot do it.
    var skipped: Set<String> = []

    /// The MAC of a host in the network behind an uplink.
    static let peer = "52:54:00:c4:fe:01"
    /// The MAC that lives behind a neighbour's port.
    static func neighbour(_ bridge: ChaosBridge) -> String { "52:54:00:c4:ee:0\(bridge.number)" }
    /// The exit codes that docs/command-line.md lists, but for that of wrong usage.
    static let documented: Set<Int32> = [0, 3, 4, 5, 6, 7, 8]
    /// What a verb may take, in seconds, beside a time-out that it was given.
    static let bound = 5.0

    /// Makes it.
    ///
    /// - Parameter folder: an empty folder.
    /// - Throws: ``LabError``.
    init(folder: String) throws {
        scratch = folder
        state = folder + "/state"
        program = try OwnProgram.sibling("fdbsteer")
        try Command.script("mkdir \(state)\nmount -t tmpfs -o size=16m,mode=750 none \(state)")
        let bridges = bridges
        uplinks = bridges.map { ChaosPort("up\($0.number)", $0) }
        neighbours = bridges.map { ChaosPort("nb\($0.number)", $0) }
        guests = [
            ChaosGuest(0, bridges[0], uplink: uplinks[0], addresses: 1, kind: "unknown"),
            ChaosGuest(1, bridges[0], uplink: uplinks[0], addresses: 2, kind: "net_failover", .followed),
            ChaosGuest(2, bridges[1], uplink: uplinks[1], addresses: 1, kind: "net_failover", .neighbour),
            ChaosGuest(3, bridges[0], uplink: uplinks[0], addresses: 2, kind: "unknown", .onePort, .neighbour),
            ChaosGuest(4, bridges[1], uplink: uplinks[1], addresses: 1, kind: "unknown", .onePort, .gate, .followed),
        ]
        elsewhere = try NetworkNamespace()
        here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        monitors = try guests.map { _ in try ChaosMonitor() }
        for bridge in bridges { try make(bridge) }
        for port in ports { try port.make() }
        for bridge in bridges { try addEntry(ChaosWorld.neighbour(bridge), behind: neighbours[bridge.number]) }
        try makeForeignFilters()
    }

    deinit { close(here) }

    /// All ports, those without a bridge too.
    var ports: [ChaosPort] { uplinks + neighbours + guests.flatMap(\.own) }

    /// Makes a bridge under its first name, without ports.
    func make(_ bridge: ChaosBridge) throws {
        bridge.name = bridge.home
        bridge.incarnation += 1
        try Command.script(
            """
            ip link add \(bridge.name) type bridge mcast_snooping 0
            ip link set \(bridge.name) addrgenmode none
            ip link set \(bridge.name) up
            """)
    }

    /// Adds a static entry that is somebody else's.
    func addEntry(_ mac: String, behind port: ChaosPort, _ flags: String...) throws {
        guard port.exists, port.isHere, port.bridge != nil else { return }
        try Command.script("bridge fdb replace \(mac) dev \(port.name) master static \(flags.joined(separator: " "))")
        foreignEntries = foreignEntries.filter { $0.mac != mac }
        // The kernel makes what a control plane has learned no static entry, whatever it is asked for (br_fdb_external_learn_add).
        let state = flags.contains("extern_learn") ? "" : "static"
        foreignEntries.insert(ForeignEntry(mac: mac, port: port.home, state: state, flags: Set(flags)))
    }

    /// The kernel has dropped the entries of a port that left its bridge.
    func forgetEntries(of port: ChaosPort) {
        foreignEntries = foreignEntries.filter { $0.port != port.home }
    }

    /// A firewall's tables, and a filter and an ingress that others have put on two standbys.
    private func makeForeignFilters() throws {
        let tap = guests[2].standby
        try Command.script(
            """
            tc qdisc add dev \(tap.name) clsact
            tc qdisc add dev \(guests[1].standby.name) ingress
            """)
        let filter = try Command.run(
            [
                "tc", "filter", "add", "dev", tap.name, "egress", "pref", "5", "protocol", "ip", "bpf", "bytecode",
                "1,6 0 0 0",
            ])
        if filter.exitCode != 0 { skipped.insert("a filter of others: this kernel has no cls_bpf") }
        for guest in guests[1...2] { guest.standby.foreignFilters = try filters(of: guest.standby) }
        guard access("/usr/sbin/nft", X_OK) == 0 else {
            skipped.insert("tables of others: there is no nft")
            return
        }
        let rules = scratch + "/rules.nft"
        try TextFile.write(
            """
            table inet foreign {
                chain c {
                    type filter hook forward priority 0
                    tcp dport 9 drop
                }
            }
            table bridge foreign {
                chain c {
                    type filter hook forward priority 0
                    ether type 0x9999 drop
                }
            }

            """, to: rules)
        let made = try Command.run(["nft", "-f", rules])
        guard made.exitCode == 0 else {
            skipped.insert("tables of others: nft fails")
            return
        }
        foreignTables = try readForeignTables()
    }

    /// What others have attached to a port, without what fdbsteer adds.
    func filters(of port: ChaosPort) throws -> String {
        let disciplines = try Command.run(["tc", "qdisc", "show", "dev", port.name]).output
        let filters = try Command.run(["tc", "filter", "show", "dev", port.name, "egress", "pref", "5"]).output
        return disciplines + filters
    }

    /// The tables of others as nft lists them.
    func readForeignTables() throws -> String {
        try ["inet", "bridge"].map { try Command.run(["nft", "list", "table", $0, "foreign"]).output }.joined()
    }

    // MARK: - Processes

    /// Notes what is about to be done.
    func note(_ text: String) { transcript.append(text) }

    /// Runs fdbsteer, with `--state`, and checks what every process must do: answer within its bound, end by an exit code that
    /// is documented, and say something when it fails.
    ///
    /// - Parameters:
    ///   - codes: the exit codes that are right here.
    ///   - prefix: a program that runs it, and that program's arguments.
    ///   - isKilled: it may end by SIGKILL.
    ///   - bound: seconds.
    ///   - during: is called while it runs, with its process id.
    /// - Throws: ``ChaosViolation``, ``LabError``.
    @discardableResult
    func fdbsteer(
        _ words: [String], codes: Set<Int32> = documented, prefix: [String] = [], isKilled: Bool = false,
        bound: Double = bound, during: (pid_t) throws -> Void = { _ in }
    ) throws -> Command {
        processes += 1
        let line = "fdbsteer " + words.joined(separator: " ")
        let running = try RunningCommand(prefix + [program] + words, environment: ["FDBSTEER_STATE": state])
        let process = running.process
        try during(process)
        let isLate = !ChaosWorld.waitForEnd(of: process, bound)
        if isLate { kill(process, SIGKILL) }
        let command = running.wait()
        let said = "\(line): exit code \(command.exitCode)\n\(command.errors)\(command.output.prefix(3000))"
        if words.first != "status" || command.exitCode != 0 { note(said) }
        if isLate { throw ChaosViolation(rule: .bound, text: "no end within \(bound) s: \(said)") }
        if isKilled, command.exitCode == 128 + SIGKILL { return command }
        if command.exitCode >= 128 { throw ChaosViolation(rule: .crash, text: said) }
        if command.exitCode != 0, command.errors.isEmpty, command.output.isEmpty {
            throw ChaosViolation(rule: .silence, text: said)
        }
        if words.contains("--json"), JSON(text: command.output) == nil {
            throw ChaosViolation(rule: .silence, text: "no JSON: \(said)")
        }
        guard codes.contains(command.exitCode) else {
            throw ChaosViolation(rule: .code, text: "\(codes.sorted()) would be right: \(said)")
        }
        return command
    }

    /// Waits for the end of a child process. Time during which this process was not run does not count, because another was
    /// not run either: steps are counted, not the clock.
    ///
    /// - Returns: false when it still runs.
    static func waitForEnd(of process: pid_t, _ seconds: Double) -> Bool {
        var waited = 0.0
        while waited < seconds {
            if ChildProcess.hasEnded(process) { return true }
            let step = waited < 0.02 ? 300.0 : 2000
            usleep(UInt32(step))
            waited += step / 1e6
        }
        return ChildProcess.hasEnded(process)
    }
}
