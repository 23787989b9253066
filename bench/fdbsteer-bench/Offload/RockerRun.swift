import Controller
import FDB
import Glibc
import Lab
import LossMeter
import Netlink
import Policy
import Records

/// Redirections under traffic on rocker, QEMU's switch ASIC, in the lab VM: frames cross the ASIC, and its flow table is
/// read over QMP.
final class RockerRun {
    /// A way to redirect.
    enum Method: String, CaseIterable {
        case fdbsteer
        case replace = "bridge fdb replace"
        case deleteAdd = "bridge fdb del; add"
    }

    /// The place of the standby.
    enum Standby: String, CaseIterable {
        case asic = "ASIC port"
        case software = "software port"

        var port: String { self == .asic ? "sw1p3" : "soft0" }
        var far: String { self == .asic ? "wire3" : "soft0-far" }
    }

    /// The results of one method with one standby.
    struct Result {
        let method: Method
        let standby: Standby
        let rate: Int
        let redirections: Int
        let voids: Int
        let lost: [Int]
        let duplicated: Int
        /// Frames sent some time after a redirection that did not reach the intended port.
        let misdirected: Int
        /// Frames for the guest at a port that is neither of its two.
        let thirdPort: Int
        /// Stale flows of the guest in the ASIC, on the standby and back on the primary.
        let staleFlows: Int
        /// The time from the call to the first frame on the standby.
        let firstFrame: [Int64]
        let proof: [Int64]
        /// Frames that reached the CPU on the uplink's port while the guest was at rest on the primary.
        let cpuFramesAtRest: Int
    }

    private static let mac = "52:54:00:fd:b5:02"
    private static let peerMAC = "52:54:00:fd:b5:fe"
    private static let uplink = "sw1p1"
    private static let primary = "sw1p2"
    private static let third = "sw1p4"
    private static let bridgeName = "br1"
    /// The largest delay of the sender, in nanoseconds: much less than the time between two redirections.
    private static let greatestLag: Int64 = 50_000_000
    private let qemu: QEMUSession
    private let address: Address
    private let guest: GuestID
    private var host: Host
    private var socket: CommandSocket

    /// Makes the bridge on the four ports of the lab VM's switch.
    ///
    /// - Parameter state: the folder for the journal.
    init(state: String) throws {
        qemu = try QEMUSession(device: QEMUSession.labPort)
        host = try Host(folder: StateFolder(state))
        socket = try CommandSocket()
        address = try Address(RockerRun.mac)
        guest = try GuestID("guest")
        try Command.script(
            """
            ip link add \(RockerRun.bridgeName) type bridge vlan_default_pvid 0
            ip link set \(RockerRun.bridgeName) up
            ip link add soft0 type veth peer name soft0-far
            """)
        for port in [RockerRun.uplink, RockerRun.primary, "sw1p3", RockerRun.third, "soft0"] {
            let far = port == "soft0" ? "soft0-far" : "wire" + port.suffix(1)
            try Command.script(
                """
                ip link set \(port) addrgenmode none
                ip link set \(far) addrgenmode none
                ip link set \(port) master \(RockerRun.bridgeName) up
                ip link set \(far) up promisc on
                """)
        }
        for port in [RockerRun.uplink, RockerRun.primary, "sw1p3", RockerRun.third, "soft0"] {
            try OffloadMatrix.wait("\(port) to forward") {
                try Command.run(["bridge", "link", "show", "dev", port]).output.contains("forwarding")
            }
        }
        // The sender has an entry, so only the frames under test are flooded.
        try Command.script(
            "bridge fdb replace \(RockerRun.peerMAC) dev \(RockerRun.uplink) master static")
    }

    func remove() throws {
        try Command.script("ip link del soft0\nip link del \(RockerRun.bridgeName)")
    }

    /// The highest of a few rates at which nothing is lost while nothing is changed, on the primary and on the standby, and
    /// at which the sender keeps up.
    func highestRate(_ standby: Standby) throws -> Int {
        try begin(.fdbsteer, standby)
        defer { try? end() }
        var last = ""
        for rate in [5000, 3000, 2000, 1000, 500, 250] {
            var clean = 0
            for onStandby in [true, false] {
                _ = try move(.fdbsteer, standby, toStandby: onStandby)
                let (recording, _) = try burst(standby, rate: rate, moves: 0, framesBetween: 2 * rate)
                let path = recording.received[onStandby ? 1 : 0]
                let lost = recording.transmitted.indices.count { recording.transmitted[$0] != 0 && path[$0] == 0 }
                let lag = recording.transmitted.indices.map { recording.transmitted[$0] - recording.due[$0] }.max() ?? 0
                if lost == 0, recording.testerDrops == 0, lag < RockerRun.greatestLag { clean += 1 }
                last = "\(lost) lost, \(recording.testerDrops) dropped by the tester, \(lag / 1_000_000) ms behind"
            }
            if clean == 2 { return rate }
        }
        throw LabError("even at 250 frames a second the emulated switch or the sender does not keep up: \(last)")
    }

    /// Redirects to the standby and back under traffic.
    func run(_ method: Method, _ standby: Standby, rate: Int, redirections: Int) throws -> Result {
        try begin(method, standby)
        defer { try? end() }
        let before = receivedByCPU()
        _ = try burst(standby, rate: rate, moves: 0, framesBetween: rate)
        let cpuFrames = receivedByCPU() - before
        var onStandby = false
        var proofs: [Int64] = []
        let (recording, moves) = try burst(
            standby, rate: rate, moves: redirections, framesBetween: rate * 3 / 10
        ) { _ in
            onStandby.toggle()
            if let report = try move(method, standby, toStandby: onStandby) {
                proofs.append(report.timings.proofNanoseconds)
            }
            return Change(destination: onStandby ? 1 : 0)
        }
        // The third port is not a path of the guest: frames that arrive there have leaked.
        var own = recording
        own.received = Array(recording.received.prefix(2))
        let (results, _) = Analysis(bound: .max).results(own, moves: moves)
        let misdirected = RockerRun.misdirected(own, moves)
        let firstFrames = moves.filter { $0.change.destination == 1 }.compactMap { move in
            recording.received[1].lazy.filter { $0 >= move.begin }.min().map { $0 - move.begin }
        }
        if onStandby { _ = try move(method, standby, toStandby: false) }
        var stale = 0
        for side in [true, false] {
            _ = try move(method, standby, toStandby: side)
            // Wait for the driver's work queue.
            usleep(200_000)
            let expected: Set<Int> = side ? (standby == .asic ? [3] : []) : [2]
            stale += try qemu.bridgingFlows(switch: "sw1", mac: RockerRun.mac).count { !expected.contains($0.port) }
        }
        let valid = results.filter { !$0.isVoid }
        return Result(
            method: method, standby: standby, rate: rate, redirections: moves.count, voids: results.count - valid.count,
            lost: valid.map(\.lost), duplicated: valid.reduce(0) { $0 + $1.duplicated }, misdirected: misdirected,
            thirdPort: recording.received[2].count { $0 != 0 }, staleFlows: stale, firstFrame: firstFrames,
            proof: proofs, cpuFramesAtRest: cpuFrames)
    }

    /// Counts frames that did not reach the right port, from some time after each move until the next.
    private static func misdirected(_ recording: Recording, _ moves: [Move]) -> Int {
        var count = 0
        for (index, move) in moves.enumerated() {
            guard let path = move.change.destination else { continue }
            let from = move.end + 50_000_000
            let to = index + 1 < moves.count ? moves[index + 1].begin : Int64.max
            count += recording.transmitted.indices.count {
                recording.transmitted[$0] >= from && recording.transmitted[$0] < to && recording.received[path][$0] == 0
            }
        }
        return count
    }

    // MARK: - Steps

    private func begin(_ method: Method, _ standby: Standby) throws {
        if method == .fdbsteer {
            let report = try Prepare(
                PreparationRequest(
                    id: guest, bridge: RockerRun.bridgeName, primary: RockerRun.primary, standby: standby.port,
                    uplink: RockerRun.uplink, addresses: [address], side: .primary, allowsLeak: true)
            ).run(on: &host)
            guard report.exitCode == 0 else { throw LabError("prepare: \(report.failures)") }
        } else {
            try Command.script(
                """
                bridge link set dev \(RockerRun.primary) learning off
                bridge link set dev \(standby.port) learning off
                bridge fdb replace \(RockerRun.mac) dev \(RockerRun.primary) master static
                """)
            usleep(200_000)
        }
    }

    private func end() throws {
        _ = try? Release().run(guest, on: &host)
        for standby in Standby.allCases { try Command.script("bridge link set dev \(standby.port) learning on") }
        try Command.script("bridge link set dev \(RockerRun.primary) learning on")
        let index = try Interface.index(of: RockerRun.bridgeName) ?? 0
        if let entry = try Table.read([address], bridge: index, using: &socket)[0] {
            try socket.perform(EntryRequest.delete(address, port: entry.port))
        }
        // Remove flows that a method left behind. The port is part of rocker's key, so each port is added to and deleted from.
        for port in [RockerRun.primary, "sw1p3"] {
            try Command.script(
                """
                bridge fdb replace \(RockerRun.mac) dev \(port) master static
                bridge fdb del \(RockerRun.mac) dev \(port) master
                """)
        }
        try OffloadMatrix.wait("the switch to forget the guest") {
            try qemu.bridgingFlows(switch: "sw1", mac: RockerRun.mac).isEmpty
        }
    }

    private func move(_ method: Method, _ standby: Standby, toStandby: Bool) throws -> Report? {
        let names = toStandby ? (RockerRun.primary, standby.port) : (standby.port, RockerRun.primary)
        let command: [String]
        switch method {
        case .fdbsteer:
            let report = try Switch(to: toStandby ? .standby : .primary).run(guest, on: &host)
            guard report.exitCode == 0 else { throw LabError("switch: \(report.failures)") }
            return report
        case .replace: command = ["bridge", "fdb", "replace", RockerRun.mac, "dev", names.1, "master", "static"]
        case .deleteAdd:
            command = [
                "sh", "-c",
                "bridge fdb del \(RockerRun.mac) dev \(names.0) master; "
                    + "bridge fdb add \(RockerRun.mac) dev \(names.1) master static",
            ]
        }
        let ended = try Command.run(command)
        guard ended.exitCode == 0 else { throw LabError("\(command.joined(separator: " ")): \(ended.errors)") }
        return nil
    }

    private func burst(
        _ standby: Standby, rate: Int, moves: Int, framesBetween: Int,
        perform: (Int) throws -> Change = { _ in Change(destination: nil) }
    ) throws -> (Recording, [Move]) {
        let burst = Burst(
            source: "wire1", paths: ["wire2", standby.far, "wire4"], destinationMAC: Interface.octets(RockerRun.mac),
            sourceMAC: Interface.octets(RockerRun.peerMAC), rate: rate, framesBetweenMoves: framesBetween, moves: moves,
            isPaced: true)
        return try burst.run(perform: perform)
    }

    /// Frames that the switch passed to the CPU on the uplink's port.
    private func receivedByCPU() -> Int {
        let output = TextFile.read("/sys/class/net/\(RockerRun.uplink)/statistics/rx_packets")
        return Int(output.prefix { $0 != "\n" }) ?? 0
    }
}
