import ArgumentParser
import Controller
import FDB
import Glibc
import Lab
import LossMeter
import Policy
import Records

/// `fdbsteer-bench bracket`.
struct BracketCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bracket",
        abstract: "What an open bracket costs: loss and latency on both ports against the offered rate.",
        discussion: """
            Runs in a network namespace of its own: a bridge, an uplink that frames come from, a VF's port and a standby's \
            port with a receiver behind each. Bursts of each rate are sent with the guest on the primary, with a bracket \
            open, and with the guest on the standby, in turn. Needs root. Nothing outside the namespace is touched.
            """)

    @Option(parsing: .upToNextOption, help: "Frames a second.")
    var rates = [1000, 10_000, 50_000, 100_000, 150_000, 200_000, 300_000, 400_000, 600_000]
    @Option(help: "Bursts of each rate in each state.")
    var rounds = 5
    @Option(help: "Addresses of the guest; frames go to the last that the filter looks at.")
    var addresses = 1
    @Flag(help: "The standby has a clsact already, so that a filter in it copies; otherwise nftables does.")
    var clsact = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    func validate() throws {
        guard !rates.isEmpty, rates.allSatisfy({ (100...2_000_000).contains($0) }), rounds > 0,
            (1...256).contains(addresses)
        else {
            throw ValidationError("--rates go from 100 to 2000000, --rounds from 1, --addresses from 1 to 256")
        }
    }

    func run() throws {
        let command = self
        let state = try TemporaryFolder.goneWhenInterrupted()
        defer { state.remove() }
        let rows = try Namespace.run { () throws -> [BracketRun.Row] in
            var run = try BracketRun(command, state: state.path)
            return try run.run()
        }
        let header = [
            "RATE", "STATE", "ACHIEVED", "SENT", "LOST PRIMARY", "LOST STANDBY", "REPEATED", "P50 PRIMARY", "P99",
            "P50 STANDBY",
            "P99",
        ]
        print(TextTable.aligned([header] + rows.map(\.cells), numbersFrom: 2))
        print("latency in microseconds; \(addresses) address\(addresses == 1 ? "" : "es")")
        if let json { try TextFile.write(json: BracketRun.Results(results: rows), to: json) }
    }
}

/// One run of the bracket bench in the calling thread's namespace.
struct BracketRun {
    /// The place of the guest.
    enum State: String, Encodable, CaseIterable {
        case primary, open, standby
    }

    /// The results for the frames of one port.
    struct Path: Encodable, Sendable {
        var lost = 0
        var repeated = 0
        /// The time from sending to the receiver's kernel, in nanoseconds.
        var latencyMedian: Int64 = 0
        var latencyP99: Int64 = 0
    }

    /// The results for one rate in one state.
    struct Row: Encodable, Sendable {
        let rate: Int
        let state: State
        let achievedRate: Double
        let sent: Int
        /// nil if the guest's frames do not go there.
        let primary: Path?
        let standby: Path?
        let testerDrops: Int64

        var cells: [String] {
            func microseconds(_ value: Int64?) -> String { value.map { "\($0 / 1000)" } ?? "-" }
            func count(_ value: Int?) -> String { value.map(String.init) ?? "-" }
            let repeated = (primary?.repeated ?? 0) + (standby?.repeated ?? 0)
            return [
                "\(rate)", state.rawValue, "\(Int(achievedRate))", "\(sent)", count(primary?.lost),
                count(standby?.lost),
                "\(repeated)", microseconds(primary?.latencyMedian), microseconds(primary?.latencyP99),
                microseconds(standby?.latencyMedian), microseconds(standby?.latencyP99),
            ]
        }
    }

    /// The JSON object.
    struct Results: Encodable {
        let results: [Row]
    }

    private struct Samples {
        var sent = 0
        var nanoseconds: Int64 = 0
        var latencies: [[Int64]] = [[], []]
        var lost = [0, 0]
        var repeated = [0, 0]
        var drops: Int64 = 0
    }

    private let options: BracketCommand
    private let lab: BridgeLab
    private let folder: StateFolder
    private let guest: GuestID
    private let target: String

    init(_ options: BracketCommand, state: String) throws {
        self.options = options
        lab = try BridgeLab()
        if options.clsact { try Command.script("tc qdisc add dev \(lab.standby) clsact") }
        folder = StateFolder(state)
        guest = try GuestID("guest")
        let addresses = try (0..<options.addresses).map {
            try Address(mac: MACAddress(value: 0x5254_00fd_0000 + UInt64($0)))
        }
        // The program compares addresses in ascending order.
        target = addresses[addresses.count - 1].mac.description
        var host = try Host(folder: folder)
        let prepared = try Prepare(
            PreparationRequest(
                id: guest, bridge: lab.bridge, primary: lab.primary, standby: lab.standby, uplink: lab.uplink,
                addresses: addresses, side: .primary, kind: .netFailover)
        ).run(on: &host)
        try BracketRun.check(prepared)
    }

    mutating func run() throws -> [Row] {
        var samples: [Int: [State: Samples]] = [:]
        for _ in 0..<options.rounds {
            for state in State.allCases {
                try enter(state)
                for rate in options.rates {
                    try measure(rate, state, into: &samples[rate, default: [:]][state, default: Samples()])
                }
            }
            var host = try Host(folder: folder)
            try BracketRun.check(Switch(to: .primary).run(guest, on: &host))
        }
        return options.rates.flatMap { rate in
            State.allCases.compactMap { state in samples[rate]?[state].map { row(rate, state, $0) } }
        }
    }

    /// Moves the guest from the primary through an open bracket to the standby.
    private func enter(_ state: State) throws {
        var host = try Host(folder: folder)
        switch state {
        case .primary: break
        case .open: try BracketRun.check(OpenBracket(to: .standby).run(guest, on: &host))
        case .standby: try BracketRun.check(CloseBracket(at: .standby).run(guest, on: &host))
        }
    }

    private static func check(_ report: Report) throws {
        guard report.exitCode == 0 else {
            throw LabError("\(report.verb.rawValue): \(report.failures.joined(separator: "; "))")
        }
    }

    private func measure(_ rate: Int, _ state: State, into samples: inout Samples) throws {
        let frames = max(100, rate / 2)
        let burst = Burst(
            source: BridgeLab.far(lab.uplink), paths: [lab.primary, lab.standby].map(BridgeLab.far),
            destinationMAC: Interface.octets(target), sourceMAC: Interface.octets(lab.peerMAC), rate: rate,
            framesBetweenMoves: frames, moves: 0, isPaced: rate < 1000)
        let (recording, _) = try burst.run { _ in Change(destination: nil) }
        let sent = recording.transmitted.indices.filter { recording.transmitted[$0] != 0 }
        samples.sent += sent.count
        if let first = sent.first, let last = sent.last {
            samples.nanoseconds += recording.transmitted[last] - recording.transmitted[first]
        }
        samples.drops += recording.testerDrops
        for path in 0..<2 {
            samples.repeated[path] += recording.repeats[path]
            for number in sent {
                let arrived = recording.received[path][number]
                if arrived == 0 {
                    samples.lost[path] += 1
                } else {
                    samples.latencies[path].append(arrived - recording.transmitted[number])
                }
            }
        }
        // Real-time threads may run 0.95 s of each second.
        usleep(200_000)
    }

    private func row(_ rate: Int, _ state: State, _ samples: Samples) -> Row {
        func path(_ number: Int) -> Path? {
            guard state == .open || (state == .primary) == (number == 0) else { return nil }
            let sorted = samples.latencies[number].sorted()
            func at(_ share: Double) -> Int64 {
                sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
            }
            return Path(
                lost: samples.lost[number], repeated: samples.repeated[number], latencyMedian: at(0.5),
                latencyP99: at(0.99))
        }
        let seconds = Double(samples.nanoseconds) / 1e9
        return Row(
            rate: rate, state: state, achievedRate: seconds > 0 ? Double(samples.sent - options.rounds) / seconds : 0,
            sent: samples.sent, primary: path(0), standby: path(1), testerDrops: samples.drops)
    }
}
