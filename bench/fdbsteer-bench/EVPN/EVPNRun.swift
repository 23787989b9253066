import Glibc
import Lab
import LossMeter
import System

/// What came of one hand-over.
struct EVPNResult: Sendable {
    /// For the peers on the source and on the target.
    let source: HandoverResult
    let target: HandoverResult
    /// From the moment at which the guest runs on the target until the source's bridge has the new route, in nanoseconds; nil: it did
    /// not get it.
    let route: Int64?
    /// How often the MAC has moved, as bgpd on the source has it.
    var mobility: Int?
    /// Hosts whose zebra holds the MAC for a duplicate.
    var duplicates = 0
    /// Both peers reach the guest in the end.
    let isReached: Bool
    /// Entries are where both records have them; nil where nobody has told the source.
    var isSettled: Bool?

    var isVoid: Bool { source.isVoid || target.isVoid }
}

/// The hand-overs of the EVPN bench; used on one thread.
final class EVPNRun {
    /// The guest's move, in milliseconds after the first frame.
    private static let runs: Int64 = 300
    /// The length of the traffic in milliseconds: fdbsteerd follows a control plane after a second.
    private static let length = 2200
    /// The time that the kernel needs to open the sockets, in nanoseconds.
    private static let lead: Int64 = 250_000_000
    /// The tester was not ready if a frame was sent later than this after it was due, in nanoseconds.
    private static let greatestLag: Int64 = 50_000_000
    /// A Burst adds frames for slow changes; here they are ordinary frames.
    private static let burstSlack = 150
    /// QEMU's other announcements, in milliseconds after the first.
    private static let announcements: [Int64] = [50, 200, 450, 800]
    /// Void hand-overs of a method in a row, after which it is not tried again.
    private static let attempts = 5

    private let lab: EVPNLab
    private let source: EVPNHost
    private let target: EVPNHost
    private let rate: Int
    private var guests = 0
    private(set) var results: [EVPNMethod: [EVPNResult]] = [:]

    private static let others = (source: "02:00:00:fd:b5:a7", target: "02:00:00:fd:b5:b7")

    init(_ lab: EVPNLab, scratch: String, rate: Int) throws {
        self.lab = lab
        source = try EVPNHost(
            lab.source, programs: OwnProgram.folder, state: TemporaryFolder(parent: scratch).path)
        target = try EVPNHost(
            lab.target, programs: OwnProgram.folder, state: TemporaryFolder(parent: scratch).path)
        self.rate = rate
    }

    /// Each method does the same number of hand-overs, in turn, so a busy spell of the machine affects all of them.
    func run(_ count: Int) throws {
        for _ in 0..<count {
            for method in EVPNMethod.all {
                for _ in 0..<EVPNRun.attempts {
                    let result = try handOver(method)
                    results[method, default: []].append(result)
                    if !result.isVoid { break }
                }
            }
        }
    }

    private func handOver(_ method: EVPNMethod) throws -> EVPNResult {
        guests += 1
        let guest = try EVPNGuest(number: guests)
        try begin(method, guest)
        var result = try record(method, guest)
        result.mobility = try lab.mobility(of: guest.mac, on: lab.source)
        result.duplicates = try [lab.source, lab.target].count { try lab.isDuplicate(guest.mac, on: $0) }
        if method.settlesSource {
            result.isSettled = try [source, target].allSatisfy {
                try $0.fdbsteer("verify \(guest.id)", expecting: [0, 3]).exitCode == 0
            }
        }
        try end(method, guest)
        return result
    }

    // MARK: - Before and after

    private func begin(_ method: EVPNMethod, _ guest: EVPNGuest) throws {
        if method.isShared {
            try setOther(EVPNRun.others.source, on: source, "add", "static")
            try setOther(EVPNRun.others.target, on: target, "add", "static")
        }
        if method.keeper == .daemons { for host in [source, target] { try host.startDaemon() } }
        if method.keeper == .nobody {
            try announce(guest, behind: lab.source)
        } else {
            try source.prepare(guest.id, guest.mac, at: "standby")
        }
        for _ in 0..<500 where try !lab.entries(guest.mac, on: lab.target).contains("dev \(lab.target.uplink)") {
            usleep(10_000)
        }
        if method.keeper != .nobody { try target.prepare(guest.id, guest.mac, at: "remote") }
    }

    /// The standby's port has an address of somebody else, or no more.
    private func setOther(_ mac: String, on host: EVPNHost, _ verb: String, _ kind: String) throws {
        try host.script("bridge fdb \(verb) \(mac) dev \(host.lab.standby) master \(kind)")
    }

    private func announce(_ guest: EVPNGuest, behind host: EVPNLab.Host) throws {
        try Interface.transmit(FabricLab.announcement(of: guest.mac), from: host.far(host.standby))
    }

    private func end(_ method: EVPNMethod, _ guest: EVPNGuest) throws {
        for host in [source, target] {
            if method.keeper != .nobody { try host.fdbsteer("release \(guest.id)") }
            host.endDaemon()
            // The guest is behind one of them, if at all.
            for port in [host.lab.primary, host.lab.standby] {
                try? host.script("bridge fdb del \(guest.mac) dev \(port) master")
            }
        }
        if method.isShared {
            try setOther(EVPNRun.others.source, on: source, "del", "")
            try setOther(EVPNRun.others.target, on: target, "del", "")
        }
    }

    // MARK: - Traffic

    private func record(_ method: EVPNMethod, _ guest: EVPNGuest) throws -> EVPNResult {
        let route = try RouteWatch(guest.mac, on: lab.source)
        let start = Stopwatch.realTime + EVPNRun.lead
        let senders = try [lab.source, lab.target].map { try BurstThread(burst(guest, from: $0, start: start)) }
        BurstThread.sleep(until: start, EVPNRun.runs)
        let runs = Stopwatch.realTime
        var done: [EVPNMethod.Step: Int64] = [:]
        let script = Result {
            for step in method.steps {
                switch step {
                case .announce: try announce(guest, behind: lab.target)
                case .target: try target.fdbsteer("switch \(guest.id) --to standby")
                case .source: try source.fdbsteer("switch \(guest.id) --to remote")
                }
                done[step] = Stopwatch.realTime
            }
            // As QEMU announces a guest (`qemu_announce_self`).
            for delay in done[.announce] == nil ? [] : EVPNRun.announcements {
                BurstThread.sleep(until: runs, delay)
                try announce(guest, behind: lab.target)
            }
        }
        let recordings = senders.map { $0.wait() }
        let seen = route.end()
        try script.get()
        // The target's standby learns, so an announcement moves its entry as a switch does.
        let onTarget = [done[.announce], done[.target]].compactMap { $0 }.min() ?? runs
        let onSource = [done[.source], seen].compactMap { $0 }.min() ?? runs
        let (first, second) = (try recordings[0].get(), try recordings[1].get())
        return EVPNResult(
            source: analyse(first, runs: runs, settled: max(onTarget, onSource)),
            target: analyse(second, runs: runs, settled: onTarget), route: seen.map { $0 - runs },
            isReached: [first, second].allSatisfy(isReached))
    }

    private func burst(_ guest: EVPNGuest, from host: EVPNLab.Host, start: Int64) -> Burst {
        var burst = Burst(
            source: host.far(host.peer),
            paths: [lab.source, lab.target].flatMap { [$0.far($0.primary), $0.far($0.standby)] },
            destinationMAC: Interface.octets(guest.mac),
            sourceMAC: Interface.octets(host.name == lab.source.name ? "02:00:00:fd:b5:a1" : "02:00:00:fd:b5:b1"),
            rate: rate, framesBetweenMoves: rate * (EVPNRun.length - EVPNRun.burstSlack) / 1000, moves: 0, isPaced: true
        )
        burst.start = start
        burst.isRealTime = true
        return burst
    }

    private func analyse(_ recording: Recording, runs: Int64, settled: Int64) -> HandoverResult {
        let analysis = HandoverAnalysis(
            listening: [.min..<runs, .min..<runs, runs..<(.max), runs..<(.max)], handover: runs...max(runs, settled))
        var result = analysis.result(recording)
        let lag = zip(recording.transmitted, recording.due).lazy.map { $0 - $1 }.max() ?? 0
        if lag > EVPNRun.greatestLag { result.isVoid = true }
        return result
    }

    /// The last frames, of a tenth of a second, arrived on the target.
    private func isReached(_ recording: Recording) -> Bool {
        recording.transmitted.indices.suffix(rate / 10).allSatisfy { frame in
            recording.transmitted[frame] == 0 || recording.received[2...].contains { $0[frame] != 0 }
        }
    }
}
