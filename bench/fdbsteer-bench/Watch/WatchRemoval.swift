import Controller
import FDB
import Glibc
import Lab
import LossMeter
import Netlink
import Policy
import Records

/// The primary port is removed under traffic: measures how many frames are lost until the standby gets them.
struct WatchRemoval {
    /// One line of the result.
    struct Row: Encodable, Sendable {
        /// The program that watches the guest.
        let method: String
        /// The way in which the port is lost.
        let loss: String
        let removals: Int
        let void: Int
        let framesPerSecond: Int
        let lostMin: Int
        let lostMedian: Int
        let lostP90: Int
        let lostMax: Int
        let windowUs: WatchSpread
        /// Removals after which no frame of the burst reached the standby.
        let neverReachedStandby: Int
    }

    private enum Keeper: String, CaseIterable {
        case fdbsteerd
        case shell = "bridge monitor | sh"
        case nobody
    }

    private enum Loss: String, CaseIterable {
        case nomaster, delete

        func command(_ port: String) -> String {
            self == .nomaster ? "ip link set \(port) nomaster" : "ip link del \(port)"
        }
    }

    private struct Series: Hashable {
        let keeper: Keeper
        let loss: Loss
    }

    private struct Collection {
        var lost: [Int] = []
        var windows: [Int64] = []
        var void = 0
        var unreached = 0
    }

    /// The number of removals by `nomaster` with fdbsteerd; the other series have fewer.
    let removals: Int
    /// The number of removals in each other series.
    let otherRemovals: Int
    /// Frames a second.
    let rate: Int

    /// The time for frames before the removal and after it, in seconds.
    private static let share = 0.03
    private static let rounds = 4
    private static let pauseMicroseconds: UInt32 = 120_000

    /// Measures in its own namespace and adds to the report.
    func run(folder: String, into report: inout WatchReport) throws {
        let lab = try RemovalLab(folder: folder)
        var collections: [Series: Collection] = [:]
        let rounds = min(Self.rounds, otherRemovals)
        // The methods alternate, so a busy spell of the machine affects all of them.
        for round in 0..<rounds {
            for keeper in Keeper.allCases {
                let stop = try start(keeper, lab, folder)
                defer { stop() }
                for loss in Loss.allCases {
                    let all = keeper == .fdbsteerd && loss == .nomaster ? removals : otherRemovals
                    for _ in (all * round / rounds)..<(all * (round + 1) / rounds) {
                        try remove(
                            by: loss, lab, keeper,
                            into: &collections[Series(keeper: keeper, loss: loss), default: .init()])
                    }
                }
            }
        }
        for keeper in Keeper.allCases {
            for loss in Loss.allCases {
                let collection = collections[Series(keeper: keeper, loss: loss)] ?? Collection()
                report.removal.append(row(keeper, loss, collection))
                if keeper == .fdbsteerd, collection.unreached > 0 {
                    report.complaints.append(
                        "primary removed (\(loss.rawValue)): the standby got nothing \(collection.unreached) times")
                }
            }
        }
        report.complaints += lab.complaints
    }

    private func row(_ keeper: Keeper, _ loss: Loss, _ collection: Collection) -> Row {
        let lost = collection.lost.sorted()
        func at(_ share: Double) -> Int {
            lost.isEmpty ? 0 : lost[min(lost.count - 1, Int(Double(lost.count) * share))]
        }
        return Row(
            method: keeper.rawValue, loss: loss.rawValue, removals: lost.count, void: collection.void,
            framesPerSecond: rate, lostMin: at(0), lostMedian: at(0.5), lostP90: at(0.9), lostMax: at(1),
            windowUs: WatchSpread(collection.windows), neverReachedStandby: collection.unreached)
    }

    /// - Returns: a function that stops it.
    private func start(_ keeper: Keeper, _ lab: RemovalLab, _ folder: String) throws -> () -> Void {
        switch keeper {
        case .nobody: return {}
        case .fdbsteerd:
            let daemon = try WatchedDaemon(folder: folder, configuration: WatchDrift.configuration)
            return { daemon.stop() }
        case .shell:
            let loop = try ShellKeeper(lab.bridge)
            return { loop.stop() }
        }
    }

    private func remove(by loss: Loss, _ lab: RemovalLab, _ keeper: Keeper, into collection: inout Collection) throws {
        try lab.reset()
        usleep(Self.pauseMicroseconds)
        let bench = lab.bridge
        let burst = Burst(
            source: BridgeLab.far(bench.uplink), paths: [bench.primary, bench.standby].map(BridgeLab.far),
            destinationMAC: Interface.octets(bench.guestMAC), sourceMAC: Interface.octets(bench.peerMAC), rate: rate,
            framesBetweenMoves: Int(Double(rate) * Self.share), moves: 1)
        let words = loss.command(bench.primary).split(separator: " ").map(String.init)
        let (recording, moves) = try burst.run { _ in
            let command = try Command.run(words)
            guard command.exitCode == 0 else { throw LabError("\(words): \(command.errors)") }
            return Change(destination: 1)
        }
        guard moves.count == 1, let result = Analysis(bound: 1_000_000).results(recording, moves: moves).0.first,
            !result.isVoid
        else {
            collection.void += 1
            return
        }
        collection.lost.append(result.lost)
        if recording.received[1].contains(where: { $0 != 0 }) {
            collection.windows.append(result.window)
        } else {
            collection.unreached += 1
        }
        if keeper == .fdbsteerd { try lab.expectStandby() }
    }
}

/// A bridge with one prepared guest whose primary comes and goes.
private final class RemovalLab {
    let bridge: BridgeLab
    private var host: Host
    private var socket: CommandSocket
    private let guest: GuestID
    private let address: Address
    private(set) var complaints: [String] = []

    init(folder: String) throws {
        bridge = try BridgeLab()
        try bridge.setFlooding(false)
        host = try Host(folder: StateFolder(folder))
        socket = try CommandSocket()
        guest = try GuestID("guest")
        address = try Address(bridge.guestMAC)
    }

    /// Restores the primary, and moves the guest to it.
    func reset() throws {
        if try !Status.read(nil, on: &host).isEmpty {
            try check(Release().run(guest, on: &host))
        }
        if try Interface.index(of: bridge.primary) == nil {
            try bridge.addPort(bridge.primary)
        } else {
            try Command.script("ip link set \(bridge.primary) master \(bridge.bridge)")
        }
        try bridge.setFlooding(false)
        let request = try PreparationRequest(
            id: guest, bridge: bridge.bridge, primary: bridge.primary, standby: bridge.standby, uplink: bridge.uplink,
            addresses: [address], side: .primary)
        try check(Prepare(request).run(on: &host))
    }

    /// Waits until the daemon has moved the guest to its standby, and recorded that.
    func expectStandby() throws {
        for _ in 0..<2000 {
            if let status = try Status.read(nil, on: &host).first, status.side == .standby, status.phase == "pinned" {
                return
            }
            usleep(1000)
        }
        complaints.append("the journal does not say that the guest came to its standby")
    }

    private func check(_ report: Report) throws {
        guard report.outcome == .done || report.outcome == .already else {
            throw LabError("\(report.verb.rawValue): \(report.outcome.rawValue) \(report.failures) \(report.notes)")
        }
    }
}

/// An operator's script in place of fdbsteerd: a shell that reads `bridge monitor` and calls `bridge fdb replace`.
private final class ShellKeeper {
    private var running: RunningCommand?
    private let process: pid_t

    init(_ lab: BridgeLab) throws {
        let script = """
            setpriv --pdeathsig KILL bridge monitor fdb | while read -r line; do
                case $line in
                "Deleted \(lab.guestMAC) dev \(lab.primary) "*)
                    bridge fdb replace \(lab.guestMAC) dev \(lab.standby) master static ;;
                esac
            done
            """
        // Its own session, so that all of it is ended together.
        let running = try RunningCommand(["setsid", "setpriv", "--pdeathsig", "KILL", "sh", "-c", script])
        process = running.process
        self.running = consume running
        StartedProcesses.add(-process)
        usleep(300_000)
    }

    func stop() {
        guard let running = running.take() else { return }
        kill(-process, SIGKILL)
        _ = running.wait()
        StartedProcesses.remove(-process)
    }

    deinit { stop() }
}
