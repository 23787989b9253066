import CLab
import Glibc
import Lab
import LossMeter

/// The hosts and the guest that goes between them; used on one thread.
final class MigrationRig {
    /// What a migration, or a coming or going of the VF, left to be judged.
    struct Record: Sendable {
        let recordings: [MigrationRecording]
        let results: [MigrationResult]
        let notes: [GuestNote]
        let events: [QEMUEvent]
        let actions: [MigrationAction]
        /// The first frame was due then.
        let start: Int64
        let source: String
        let target: String?
        /// The guest is on the target.
        let hasMoved: Bool
        /// The processors stood still so long, in nanoseconds.
        let downtime: Int64
        /// A sender was late by so much, in nanoseconds.
        let lag: Int64
        /// Frames that the tester lost.
        let drops: Int
        /// Frames that the standbys' taps dropped because no QEMU took them in time.
        let overflow: Int
        /// It did not get to its end.
        let failure: String?
        /// What the daemons logged, by host, with the nanosecond of the day.
        let logs: [(host: String, time: Int64, text: String)]
        /// What was not as it should be on the hosts afterwards.
        var complaints: [String] = []
    }

    /// Before the first and after the last thing that happens, in seconds.
    private static let calm = 0.8
    /// The longest migration with everything around it, in seconds.
    private static let longest = 60
    private static let streams = 3
    /// Frames a second from each peer.
    static let leastRate = 100
    static let greatestRate = 20_000

    let hosts: MigrationHosts
    private let folder: String
    private let fdbsteer: String
    private var shape: GuestMachine.Shape
    private var machine: GuestMachine?
    private var home = 0
    private var started = 0
    private var rate: Int
    private let guestRate: Int

    /// - Parameters:
    ///   - folder: for sockets and journals.
    ///   - fdbsteer: the controller's program.
    ///   - rate: frames a second from each of three peers.
    ///   - guestRate: frames a second from the guest.
    init(folder: String, shape: GuestMachine.Shape, fdbsteer: String, rate: Int, guestRate: Int) throws {
        self.folder = folder
        self.shape = shape
        self.fdbsteer = fdbsteer
        self.rate = rate
        self.guestRate = guestRate
        hosts = try MigrationHosts()
    }

    /// Ends the machine.
    func end() {
        machine?.end()
        machine = nil
    }

    /// Sends `rate` frames a second from each peer to a guest that stays where it is.
    ///
    /// - Returns: whether all of them arrived.
    func carries(_ rate: Int) throws -> Bool {
        let stage = stage(try runningMachine(), nil)
        self.rate = rate
        // The first frames go to a guest that bridges may not know yet.
        let record = try record(stage) { nil }
        return !record.isVoid && record.lost == 0
    }

    /// Finds the highest rate that the guest carries at rest, and keeps to half of it: a bracket brings each frame twice.
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

    private func start(on host: Int, isIncoming: Bool, hasPrimary: Bool) throws -> GuestMachine {
        started += 1
        let own = folder + "/qemu-\(started)"
        guard mkdir(own, 0o700) == 0 else { throw LabError("cannot make \(own)") }
        var shape = shape
        shape.isIncoming = isIncoming
        shape.hasPrimary = hasPrimary
        let machine = try GuestMachine(shape, on: hosts.hosts[host], folder: own)
        let ports = [machine.host.standby, machine.host.primary]
        do {
            try machine.host.namespace.run { try ports.forEach(MigrationHosts.waitForForwarding) }
        } catch {
            machine.end()
            throw error
        }
        return machine
    }

    /// The machine that the guest is on, with its VF in use.
    func runningMachine() throws -> GuestMachine {
        let machine = try machine ?? start(on: home, isIncoming: false, hasPrimary: true)
        self.machine = machine
        try machine.waitForGuest(withPrimary: true)
        return machine
    }

    /// A machine on the other host that waits for the guest.
    func waitingMachine(hasPrimary: Bool) throws -> GuestMachine {
        try start(on: 1 - home, isIncoming: true, hasPrimary: hasPrimary)
    }

    /// The guest went to a machine on the other host.
    func moved(to target: GuestMachine) {
        machine?.end()
        machine = target
        home = 1 - home
    }

    func stage(_ source: GuestMachine, _ target: GuestMachine?) -> MigrationStage {
        MigrationStage(source: source, target: target, hosts: hosts, folder: folder, fdbsteer: fdbsteer)
    }

    // MARK: - Traffic

    /// Sends, lets `body` happen, and closes the account; `body` says what went wrong.
    func record(_ stage: MigrationStage, _ body: () throws -> String?) throws -> Record {
        let run = UInt32.random(in: .min ... .max - 16)
        let capacity = rate * MigrationRig.longest
        try stage.source.observer().begin(run: run, frames: capacity, replies: guestRate)
        let watches = try [stage.source, stage.target].compactMap(\.?.host).map { host in
            SharedBox(
                try host.namespace.run {
                    SharedBox(
                        try PortWatch(
                            ports: [host.standby, host.primary], run: run, runs: MigrationRig.streams,
                            capacity: capacity, guest: Interface.octets(MigrationHosts.guestMAC)))
                }.value)
        }
        stage.lastWordOnPrimary = { [unowned stage] in
            watches[stage.destination === stage.source ? 0 : watches.count - 1].value.lastWord(port: 1)
        }
        let before = try overflow(stage)
        let start = clab_now(CLOCK_REALTIME) + 100_000_000
        let senders = try senders(run: run, start: start, capacity: capacity)
        var failure: String?
        let outcome = Result {
            // The peers' own bridges have to learn the guest first: it speaks a hundred times a second.
            MigrationRig.wait(MigrationRig.calm)
            failure = try body()
            let calmUntil = clab_now(CLOCK_MONOTONIC) + Int64(MigrationRig.calm * 1e9)
            while clab_now(CLOCK_MONOTONIC) < calmUntil {
                try stage.follow(seconds: 0.1, until: { _ in false }, handle: { _ in })
            }
        }
        let transmitted = senders.map { $0.value.stop() }
        // What waits in a queue gets to the guest meanwhile.
        MigrationRig.wait(0.3)
        let served = watches.map { $0.value.stop() }
        try outcome.get()
        let observer = try stage.destination.observer()
        var recordings: [MigrationRecording] = []
        var drops = served.reduce(0) { $0 + Int($1.drops) }
        for stream in 0..<MigrationRig.streams {
            let count = try observer.count(stream: stream)
            drops = max(drops, count.drops)
            let ports = transmitted[stream].indices.map { frame in
                served.enumerated().reduce(into: ServedPorts()) { ports, one in
                    let bits = one.element.served[stream]
                    if frame < bits.count {
                        ports.formUnion(ServedPorts(rawValue: bits[frame] << UInt8(2 * one.offset)))
                    }
                }
            }
            recordings.append(
                MigrationRecording(
                    transmitted: transmitted[stream], served: ports, marks: count.marks.map(GuestMarks.init(rawValue:)))
            )
        }
        let gap = 1_000_000_000 / Int64(rate)
        let lag =
            transmitted.flatMap { times in
                times.enumerated().map { $0.element - start - Int64($0.offset) * gap }
            }.max() ?? 0
        let blackouts = stage.blackouts
        let analysis = MigrationAnalysis(blackouts: blackouts, handover: stage.handover)
        return Record(
            recordings: recordings, results: analysis.results(recordings), notes: try observer.notes(),
            events: stage.events.sorted { $0.time < $1.time }, actions: stage.actions, start: start,
            source: stage.source.host.name, target: stage.target?.host.name, hasMoved: stage.handover != nil,
            downtime: blackouts.reduce(0) { $0 + $1.upperBound - $1.lowerBound }, lag: lag, drops: drops,
            overflow: try overflow(stage) - before,
            failure: failure,
            logs: stage.daemons.values.flatMap { daemon in
                daemon.lines.map { (daemon.host.name, $0.time, $0.text) }
            })
    }

    /// Frames that the queues of the standbys' taps had no room for, since they were made.
    private func overflow(_ stage: MigrationStage) throws -> Int {
        try [stage.source, stage.target].compactMap(\.?.host).reduce(0) { sum, host in
            let standby = host.standby
            return sum + (try host.namespace.run { try Interface.transmitDrops(of: standby) })
        }
    }

    /// Not used by two threads at once.
    private final class SharedBox<T>: @unchecked Sendable {
        let value: T
        init(_ value: T) { self.value = value }
    }

    private func senders(run: UInt32, start: Int64, capacity: Int) throws -> [SharedBox<FrameStream>] {
        let places = hosts.hosts.map { ($0.namespace, $0.peer) } + [(hosts.fabric, hosts.fabricPeer)]
        let rate = rate
        return try places.enumerated().map { index, place in
            let port = place.1
            return try place.0.run {
                SharedBox(
                    try FrameStream(
                        interface: MigrationHosts.far(port), destination: Interface.octets(MigrationHosts.guestMAC),
                        source: Interface.octets(MigrationHosts.peerMACs[index]), run: run + UInt32(index),
                        rate: rate, start: start, capacity: capacity))
            }
        }
    }

    private static func wait(_ seconds: Double) { usleep(UInt32(seconds * 1e6)) }
}
