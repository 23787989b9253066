import Controller
import FDB
import Glibc
import Lab
import Policy
import Records

/// Redirections of a guest on the lab VM's NIC in legacy mode, under traffic from the wire.
///
/// The guest is a VF whose driver is always up, and a standby beside it: a frame is lost if neither receives it.
struct MACFilterRun {
    /// The way to move the guest.
    enum Method: String, CaseIterable {
        /// `fdbsteer switch`, one process for each redirection.
        case fdbsteer
        /// The commands of net_failover.rst, one process each.
        case kernelDocumentation = "kernel-documentation"
    }

    /// The results of a method.
    struct Result {
        let method: Method
        /// The lost frames of each redirection.
        var lost: [Int] = []
        var duplicated = 0
        var sent = 0
    }

    private static let mac = "52:54:00:00:00:01"
    private static let zero = "00:00:00:00:00:00"
    private let nic: SRIOVLab
    private let state: String
    private let rate: Int
    /// The pause after the commands, before the next redirection: longer than any frame is in flight.
    private static let settleMicroseconds: useconds_t = 40_000

    init(state: String, rate: Int) throws {
        nic = try SRIOVLab()
        self.state = state
        self.rate = rate
    }

    /// Probes the NIC.
    func probe() throws -> ProbeReport {
        var host = try Host(folder: StateFolder(state))
        let report = try Probe(
            ProbeRequest(pf: "nic0", vf: 0, address: Address("\(Self.mac)/100"), from: "peer0", sibling: 1)
        ).run(on: &host)
        guard report.exitCode == 0 else { throw LabError("the probe: \(report.failures.joined(separator: "; "))") }
        return report
    }

    /// Moves the guest to the standby and back.
    func redirect(_ method: Method, count: Int) throws -> Result {
        try nic.makeBridge()
        defer { nic.removeBridge() }
        try Command.script("ip link set nic0 vf 0 mac \(Self.mac)")
        let vf = try nic.bind(0)
        defer {
            try? nic.unbind(0)
            _ = try? Command.run(["ip", "link", "set", "nic0", "vf", "0", "mac", Self.zero])
        }
        try SRIOVLab.bringUp(vf)
        if method == .fdbsteer {
            try fdbsteer(
                "prepare vm1 --bridge br0 --standby tap0 --pf nic0 --vf 0 --address \(Self.mac) --at primary")
        }
        let stream = try SteadyFrames(
            from: "peer0", source: "02:fd:b5:01:00:01", to: Self.mac, places: ["tap0-far", vf], rate: rate)
        defer { stream.stop() }
        usleep(200_000)
        var ranges: [(begin: Int, end: Int)] = []
        for index in 0..<count {
            let begin = stream.position
            try move(method, toStandby: index % 2 == 0)
            usleep(Self.settleMicroseconds)
            ranges.append((begin, stream.position))
        }
        stream.stop()
        if count % 2 == 1 { try move(method, toStandby: false) }
        if method == .fdbsteer { try fdbsteer("release vm1") }
        var result = Result(method: method)
        for range in ranges {
            let counted = stream.count(from: range.begin, to: range.end)
            result.lost.append(counted.lost.count)
            result.duplicated += counted.duplicated
            result.sent += counted.sent
        }
        return result
    }

    private func move(_ method: Method, toStandby: Bool) throws {
        switch method {
        case .fdbsteer:
            try fdbsteer("switch vm1 --to \(toStandby ? "standby" : "primary")")
        case .kernelDocumentation where toStandby:
            try Command.script(
                """
                ip link set nic0 vf 0 mac \(Self.zero)
                bridge fdb add \(Self.mac) dev nic0
                bridge fdb add \(Self.mac) dev tap0 master
                """)
        case .kernelDocumentation:
            try Command.script(
                """
                bridge fdb del \(Self.mac) dev nic0
                bridge fdb del \(Self.mac) dev tap0 master
                ip link set nic0 vf 0 mac \(Self.mac)
                """)
        }
    }

    private func fdbsteer(_ arguments: String) throws {
        let command = try Command.run(
            [OwnProgram.folder + "/fdbsteer"] + arguments.split(separator: " ").map(String.init),
            environment: ["FDBSTEER_STATE": state])
        guard command.exitCode == 0 else { throw LabError("fdbsteer \(arguments): \(command.errors)") }
    }
}
