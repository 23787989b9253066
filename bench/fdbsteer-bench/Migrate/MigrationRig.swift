import Glibc
import Lab
import LossMeter
import System

/// The hosts and the guests that migrate between them; used on one thread.
final class MigrationRig {
    /// The recorded data of a migration, or of a VF that came or went.
    struct Record: Sendable {
        let recordings: [MigrationRecording]
        /// Questions to the guest, and its answers.
        let signals: [GuestSignal]
        let results: [MigrationResult]
        let notes: [GuestNote]
        let events: [QEMUEvent]
        let actions: [MigrationAction]
        /// The time when the first frame was due.
        let start: Int64
        let source: String
        let target: String?
        /// The time of RESUME on the target; nil: the guest stayed.
        let handover: Int64?
        /// The time for which the processors were stopped, in nanoseconds.
        let downtime: Int64
        /// The time of STOP; nil: they were not stopped.
        let stop: Int64?
        /// The largest delay of a sender, in nanoseconds.
        let lag: Int64
        /// Frames that the tester lost.
        let drops: Int
        /// Frames that the standby's taps dropped because no QEMU read them in time.
        let overflow: Int
        /// Frames that left through other guests' ports.
        let strayed: Int
        /// The most memory that was resident in one of the daemons, in KiB; 0: there is none.
        let residentAtMost: Int
        /// What the fabric saw of a guest with one port.
        let fabric: FabricWatch.Figures
        /// The reason why it did not complete.
        let failure: String?
        /// The lines that the daemons logged, with the host and the nanosecond of the day.
        let logs: [(host: String, time: Int64, text: String)]
        /// The faults on the hosts afterwards.
        var complaints: [String] = []
    }

    /// The quiet time before the first event and after the last, in seconds.
    private static let calm = 0.8
    /// The least number of frames a second from each peer.
    static let leastRate = 100
    static let greatestRate = 20_000

    let hosts: MigrationHosts
    private let folder: String
    private let fdbsteer: String
    private let shape: GuestMachine.Shape
    private var machines: [Int: GuestMachine] = [:]
    /// The host of each guest.
    private var homes: [Int]
    private var started = 0
    private var rate: Int
    private let guestRate: Int
    private let earlyRate: Int

    /// The configuration of guests with a device in the role of the VF.
    ///
    /// - Throws: ``LabError`` if the guest's image is missing.
    static func shape(primary: String = "vmxnet3") throws -> GuestMachine.Shape {
        var shape = GuestMachine.Shape(image: try MigrateCommand.image())
        shape.primaryModel = primary
        return shape
    }

    /// - Parameters:
    ///   - folder: the folder for sockets and journals.
    ///   - shape: the configuration of the guests, from ``shape(primary:)``.
    ///   - hosts: the hosts and the number of guests.
    ///   - rate: frames a second from each of three peers to each guest.
    ///   - guestRate: frames a second from each guest.
    ///   - earlyRate: frames a second with the MAC of a guest with one port that come in by its port on the target before it
    ///     is there.
    /// - Throws: ``LabError``.
    init(
        folder: String, shape: GuestMachine.Shape, hosts: MigrationHosts, rate: Int, guestRate: Int, earlyRate: Int = 0
    ) throws {
        self.folder = folder
        self.shape = shape
        fdbsteer = try OwnProgram.sibling("fdbsteer")
        self.rate = rate
        self.guestRate = guestRate
        self.earlyRate = earlyRate
        homes = Array(repeating: 0, count: hosts.guests.count)
        self.hosts = hosts
    }

    /// Ends all machines.
    func end() { homes.indices.forEach(end) }

    /// Ends a guest's machine.
    func end(_ guest: Int) { machines.removeValue(forKey: guest)?.end() }

    /// Sends `rate` frames a second from each peer to a guest that does not move.
    ///
    /// - Returns: whether all of them arrived.
    func carries(_ rate: Int) throws -> Bool {
        let stage = stage(try runningMachine(), nil)
        self.rate = rate
        // The bridges may not know the guest yet when the first frames are sent.
        let record = try record(stage) { nil }
        return !record.isVoid && record.lost == 0
    }

    /// Finds the highest rate that the guest can receive at rest, and uses half of it, because a bracket sends each frame
    /// twice.
    ///
    /// - Returns: frames a second from each peer.
    func findRate() throws -> Int {
        var rate = MigrationRig.leastRate
        guard try carries(rate) else {
            throw LabError("the guest does not carry \(rate) frames a second from each peer")
        }
        while rate < MigrationRig.greatestRate, try carries(rate * 5 / 4) { rate = rate * 5 / 4 }
        rate = max(MigrationRig.leastRate, rate / 2)
        self.rate = rate
        return rate
    }

    // MARK: - Machines

    private func start(
        _ guest: Int, on host: Int, isIncoming: Bool, hasPrimary: Bool, isHeld: Bool = false
    ) throws -> GuestMachine {
        started += 1
        let own = folder + "/qemu-\(started)"
        guard mkdir(own, 0o700) == 0 else { throw LabError("cannot make \(own)") }
        var shape = shape
        shape.isIncoming = isIncoming
        shape.hasPrimary = hasPrimary
        shape.isHeld = isHeld
        let machine = try GuestMachine(shape, of: hosts.guests[guest], on: hosts.hosts[host], folder: own)
        let ports = machine.guest.ports
        do {
            try machine.host.namespace.run { try ports.forEach(MigrationHosts.waitForForwarding) }
        } catch {
            machine.end()
            throw error
        }
        return machine
    }

    /// The guest's machine, with its VF in use.
    func runningMachine() throws -> GuestMachine { try runningMachines()[0] }

    /// The guests' machines, with their VFs in use.
    func runningMachines() throws -> [GuestMachine] {
        let running = try homes.indices.map { guest in
            let machine =
                try machines[guest] ?? start(guest, on: homes[guest], isIncoming: false, hasPrimary: true)
            machines[guest] = machine
            return machine
        }
        for machine in running { try machine.waitForGuest(withPrimary: true) }
        return running
    }

    /// A machine on the other host that waits for the guest.
    ///
    /// - Parameter isHeld: the guest does not run there before `cont`.
    func waitingMachine(_ guest: Int = 0, hasPrimary: Bool, isHeld: Bool = false) throws -> GuestMachine {
        try start(guest, on: 1 - homes[guest], isIncoming: true, hasPrimary: hasPrimary, isHeld: isHeld)
    }

    /// Watches the fabric from now on if the guest has one port, and lets that port speak early.
    func watchFabric(_ stage: MigrationStage, _ target: GuestMachine) throws {
        if target.guest.isPair { return }
        stage.fabric = try FabricWatch(hosts, target.guest, target: target.host, rate: earlyRate)
    }

    /// Records that the guest moved to a machine on the other host.
    func moved(to target: GuestMachine) {
        let guest = target.guest.number
        end(guest)
        machines[guest] = target
        homes[guest] = 1 - homes[guest]
    }

    func stage(_ source: GuestMachine, _ target: GuestMachine?) -> MigrationStage {
        MigrationStage(source: source, target: target, hosts: hosts, folder: folder, fdbsteer: fdbsteer)
    }

    // MARK: - Traffic

    /// Sends frames while `body` runs, and evaluates the counts; `body` returns an error in words.
    func record(_ stage: MigrationStage, _ body: () throws -> String?) throws -> Record {
        try record([stage]) { [try body()] }[0]
    }

    /// The same for several guests at once, each with its own stage.
    func record(_ stages: [MigrationStage], _ body: () throws -> [String?]) throws -> [Record] {
        let traffic = try MigrationTraffic(hosts, to: stages.map(\.guest), rate: rate)
        for (guest, stage) in stages.enumerated() {
            try stage.source.observer().begin(
                run: traffic.run(of: guest), frames: traffic.capacity, replies: guestRate)
            stage.lastWord = { [unowned stage] in
                traffic.lastWord(of: guest, on: stage.destination.host.name)
            }
        }
        // What a bridge does not know goes nowhere then, until the guest has broadcast: one in a hundred of its frames.
        if !hosts.floodsUnknown { MigrationRig.wait(110 / Double(guestRate)) }
        let before = try stages.map(overflow)
        try traffic.begin()
        var failures: [String?] = []
        let outcome = Result {
            // The guests send all the time; the peers' own bridges have to learn them first.
            MigrationRig.wait(MigrationRig.calm)
            failures = try body()
            let calmUntil = monotonicNanoseconds() + Int64(MigrationRig.calm * 1e9)
            while monotonicNanoseconds() < calmUntil {
                for stage in stages { _ = try stage.nextMoments() }
                usleep(10_000)
            }
        }
        traffic.end { MigrationRig.wait(0.3) }
        try outcome.get()
        return try stages.indices.map { guest in
            try account(guest, stages[guest], traffic, failure: failures[guest], overflowBefore: before[guest])
        }
    }

    /// Fetches the guest's counts, and evaluates them.
    private func account(
        _ guest: Int, _ stage: MigrationStage, _ traffic: MigrationTraffic, failure: String?, overflowBefore: Int
    ) throws -> Record {
        let observer = try stage.destination.observer()
        let places = [stage.source, stage.target].compactMap(\.?.host.name)
        var drops = traffic.drops
        let recordings = try (0..<MigrationTraffic.peers).map { peer in
            let count = try observer.count(stream: peer)
            drops = max(drops, count.drops)
            return traffic.recording(of: guest, peer: peer, places: places, count: count)
        }
        let blackouts = stage.blackouts
        let analysis = MigrationAnalysis(
            blackouts: blackouts, handover: stage.handover, isPair: stage.guest.isPair)
        return Record(
            recordings: recordings, signals: traffic.signals(of: guest, places: places),
            results: analysis.results(recordings), notes: try observer.notes(),
            events: stage.events.sorted { $0.time < $1.time }, actions: stage.actions, start: traffic.start,
            source: stage.source.host.name, target: stage.target?.host.name, handover: stage.handover,
            downtime: blackouts.reduce(0) { $0 + $1.upperBound - $1.lowerBound }, stop: blackouts.first?.lowerBound,
            lag: traffic.lag(of: guest),
            drops: drops, overflow: try overflow(stage) - overflowBefore, strayed: traffic.strayed(of: guest),
            residentAtMost: stage.daemons.values.map(\.residentAtMost).max() ?? 0,
            fabric: try stage.fabric?.stop() ?? FabricWatch.Figures(), failure: failure, logs: stage.logs)
    }

    /// The frames that the standby's taps dropped because their queues were full, since they were created.
    private func overflow(_ stage: MigrationStage) throws -> Int {
        let standby = stage.guest.standby
        return try [stage.source, stage.target].compactMap(\.?.host).reduce(0) { sum, host in
            sum + (try host.namespace.run { try Interface.transmitDrops(of: standby) })
        }
    }

    private static func wait(_ seconds: Double) { usleep(UInt32(seconds * 1e6)) }
}
