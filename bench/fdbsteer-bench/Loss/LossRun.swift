import Glibc
import Lab
import LossMeter

/// One run of the loss bench in the calling thread's namespace: rounds of bursts in which the methods alternate.
struct LossRun {
    /// The results of the run.
    struct Outcome: Sendable {
        let rate: Int
        let summaries: [Summary]
        let timelines: [Timeline]
    }

    /// A method with a flood setting.
    private struct Series: Hashable {
        let method: LossMethod
        let flood: Bool
    }

    /// The results that a series has collected.
    private struct Collection {
        var results: [MoveResult] = []
        var latencies = Latencies()
        var rates: [Double] = []
        var timeline: (lost: Int, Timeline)?
    }

    private let options: LossCommand
    private let bench: LossLab
    /// The number of consecutive bursts in which no change ended.
    private var empty = 0
    private static let emptyLimit = 5
    /// The pause after each burst: real-time threads may run 0.95 s of each second.
    private static let pauseMicroseconds: UInt32 = 200_000

    init(_ options: LossCommand, state: String) throws {
        self.options = options
        bench = try LossLab(state: state)
    }

    mutating func run() throws -> Outcome {
        let rate = try options.rate ?? SenderQuality.highestRate { try burst(.replace, rate: $0, moves: 0) }
        var collections: [Series: Collection] = [:]
        var remaining: [Series: Int] = [:]
        for flood in [false, true] {
            for method in LossMethod.allCases {
                let wanted = method == .fdbsteer ? options.moves : options.otherMoves
                remaining[Series(method: method, flood: flood)] = wanted
            }
        }
        // The bursts of each method are spread over the whole run, so a busy spell of the machine affects all of them.
        let rounds = 5
        for round in 0..<rounds {
            Progress.say("round \(round + 1)/\(rounds), \(rate) frames a second ...")
            for flood in [false, true] {
                try bench.lab.setFlooding(flood)
                for method in LossMethod.moving + [.prepare] {
                    var series = [Series(method: method, flood: flood)]
                    if method == .prepare { series.append(Series(method: .release, flood: flood)) }
                    var share = ((remaining[series[0]] ?? 0) + rounds - round - 1) / (rounds - round)
                    while share > 0 {
                        let made = try measure(method, series: series, rate: rate, moves: share, into: &collections)
                        share -= made
                        for one in series { remaining[one, default: 0] -= made }
                    }
                }
            }
        }
        let order = [false, true].flatMap { flood in LossMethod.allCases.map { Series(method: $0, flood: flood) } }
        let summaries = order.map { series in
            let collection = collections[series] ?? Collection()
            return Summary(
                method: series.method.rawValue, flood: series.flood, offeredRate: rate,
                achievedRate: collection.rates.reduce(0, +) / Double(max(1, collection.rates.count)),
                results: collection.results, latencies: collection.latencies)
        }
        let timelines = LossMethod.moving.compactMap {
            collections[Series(method: $0, flood: false)]?.timeline?.1
        }
        return Outcome(rate: rate, summaries: summaries, timelines: timelines)
    }

    /// Measures one burst and stores its changes; returns the number of changes that each series got.
    private mutating func measure(
        _ method: LossMethod, series: [Series], rate: Int, moves: Int, into collections: inout [Series: Collection]
    ) throws -> Int {
        try bench.begin(method)
        let most = Int(Burst.longest / 1_000_000) * method.movesPerSecond / 1000 - 2
        let count = min(moves * series.count, most / series.count * series.count)
        let (recording, made) = try burst(method, rate: rate, moves: count)
        try bench.end(method)
        let (results, latencies) = Analysis(bound: Int64(options.bound) * 1000).results(recording, moves: made)
        let sent = recording.transmitted.filter { $0 != 0 }
        let seconds = Double((sent.last ?? 0) - (sent.first ?? 0)) / 1e9
        for (offset, one) in series.enumerated() {
            var collection = collections[one] ?? Collection()
            for (result, move) in zip(results, made) where move.index % series.count == offset {
                collection.results.append(result)
                // The picture shows the worst change.
                if collection.timeline.map({ result.lost > $0.lost }) ?? true, !result.isVoid {
                    let title = "\(method.rawValue): \(result.lost) lost, \(result.duplicated) duplicated"
                    let timeline = Timeline(
                        title: title, paths: [bench.lab.primary, bench.lab.standby], recording: recording, move: move,
                        window: result.window)
                    collection.timeline = (result.lost, timeline)
                }
            }
            collection.latencies.append(latencies)
            if seconds > 0 { collection.rates.append(Double(sent.count - 1) / seconds) }
            collections[one] = collection
        }
        // Changes that were too slow for the burst are left for the next one.
        empty = made.count < series.count ? empty + 1 : 0
        guard empty < LossRun.emptyLimit else {
            throw LabError("\(method.rawValue) takes longer than a burst of frames: no change can be measured")
        }
        return made.count / series.count
    }

    private func burst(_ method: LossMethod, rate: Int, moves: Int) throws -> (Recording, [Move]) {
        usleep(LossRun.pauseMicroseconds)
        let burst = Burst(
            source: BridgeLab.far(bench.lab.uplink), paths: bench.paths,
            destinationMAC: Interface.octets(bench.lab.guestMAC), sourceMAC: Interface.octets(bench.lab.peerMAC),
            rate: rate, framesBetweenMoves: rate / method.movesPerSecond, moves: max(moves, 1))
        return try burst.run { _ in moves == 0 ? Change(destination: nil) : try bench.perform(method) }
    }
}
