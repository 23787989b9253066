import Lab
import LossMeter
import System

/// One run of the hand-over bench in the calling thread's namespace: rounds in which the methods alternate.
final class HandoverRun {
    /// The senders of frames to the guest.
    enum Peer: String, CaseIterable, Sendable {
        case source = "source host"
        case target = "target host"
        case fabric
    }

    /// The key by which results are counted together.
    struct Series: Hashable, Sendable {
        let method: HandoverMethod
        let flood: Bool
        let peer: Peer
    }

    // The moments of a hand-over, in milliseconds after the first frame.
    private static let unplug: Int64 = 100
    private static let runs: Int64 = 200
    private static let again: Int64 = 250
    private static let plug: Int64 = 330
    /// The length of the traffic in milliseconds.
    private static let length = 450
    /// The time that the kernel needs to open the sockets of three senders and twelve receivers, in nanoseconds.
    private static let lead: Int64 = 250_000_000
    /// The tester was not ready if a frame was sent later than this after it was due, in nanoseconds.
    private static let greatestLag: Int64 = 50_000_000
    /// A Burst adds frames for slow changes; here they are ordinary frames.
    private static let burstSlack = 150

    private let bench: HandoverLab
    private let methods: [HandoverMethod]
    private let handovers: Int
    private let rate: Int
    private(set) var results: [Series: [HandoverResult]] = [:]

    init(_ bench: HandoverLab, methods: [HandoverMethod], handovers: Int, rate: Int) {
        self.bench = bench
        self.methods = methods
        self.handovers = handovers
        self.rate = rate
    }

    /// Each method does the same number of hand-overs, in turn, so a busy spell of the machine affects all of them.
    func run() throws {
        for _ in 0..<handovers {
            for flood in [false, true] {
                try bench.lab.setFlooding(flood)
                for method in methods { try handOver(method, flood: flood) }
            }
        }
    }

    private func handOver(_ method: HandoverMethod, flood: Bool) throws {
        for _ in 0..<5 {
            try bench.begin(method)
            let (recordings, times) = try record(method)
            try bench.end(method)
            var made: [Peer: HandoverResult] = [:]
            for (peer, recording) in recordings { made[peer] = result(recording, peer: peer, times) }
            // A void hand-over is repeated, up to five in a row.
            for (peer, result) in made {
                results[Series(method: method, flood: flood, peer: peer), default: []].append(result)
            }
            if !made.values.contains(where: \.isVoid) { return }
        }
    }

    private func result(_ recording: Recording, peer: Peer, _ times: HandoverLab.Times) -> HandoverResult {
        // The steps that each peer's frames need: always the target's entry, the fabric's unless the peer is on the target, and
        // the source's if the peer is there.
        let needed: [HandoverMethod.Step] =
            switch peer {
            case .target: [.target]
            case .fabric: [.target, .announce]
            case .source: [.target, .announce, .source]
            }
        let settled = needed.compactMap { times.done[$0] }.max() ?? times.runs
        let analysis = HandoverAnalysis(
            listening: bench.listening(times), handover: times.runs...max(times.runs, settled))
        var result = analysis.result(recording)
        let lag = zip(recording.transmitted, recording.due).lazy.map { $0 - $1 }.max() ?? 0
        if lag > HandoverRun.greatestLag { result.isVoid = true }
        return result
    }

    // MARK: - Traffic

    private func record(_ method: HandoverMethod) throws -> ([Peer: Recording], HandoverLab.Times) {
        let start = Stopwatch.realTime + HandoverRun.lead
        let senders = try Peer.allCases.map { try BurstThread(burst($0, start: start)) }
        var times = HandoverLab.Times()
        let script = Result {
            BurstThread.sleep(until: start, HandoverRun.unplug)
            try bench.unplug(method, into: &times)
            BurstThread.sleep(until: start, HandoverRun.runs)
            try bench.migrate(method, into: &times)
            BurstThread.sleep(until: start, HandoverRun.again)
            try bench.announceAgain()
            BurstThread.sleep(until: start, HandoverRun.plug)
            try bench.plug(method, into: &times)
        }
        let recordings = senders.map { $0.wait() }
        try script.get()
        return (Dictionary(uniqueKeysWithValues: zip(Peer.allCases, try recordings.map { try $0.get() })), times)
    }

    private func burst(_ peer: Peer, start: Int64) -> Burst {
        let (port, mac) =
            switch peer {
            case .source: (bench.lab.source.peer, "52:54:00:fd:b5:a1")
            case .target: (bench.lab.target.peer, "52:54:00:fd:b5:a2")
            case .fabric: (bench.lab.fabricPeer, "52:54:00:fd:b5:a3")
            }
        var burst = Burst(
            source: FabricLab.far(port), paths: bench.paths, destinationMAC: Interface.octets(bench.lab.guestMAC),
            sourceMAC: Interface.octets(mac), rate: rate,
            framesBetweenMoves: rate * (HandoverRun.length - HandoverRun.burstSlack) / 1000, moves: 0, isPaced: true)
        burst.start = start
        burst.isRealTime = true
        return burst
    }
}
