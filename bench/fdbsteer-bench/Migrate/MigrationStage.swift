import Glibc
import Lab
import System

/// An event during a migration, or while a VF comes or goes, on which a method may act.
enum MigrationMoment: Hashable, Sendable {
    /// The bench is about to ask QEMU for the migration.
    case aboutToMigrate
    /// The bench is about to ask QEMU for the VF (`device_del`).
    case aboutToUnplug
    /// QEMU asks the guest for the VF (UNPLUG_PRIMARY).
    case unplugRequested
    /// QEMU waits for the guest to give up the VF (MIGRATION wait-unplug).
    case waiting
    /// The VF is gone: QEMU's MIGRATION active, which follows wait-unplug, or DEVICE_DELETED.
    case unplugged
    /// The source stopped the guest to hand it over.
    case stopped
    /// The guest runs on the target.
    case resumed
    /// QEMU on the source has finished.
    case completed
    /// QEMU abandoned the migration.
    case failed
    /// The guest did not obey within the time limit.
    case refused
    /// The bench is about to plug a VF.
    case aboutToPlug
    /// The guest's first frame through its new VF, or by its only port.
    case primarySpoke
}

/// An action of the bench, for the record.
struct MigrationAction: Sendable {
    let host: String
    let words: String
    let begin: Int64
    let end: Int64
    let failure: String?
}

/// One migration in progress: the machines, the actions and the events; used on one thread.
final class MigrationStage {
    let source: GuestMachine
    /// nil if the guest stays on its host.
    let target: GuestMachine?
    let hosts: MigrationHosts
    /// The parent of the controllers' journals, one folder for each host.
    private let folder: String
    /// The path of the controller's program.
    private let fdbsteer: String
    /// What the fabric sees of the guest, if it has one port.
    var fabric: FabricWatch?
    /// The daemons that follow QEMU, by host.
    var daemons: [String: MigrationDaemon] = [:]
    private(set) var actions: [MigrationAction] = []
    private(set) var events: [QEMUEvent] = []
    /// The number of STOP and RESUME events that a method caused itself, by host.
    private var ownStops: [String: Int] = [:]
    private var isActive = false
    private var isResumed = false
    private var hasSpoken = false
    /// The time of the guest's last frame on the port of its VF, or on its only port, on the host where it is in the end.
    var lastWord: () -> Int64 = { 0 }
    /// Earlier frames do not count: they are from the VF that is about to go.
    var primaryIsNewFrom: Int64 = .max

    init(source: GuestMachine, target: GuestMachine?, hosts: MigrationHosts, folder: String, fdbsteer: String) {
        self.source = source
        self.target = target
        self.hosts = hosts
        self.folder = folder
        self.fdbsteer = fdbsteer
    }

    /// The guest stays in the end although there is a target.
    var isCancelled = false
    /// The guest has no VF in the end.
    var losesPrimary = false
    /// The source's QEMU was killed and sends no more events.
    var isSourceGone = false
    /// The guest of this stage.
    var guest: MigrationGuest { source.guest }
    /// The guest's machine at the end.
    var destination: GuestMachine { isCancelled ? source : target ?? source }

    // MARK: - Actions

    /// Runs a command on a host, and records its result.
    @discardableResult
    func command(_ host: MigrationHosts.Host, _ words: [String], mayFail: Bool = false) throws -> Command {
        let begin = Stopwatch.realTime
        let command = try host.namespace.run { try Command.run(words) }
        let failure: String? =
            command.exitCode == 0 ? nil : command.errors.split(separator: "\n").joined(separator: " ")
        note(host, words.joined(separator: " "), begin: begin, failure: failure)
        if let failure, !mayFail { throw LabError("host \(host.name): \(words.joined(separator: " ")): \(failure)") }
        return command
    }

    /// Runs a verb of the controller on a host.
    func steer(_ host: MigrationHosts.Host, _ words: String...) throws { try steer(host, words) }

    /// Runs a verb of the controller on a host.
    func steer(_ host: MigrationHosts.Host, _ words: [String]) throws {
        try command(host, [fdbsteer] + words + ["--state", state(host.name)])
    }

    private func state(_ host: String) -> String { folder + "/state-\(host)" }

    /// Starts one daemon on each host, which follows all QEMUs there.
    ///
    /// - Parameters:
    ///   - replay: they keep what the guests miss, and send it again.
    ///   - atPrimary: the guests use their primaries. A guest without one is only asked whether it takes frames by that.
    static func startDaemons(_ stages: [MigrationStage], replay: Bool = false, atPrimary: Bool = true) throws {
        let machines = stages.flatMap { [$0.source, $0.target].compactMap(\.self) }
        for (name, machines) in Dictionary(grouping: machines, by: \.host.name) {
            guard let one = stages.first else { return }
            let daemon = try MigrationDaemon(
                program: one.fdbsteer + "d", state: one.state(name), machines: machines, replay: replay)
            for stage in stages { stage.daemons[name] = daemon }
        }
        // What the daemons know of a guest at rest is known before it migrates.
        for stage in stages where atPrimary && stage.source.answers {
            try stage.daemons[stage.source.host.name]?.waitFor("msg=\"answers questions\" ")
        }
    }

    /// The hosts on which a daemon has not found the guest's final state in time, in words.
    func unsettled() -> [String] {
        daemons.compactMap { name, daemon in
            let state: String? =
                name == destination.host.name
                ? (losesPrimary || !guest.isPair ? "standby" : "primary") : name == source.host.name ? "gone" : nil
            guard let state, !daemon.settles(guest, at: state) else { return nil }
            return "host \(name): fdbsteerd does not know \(guest.name) as \(state)"
        }
    }

    /// The unexpected leftovers that `verify` and the kernel's tools find on a host.
    func leftovers(_ host: MigrationHosts.Host) throws -> [String] {
        let (fdbsteer, state, guest) = (fdbsteer, state(host.name), guest.name)
        let found = try host.namespace.run {
            let verified = try Command.run([fdbsteer, "verify", guest, "--state", state])
            var found = verified.exitCode == 0 ? [] : ["verify: exit code \(verified.exitCode): \(verified.output)"]
            let disciplines = try Command.run(["tc", "qdisc", "show"]).output.split(separator: "\n")
            found += disciplines.filter { $0.contains("clsact") || $0.contains("ingress") }.map { "left: \($0)" }
            let tables = try Command.run(["nft", "list", "tables", "netdev"]).output
            return tables.isEmpty ? found : found + ["left: \(tables)"]
        }
        return found.map { "host \(host.name): \($0)" }
    }

    /// Runs a line of `bridge` on a host; scripts ignore its result.
    func bridge(_ host: MigrationHosts.Host, _ line: String) throws {
        try command(host, ["bridge"] + line.split(separator: " ").map(String.init), mayFail: true)
    }

    /// Does something with a machine, and records it.
    func perform(_ machine: GuestMachine, _ words: String, _ body: (GuestMachine) throws -> Void) throws {
        let begin = Stopwatch.realTime
        try body(machine)
        note(machine.host, words, begin: begin, failure: nil)
    }

    /// Stops the guest's processors while `body` runs.
    func stopped(_ machine: GuestMachine, _ body: () throws -> Void) throws {
        ownStops[machine.host.name, default: 0] += 1
        try machine.session.execute("stop")
        try body()
        try machine.session.execute("cont")
    }

    private func note(_ host: MigrationHosts.Host, _ words: String, begin: Int64, failure: String?) {
        let short = words.replacing(fdbsteer, with: "fdbsteer").replacing(
            " --state \(state(host.name))", with: "")
        actions.append(
            MigrationAction(
                host: host.name, words: short, begin: begin, end: Stopwatch.realTime, failure: failure))
    }

    // MARK: - Events

    /// Follows the events until `isEnough` returns true for a moment.
    ///
    /// - Parameters:
    ///   - seconds: the time limit.
    ///   - handle: is called first for each moment.
    /// - Returns: whether that happened before the time limit.
    @discardableResult
    func follow(
        seconds: Double, until isEnough: (MigrationMoment) -> Bool, handle: (MigrationMoment) throws -> Void
    ) throws -> Bool {
        let end = monotonicNanoseconds() + Int64(seconds * 1e9)
        while monotonicNanoseconds() < end {
            let moments = try nextMoments()
            for moment in moments {
                try handle(moment)
                if isEnough(moment) { return true }
            }
            if moments.isEmpty { usleep(500) }
        }
        return false
    }

    /// The events since the last call.
    func nextMoments() throws -> [MigrationMoment] {
        var moments: [MigrationMoment] = []
        // The QEMU that waits for a guest ends when the migration is cancelled.
        for machine in [isSourceGone ? nil : source, isCancelled ? nil : target].compactMap(\.self) {
            while let event = try machine.session.nextEvent(timeout: 0) {
                events.append(event)
                if let moment = moment(event) { moments.append(moment) }
            }
        }
        if !hasSpoken, lastWord() > primaryIsNewFrom {
            hasSpoken = true
            moments.append(.primarySpoke)
        }
        return moments
    }

    private func moment(_ event: QEMUEvent) -> MigrationMoment? {
        let isSource = event.host == source.host.name
        switch (event.name, event.status) {
        case ("UNPLUG_PRIMARY", _): return .unplugRequested
        case ("MIGRATION", "wait-unplug"): return .waiting
        case ("MIGRATION", "active") where isSource && !isActive:
            isActive = true
            return .unplugged
        case ("DEVICE_DELETED", _) where event.device == GuestMachine.primaryDevice: return .unplugged
        case ("STOP", _) where isSource:
            if let own = ownStops[event.host], own > 0 {
                ownStops[event.host] = own - 1
                return nil
            }
            return .stopped
        case ("RESUME", _) where !isSource && !isResumed:
            isResumed = true
            primaryIsNewFrom = event.time
            return .resumed
        case ("MIGRATION", "completed") where isSource: return .completed
        case ("MIGRATION", "failed") where isSource, ("MIGRATION", "cancelled") where isSource: return .failed
        default: return nil
        }
    }

    /// QEMU has removed the VF for good.
    var isUnplugged: Bool {
        events.contains { $0.name == "DEVICE_DELETED" && $0.device == GuestMachine.primaryDevice }
    }

    // MARK: - For the evaluation

    /// QEMU sends RESUME before it starts the processors (`vm_start`), so they remain stopped for this long after it, in
    /// nanoseconds.
    private static let resumption: Int64 = 1_000_000

    /// The times when the guest's processors were stopped.
    var blackouts: [ClosedRange<Int64>] {
        var blackouts: [ClosedRange<Int64>] = []
        var stop: Int64?
        for event in events.sorted(by: { $0.time < $1.time }) {
            if event.name == "STOP", stop == nil { stop = event.time }
            if event.name == "RESUME", let begin = stop {
                blackouts.append(begin...(event.time + MigrationStage.resumption))
                stop = nil
            }
        }
        return blackouts
    }

    /// The lines that the daemons logged about this guest, or about no guest.
    var logs: [(host: String, time: Int64, text: String)] {
        daemons.values.flatMap { daemon in
            daemon.lines.filter { !$0.text.contains("guest=") || $0.text.contains("guest=\(guest.name)") }.map {
                (daemon.host.name, $0.time, $0.text)
            }
        }
    }

    /// The time when the guest ran on the target.
    var handover: Int64? {
        guard let target, !isCancelled else { return nil }
        return events.first { $0.name == "RESUME" && $0.host == target.host.name }?.time
    }
}
