import ArgumentParser
import Glibc
import Lab

/// A way to keep a guest reachable while it migrates.
enum MigrationMethod: String, CaseIterable, ExpressibleByArgument, Sendable {
    /// The script of the kernel's documentation (Documentation/networking/net_failover.rst), verbatim.
    case kernelDoc = "kernel-doc"
    /// The same with `static`, which its authors may have meant: without it `bridge` makes an entry for the host's own address.
    case kernelDocStatic = "kernel-doc-static"
    /// The bridges learn, and no program acts.
    case learning
    /// fdbsteer, with one move at QEMU's UNPLUG_PRIMARY.
    case cutUnplug = "cut-unplug"
    /// fdbsteer, with one move at QEMU's MIGRATION active.
    case cutActive = "cut-active"
    /// Like `cut-active`, but the guest's processors are stopped during each move.
    case stopMove = "stop-move-cont"

    /// fdbsteer's brackets: each frame reaches both NICs while the guest changes from one to the other.
    case bracket
    /// The same, but the target's standby port learns until the guest is there, so QEMU's announcement moves the entry.
    case bracketLearning = "bracket-tap-learns"
    /// A daemon on each host follows QEMU. No other program acts, but for whoever plugs or unplugs a VF: it opens a bracket first.
    case fdbsteerd
    /// The same, and what the guest misses is sent again (`[replay]`).
    case fdbsteerdReplay = "fdbsteerd-replay"
    /// The same as `fdbsteerd`, and nothing of the guest leaves the target's port before the guest is there (`prepare --gate`).
    case fdbsteerdGate = "fdbsteerd-gate"

    /// Proxmox VE's, with `bridge-disable-mac-learning`: taps neither learn nor are flooded, and the host that runs the guest has
    /// a static entry (qemu-server, `add_nets_bridge_fdb`, `del_nets_bridge_fdb`).
    case proxmox
    /// KubeVirt's: the bridges learn, and the guest's link is set down and up on the target after the migration.
    case linkRefresh = "link-refresh"

    /// The methods for guests with one port.
    static let forPorts: [MigrationMethod] = [
        .learning, .fdbsteerd, .fdbsteerdReplay, .fdbsteerdGate, .proxmox, .linkRefresh,
    ]

    /// The methods for guests with a pair.
    static let forPairs = allCases.filter { ![.fdbsteerdGate, .proxmox, .linkRefresh].contains($0) }

    /// The methods that must not lose a frame by steering.
    static let checked: [MigrationMethod] = [.bracket, .bracketLearning, .fdbsteerd, .fdbsteerdReplay, .fdbsteerdGate]

    /// An orchestrator's script runs the migration, without QEMU's own handling of the pair.
    var isScript: Bool { self == .kernelDoc || self == .kernelDocStatic }

    /// The orchestrator lets the guest run on the target.
    var isHeld: Bool { self == .proxmox }

    private var isSteered: Bool {
        switch self {
        case .kernelDoc, .kernelDocStatic, .learning, .proxmox, .linkRefresh: false
        case .cutUnplug, .cutActive, .stopMove, .bracket, .bracketLearning: true
        case .fdbsteerd, .fdbsteerdReplay, .fdbsteerdGate: true
        }
    }

    /// A daemon on each host follows QEMU.
    private var isFollowed: Bool { [.fdbsteerd, .fdbsteerdReplay, .fdbsteerdGate].contains(self) }

    // MARK: - Before and after

    /// Brings both hosts to the state before the migrations; each guest uses its VF on its source.
    func prepare(_ stages: MigrationStage...) throws { try prepare(stages) }

    /// Brings both hosts to the state before the migrations; each guest uses its VF on its source.
    func prepare(_ stages: [MigrationStage]) throws {
        for stage in stages {
            // In the documentation the paravirtual NIC's link is down except during migrations.
            if isScript { try stage.source.setStandbyLink(false) }
            if self == .proxmox { try prepareAsProxmox(stage) }
            guard isSteered else { continue }
            try prepare(stage, stage.source, at: stage.guest.isPair ? "primary" : "local")
            guard let target = stage.target else { continue }
            try prepare(stage, target, at: "remote")
            if self == .bracketLearning { try setLearning(stage, target, true) }
        }
        if isFollowed { try MigrationStage.startDaemons(stages, replay: self == .fdbsteerdReplay) }
    }

    /// Like `prepare`, for a guest without a VF.
    func prepareWithoutPrimary(_ stage: MigrationStage) throws {
        if isScript { try addEntries(stage, stage.source) }
        if isSteered { try prepare(stage, stage.source, at: "standby") }
        guard isFollowed else { return }
        try MigrationStage.startDaemons([stage], replay: self == .fdbsteerdReplay, atPrimary: false)
    }

    private func prepare(_ stage: MigrationStage, _ machine: GuestMachine, at side: String) throws {
        let (host, guest) = (machine.host, machine.guest)
        let ports =
            guest.isPair
            ? ["--primary", guest.primary, "--standby", guest.standby, "--kind", "net_failover"]
            : ["--port", guest.standby] + (self == .fdbsteerdGate ? ["--gate"] : [])
        let place = ["--bridge", host.bridge, "--uplink", host.uplink, "--address", guest.mac, "--at", side]
        try stage.steer(host, ["prepare", guest.name] + ports + place)
    }

    /// The taps' settings, and the entry where the guest is.
    private func prepareAsProxmox(_ stage: MigrationStage) throws {
        let tap = stage.guest.standby
        for host in [stage.source, stage.target].compactMap(\.?.host) {
            try stage.bridge(host, "link set dev \(tap) learning off flood off")
        }
        try stage.bridge(stage.source.host, "fdb append \(stage.guest.mac) dev \(tap) master static")
    }

    /// Undoes what ``prepareAsProxmox(_:)`` and the migration did, wherever the entries are by now.
    private func endAsProxmox(_ stage: MigrationStage) throws {
        let (tap, mac) = (stage.guest.standby, stage.guest.mac)
        for host in [stage.source, stage.target].compactMap(\.?.host) {
            let flood = stage.hosts.floodsUnknown ? "on" : "off"
            try stage.bridge(host, "link set dev \(tap) learning on flood \(flood)")
            for port in [tap, host.uplink] { try stage.bridge(host, "fdb del \(mac) dev \(port) master") }
        }
    }

    /// Undoes the preparation, after the frames were counted.
    ///
    /// - Returns: the faults on the hosts, in words.
    func end(_ stage: MigrationStage) throws -> [String] { try end([stage])[0] }

    /// Undoes the preparation of several guests; one list of faults for each.
    func end(_ stages: [MigrationStage]) throws -> [[String]] {
        let unsettled = stages.map { $0.unsettled() }
        for daemon in stages.flatMap(\.daemons.values) { daemon.kill() }
        return try zip(stages, unsettled).map { stage, unsettled in
            if isScript { try stage.destination.setStandbyLink(true) }
            if self == .proxmox { try endAsProxmox(stage) }
            guard isSteered else { return [] }
            var complaints = unsettled
            for host in [stage.source, stage.target].compactMap(\.?.host) {
                complaints += try stage.leftovers(host)
                do { try stage.steer(host, "release", stage.guest.name) } catch { complaints.append("\(error)") }
            }
            return complaints
        }
    }

    // MARK: - Migration

    /// Starts the migration, after the steps that must come before it.
    func start(_ stage: MigrationStage, target: GuestMachine) throws {
        guard isScript else {
            try handle(.aboutToMigrate, stage)
            return try MigrationMethod.migrate(stage, target)
        }
        // On the target, before the migration: "an appropriate FDB entry is added".
        try addEntries(stage, target)
        try unplugByScript(stage)
        try MigrationMethod.migrate(stage, target)
    }

    /// The script's steps on the source, up to `virsh migrate`.
    func unplugByScript(_ stage: MigrationStage) throws {
        let (source, mac) = (stage.source, stage.guest.mac)
        // `virsh domif-setlink VM TAP up`
        try stage.perform(source, "set_link up") { try $0.setStandbyLink(true) }
        // `virsh detach-device --live`: returns when the guest has given up the VF, or after 5 s.
        try stage.perform(source, "device_del") { _ in try self.unplug(stage) }
        // `ip link set PF vf N mac 00:00:00:00:00:00`: the NIC's switch no longer sends frames for the MAC to the VF. Here that
        // switch is the bridge.
        try stage.bridge(source.host, "fdb del \(mac) dev \(source.guest.primary) master")
        try addEntries(stage, source)
    }

    /// The script's steps on the target, "once migration completes".
    func plugByScript(_ stage: MigrationStage, _ machine: GuestMachine) throws {
        try removeEntries(stage, machine)
        try stage.perform(machine, "device_add") { try $0.plugPrimary() }
        try stage.perform(machine, "set_link down") { try $0.setStandbyLink(false) }
    }

    /// `bridge fdb add MAC dev VF` and `bridge fdb add MAC dev TAP master`, where VF is the bridge's own.
    private func addEntries(_ stage: MigrationStage, _ machine: GuestMachine) throws {
        let (host, mac) = (machine.host, machine.guest.mac)
        try stage.bridge(host, "fdb add \(mac) dev \(host.uplink)")
        let state = self == .kernelDocStatic ? " static" : ""
        try stage.bridge(host, "fdb add \(mac) dev \(machine.guest.standby) master\(state)")
    }

    /// Removes the script's entries.
    func removeEntries(_ stage: MigrationStage, _ machine: GuestMachine) throws {
        let (host, mac) = (machine.host, machine.guest.mac)
        try stage.bridge(host, "fdb del \(mac) dev \(host.uplink)")
        try stage.bridge(host, "fdb del \(mac) dev \(machine.guest.standby) master")
    }

    private func unplug(_ stage: MigrationStage) throws {
        try stage.source.unplugPrimary()
        try stage.follow(seconds: 5, until: { $0 == .unplugged }, handle: { _ in })
    }

    private static func migrate(_ stage: MigrationStage, _ target: GuestMachine) throws {
        try stage.perform(stage.source, "migrate") {
            try $0.session.execute("migrate", "{\"uri\": \"unix:\(target.incoming)\"}")
        }
    }

    /// Does the steps for a moment.
    func handle(_ moment: MigrationMoment, _ stage: MigrationStage) throws {
        switch self {
        case .kernelDoc, .kernelDocStatic:
            guard moment == .completed, let target = stage.target else { return }
            try removeEntries(stage, stage.source)
            try plugByScript(stage, target)
        case .learning: return
        case .fdbsteerd, .fdbsteerdReplay, .fdbsteerdGate: try orchestrate(moment, stage)
        case .proxmox:
            guard moment == .completed, let target = stage.target else { return }
            let (tap, mac) = (stage.guest.standby, stage.guest.mac)
            try stage.bridge(stage.source.host, "fdb del \(mac) dev \(tap) master static")
            try stage.bridge(target.host, "fdb append \(mac) dev \(tap) master static")
            try stage.perform(target, "cont") { try $0.go() }
        case .linkRefresh:
            guard moment == .resumed, let target = stage.target else { return }
            try stage.perform(target, "set_link down") { try $0.setStandbyLink(false) }
            try stage.perform(target, "set_link up") { try $0.setStandbyLink(true) }
        case .bracket: try bracket(moment, stage)
        case .bracketLearning:
            try bracket(moment, stage)
            if moment == .resumed, let target = stage.target { try setLearning(stage, target, false) }
        case .cutUnplug:
            try cut(moment, leaveAt: moment == .aboutToUnplug ? .aboutToUnplug : .unplugRequested, stage)
        case .cutActive: try cut(moment, leaveAt: .unplugged, stage)
        case .stopMove:
            if moment == .unplugged {
                try stage.stopped(stage.source) { try leavePrimary(stage) }
            } else if moment == .resumed, let target = stage.target {
                try stage.stopped(target) { try arrive(stage) }
            } else if moment == .primarySpoke {
                try stage.stopped(stage.destination) { try takePrimary(stage) }
            }
        }
    }

    /// What QEMU has no event for: its request to the guest by `device_del`, and a VF that is about to come.
    private func orchestrate(_ moment: MigrationMoment, _ stage: MigrationStage) throws {
        switch moment {
        case .aboutToUnplug: try open(stage, stage.source, to: "standby")
        case .aboutToPlug: try open(stage, stage.source, to: "primary")
        case .refused: try stage.steer(stage.source.host, "abort", stage.guest.name)
        default: return
        }
    }

    private func bracket(_ moment: MigrationMoment, _ stage: MigrationStage) throws {
        switch moment {
        case .aboutToMigrate, .aboutToUnplug: try open(stage, stage.source, to: "standby")
        case .unplugged:
            // A surprise removal has no earlier moment at which the bracket is opened.
            if isOpen(stage, stage.source) {
                try close(stage, stage.source, at: "standby")
            } else {
                try leavePrimary(stage)
            }
        case .stopped:
            // The guest moves to its standby, and a VF may follow at once. Frames wait in the tap until it runs.
            guard let target = stage.target else { return }
            try open(stage, target, to: "primary")
            try leaveHost(stage)
        case .aboutToPlug, .failed: try open(stage, stage.source, to: "primary")
        case .primarySpoke: try close(stage, stage.destination, at: "primary")
        case .unplugRequested, .waiting, .refused, .resumed, .completed: return
        }
    }

    private func open(_ stage: MigrationStage, _ machine: GuestMachine, to side: String) throws {
        try stage.steer(machine.host, "switch", stage.guest.name, "--to", side, "--strategy", "bracket")
    }

    private func close(_ stage: MigrationStage, _ machine: GuestMachine, at side: String) throws {
        try stage.steer(machine.host, "switch", stage.guest.name, "--to", side, "--close")
    }

    private func isOpen(_ stage: MigrationStage, _ machine: GuestMachine) -> Bool {
        stage.actions.contains { $0.host == machine.host.name && $0.words.contains("--strategy bracket") }
    }

    private func setLearning(_ stage: MigrationStage, _ machine: GuestMachine, _ isOn: Bool) throws {
        try stage.command(
            machine.host, ["bridge", "link", "set", "dev", machine.guest.standby, "learning", isOn ? "on" : "off"])
    }

    private func cut(_ moment: MigrationMoment, leaveAt signal: MigrationMoment, _ stage: MigrationStage) throws {
        if moment == signal { try leavePrimary(stage) }
        if moment == .resumed { try arrive(stage) }
        if moment == .primarySpoke { try takePrimary(stage) }
    }

    private func leavePrimary(_ stage: MigrationStage) throws {
        try stage.steer(stage.source.host, "switch", stage.guest.name, "--to", "standby")
    }

    /// The order of docs/handover.md; QEMU has already announced the guest.
    private func arrive(_ stage: MigrationStage) throws {
        guard let target = stage.target else { return }
        try stage.steer(target.host, "switch", stage.guest.name, "--to", "standby")
        try leaveHost(stage)
    }

    private func leaveHost(_ stage: MigrationStage) throws {
        try stage.steer(stage.source.host, "switch", stage.guest.name, "--to", "remote")
    }

    private func takePrimary(_ stage: MigrationStage) throws {
        try stage.steer(stage.destination.host, "switch", stage.guest.name, "--to", "primary")
    }
}
