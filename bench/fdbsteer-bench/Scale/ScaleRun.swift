import Controller
import FDB
import Glibc
import Lab
import LossMeter
import Netlink
import Policy
import Records
import Synchronization
import System

/// One run of the scale bench in the calling thread's namespace.
final class ScaleRun {
    private let options: ScaleCommand
    private let lab: BridgeLab
    private let state: String
    private var host: Host
    /// A guest's two ports are the two ends of a veth pair: they receive no frames, and a thousand pairs are enough.
    private static let guestsOfBridge = 500

    init(_ options: ScaleCommand, state: String) throws {
        self.options = options
        self.state = state
        lab = try BridgeLab(extraPorts: ["late0", "late1"])
        host = try Host(folder: StateFolder(state))
    }

    func run() throws -> ScaleOutcome {
        let bridges = try makeGuests()
        let preparations = try prepareOthers()
        let atRest = try Latecomer(state).run(until: nil, count: 300)
        // The entries alone, with a concurrent probe that takes RTNL for one message.
        let (alone, probed) = try moveEntriesAlone()
        var evacuations: [Double] = []
        var during: [Int64] = []
        var sent = 0
        var lost = 0
        var duplicated = 0
        var isVoid = false
        for _ in 0..<options.rounds {
            for side in [Side.standby, .primary] {
                let (milliseconds, recording, latencies) = try evacuate(to: side, expected: evacuations.last ?? 10_000)
                evacuations.append(milliseconds)
                during += latencies
                isVoid = isVoid || recording.testerDrops > 0 || recording.clockStepped
                for frame in recording.transmitted.indices where recording.transmitted[frame] != 0 {
                    sent += 1
                    let copies = recording.received.count { $0[frame] != 0 }
                    if copies == 0 { lost += 1 }
                    if copies > 1 { duplicated += 1 }
                }
                duplicated += recording.repeats.reduce(0, +)
            }
        }
        return ScaleOutcome(
            guests: options.guests, entries: options.guests * options.addresses, bridges: bridges,
            evacuationMs: evacuations, entriesAloneMs: Figure.quantile(0.5, of: alone), frames: sent, lost: lost,
            duplicated: duplicated,
            isVoid: isVoid,
            latencies: [
                .init("prepare of one guest more", preparations), .init("whole, at rest", atRest),
                .init("whole, during an evacuation", during),
                .init("one message, at rest", probed.atRest),
                .init("one message, while all entries are moved by 64 a send", probed.during),
            ])
    }

    // MARK: - The host

    /// Makes bridges, ports and guests; returns the number of bridges.
    private func makeGuests() throws -> Int {
        let bridges = (options.guests + ScaleRun.guestsOfBridge - 1) / ScaleRun.guestsOfBridge
        for bridge in 0..<bridges {
            try Command.script("ip link add many\(bridge) type bridge\nip link set many\(bridge) up")
        }
        let batch = state + "/batch"
        defer { unlink(batch) }
        var lines = ""
        for guest in 0..<options.guests {
            let bridge = "many\(guest / ScaleRun.guestsOfBridge)"
            let (primary, standby) = ScaleRun.ports(guest)
            lines += "link add \(primary) type veth peer name \(standby)\n"
            for port in [primary, standby] {
                lines += "link set \(port) addrgenmode none\nlink set \(port) master \(bridge)\n"
                // Both ends are in the same bridge, so nothing may be flooded from one into the other.
                lines += "link set \(port) type bridge_slave flood off mcast_flood off bcast_flood off learning off\n"
                lines += "link set \(port) up\n"
            }
        }
        try TextFile.write(lines, to: batch)
        try Command.script("ip -batch \(batch)")
        try waitForPorts(2 * options.guests)
        for guest in 0..<options.guests {
            let (primary, standby) = ScaleRun.ports(guest)
            try prepare(
                "g\(guest)", "many\(guest / ScaleRun.guestsOfBridge)", primary, standby, addresses(guest))
        }
        return bridges
    }

    private static func ports(_ guest: Int) -> (String, String) { ("p\(guest)", "s\(guest)") }

    private func addresses(_ guest: Int) throws -> [Address] {
        try (0..<options.addresses).map {
            try Address(mac: MACAddress(value: 0x02fd_0100_0000 + UInt64(guest * options.addresses + $0)))
        }
    }

    private func prepare(
        _ id: String, _ bridge: String, _ primary: String, _ standby: String, _ addresses: [Address]
    ) throws {
        let request = try PreparationRequest(
            id: GuestID(id), bridge: bridge, primary: primary, standby: standby, uplink: nil, addresses: addresses,
            side: .primary)
        let report = try Prepare(request).run(on: &host)
        guard report.outcome == .done else { throw LabError("prepare of \(id): \(report.failures)") }
    }

    /// The guest that does not move, and the one that is switched during the evacuation.
    ///
    /// - Returns: how long the second takes to be prepared, in nanoseconds, again and again.
    private func prepareOthers() throws -> [Int64] {
        try lab.setFlooding(false)
        try prepare("untouched", lab.bridge, lab.primary, lab.standby, [Address(lab.guestMAC)])
        let own = try (0..<8).map { try Address(mac: MACAddress(value: 0x02fd_0200_0000 + UInt64($0))) }
        var durations: [Int64] = []
        for number in 0..<50 {
            if number > 0 { _ = try Release().run(GuestID("late"), on: &host) }
            let begin = monotonicNanoseconds()
            try prepare("late", lab.bridge, "late0", "late1", own)
            durations.append(monotonicNanoseconds() - begin)
        }
        return durations
    }

    private func waitForPorts(_ count: Int) throws {
        for _ in 0..<600 {
            let shown = try Command.run(["bridge", "link", "show"]).output.split(separator: "\n")
            let ready = shown.count { $0.contains("master many") && $0.contains("state forwarding") }
            if ready == count { return }
            usleep(100_000)
        }
        throw LabError("the ports did not come up within a minute")
    }

    // MARK: - Evacuation

    /// Moves every guest, with frames to the unmoved guest and switches of the late one at the same time.
    private func evacuate(to side: Side, expected: Double) throws -> (Double, Recording, [Int64]) {
        let seconds = min(60, max(2, expected / 1000 * 2 + 1))
        var burst = Burst(
            source: BridgeLab.far(lab.uplink), paths: [lab.primary, lab.standby].map(BridgeLab.far),
            destinationMAC: Interface.octets(lab.guestMAC), sourceMAC: Interface.octets(lab.peerMAC),
            rate: options.rate, framesBetweenMoves: Int(seconds * Double(options.rate)) / 2, moves: 1, isPaced: true)
        burst.isRealTime = true
        let latecomer = Latecomer(state)
        var milliseconds = 0.0
        let (recording, moves) = try burst.run { _ in
            let stop = StopFlag()
            // Only while the others move.
            let thread = try Namespace.thread { latecomer.runQuietly(until: stop) }
            defer {
                stop.set()
                thread.join()
            }
            let begin = monotonicNanoseconds()
            for guest in 0..<self.options.guests {
                let report = try Switch(to: side).run(GuestID("g\(guest)"), on: &self.host)
                guard report.outcome == .done else { throw LabError("g\(guest): \(report.failures)") }
            }
            milliseconds = Double(monotonicNanoseconds() - begin) / 1e6
            return Change(destination: nil)
        }
        guard !moves.isEmpty else { throw LabError("the frames ended before the evacuation began") }
        return (milliseconds, recording, try latecomer.latencies.get())
    }

    /// Sends only the messages, and measures how long a single message of another socket waits for them.
    private func moveEntriesAlone() throws -> ([Double], (atRest: [Int64], during: [Int64])) {
        let all = try (0..<options.guests).map { guest -> ([Address], Int32, Int32) in
            let (primary, standby) = ScaleRun.ports(guest)
            guard let one = try Interface.index(of: primary), let other = try Interface.index(of: standby) else {
                throw LabError("guest \(guest) has no ports")
            }
            return (try addresses(guest), one, other)
        }
        guard let port = try Interface.index(of: "late0") else { throw LabError("there is no late0") }
        let probe = Probe(try Address(mac: MACAddress(value: 0x02fd_0300_0000)), port: port)
        let atRest = try probe.run(until: nil, count: 2000)
        let stop = StopFlag()
        let background = ProbeResult()
        let thread = try Namespace.thread { background.latencies = Result { try probe.run(until: stop, count: .max) } }
        var times: [Double] = []
        let result = Result {
            var socket = try CommandSocket()
            let start = monotonicNanoseconds()
            var round = 0
            // Long enough for the other thread to get its turns.
            while round < 10 || monotonicNanoseconds() - start < 300_000_000 {
                defer { round += 1 }
                let changes = all.flatMap { addresses, primary, standby in
                    addresses.map { EntryChange($0, .replace, port: round % 2 == 0 ? standby : primary) }
                }
                let begin = monotonicNanoseconds()
                let failure = Transaction(changes).run(on: &socket).compactMap { $0 }.first
                times.append(Double(monotonicNanoseconds() - begin) / 1e6)
                if let failure { throw failure }
            }
        }
        stop.set()
        thread.join()
        try result.get()
        return (times, (atRest, try background.latencies.get()))
    }
}

/// A guest that is switched while others are switched; on its own thread.
private final class Latecomer: @unchecked Sendable {
    private let state: String
    /// Read after the thread was joined.
    var latencies: Result<[Int64], any Error> = .success([])

    init(_ state: String) { self.state = state }

    func runQuietly(until stop: StopFlag) { latencies = Result { try run(until: stop, count: .max) } }

    /// The durations of whole switches in nanoseconds, from the call to the answer.
    func run(until stop: StopFlag?, count: Int) throws -> [Int64] {
        var host = try Host(folder: StateFolder(state))
        var result: [Int64] = []
        let id = try GuestID("late")
        while result.count < count, stop?.isSet != true {
            let begin = monotonicNanoseconds()
            let report = try Switch(to: result.count % 2 == 0 ? .standby : .primary).run(id, on: &host)
            result.append(monotonicNanoseconds() - begin)
            guard report.outcome == .done || report.outcome == .already else {
                throw LabError("late: \(report.failures)")
            }
            usleep(2000)
        }
        return result
    }
}

/// Sends one message repeatedly: its duration is the time for which others hold RTNL, plus the message itself.
private struct Probe: Sendable {
    private let address: Address
    private let port: Int32

    init(_ address: Address, port: Int32) {
        self.address = address
        self.port = port
    }

    func run(until stop: StopFlag?, count: Int) throws -> [Int64] {
        var socket = try CommandSocket()
        let transaction = Transaction([EntryChange(address, .replace, port: port)])
        var result: [Int64] = []
        while result.count < count, stop?.isSet != true {
            let begin = monotonicNanoseconds()
            if let error = transaction.run(on: &socket)[0] { throw error }
            result.append(monotonicNanoseconds() - begin)
            usleep(100)
        }
        return result
    }
}

private final class ProbeResult: @unchecked Sendable {
    /// Written by one thread, read after it was joined.
    var latencies: Result<[Int64], any Error> = .success([])
}
