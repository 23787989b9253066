import Glibc
import Lab
import Testing

/// A command-line lab with a guest for which brackets are allowed, a third port, and counted frames.
struct BracketLab: Sendable {
    let lab: CommandLineLab
    static let ports = ["vfrep0", "tap0", "third0", "uplink0"]

    /// Runs `body` with a guest prepared on a side.
    static func run(
        at side: String = "primary", addresses: [String] = [CommandLineLab.mac],
        before: @escaping @Sendable () throws -> Void = {}, _ body: @escaping @Sendable (BracketLab) throws -> Void
    ) throws {
        try CommandLineLab.run { lab in
            try lab.lab.addPort("third0")
            try before()
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover "
                    + "--at \(side) " + addresses.map { "--address \($0)" }.joined(separator: " "))
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            try body(BracketLab(lab: lab))
        }
    }

    /// Runs `fdbsteer` and expects an exit code.
    @discardableResult
    func expect(_ arguments: String, exitCode: Int32 = 0) throws -> Command {
        let command = try lab.fdbsteer(arguments)
        #expect(command.exitCode == exitCode, "\(arguments): \(command.output)\(command.errors)")
        return command
    }

    /// Runs `fdbsteer` under strace with an injection.
    func traced(_ arguments: String, _ calls: String, _ injection: String) throws -> Command {
        try Command.run(
            [
                "strace", "-f", "-o", lab.state + "/trace", "-e", "trace=\(calls)", "-e",
                "inject=\(calls):\(injection)", CommandLineLab.binary,
            ] + arguments.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
    }

    /// Sends frames to the guest from behind a port, and counts the ports at which they come out.
    func send(
        _ count: Int = 20, to mac: String = CommandLineLab.mac, from port: String = "uplink0",
        during: (Int) throws -> Void = { _ in }
    ) throws -> [String: FrameTally.Counts] {
        let tally = try FrameTally(BracketLab.ports.map { BridgeLab.far($0) })
        let counts = try tally.send(
            count, from: BridgeLab.far(port), to: mac, source: "52:54:00:fd:b5:fe", during: during)
        return Dictionary(uniqueKeysWithValues: BracketLab.ports.map { ($0, counts[BridgeLab.far($0)] ?? [:]) })
    }

    /// Expects each frame to the guest once at each of these ports, and at no other port.
    func expectServed(_ ports: Set<String>, to mac: String = CommandLineLab.mac, _ words: String = "") throws {
        let counts = try send(to: mac)
        for port in BracketLab.ports where port != "uplink0" {
            #expect(counts[port] == (ports.contains(port) ? FrameTally.once(20) : [:]), "\(port) \(words)")
        }
    }

    /// The objects of traffic control and nftables on the standby.
    func leftovers() throws -> String {
        try Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output.split(separator: "\n").filter {
            !$0.contains("noqueue")
        }.joined() + Command.run(["nft", "list", "tables", "netdev"]).output
            + Command.run(["tc", "filter", "show", "dev", "tap0", "egress"]).output
    }

    /// Whether fdbsteer's copy exists.
    func hasCopy() throws -> Bool {
        let all = try leftovers()
        return all.contains("fdbsteer") || all.contains("bpf")
    }

    /// The phase in `status`.
    func phase() throws -> String {
        let status = try lab.fdbsteer("status vm1 --json").output
        return status.split(separator: "\"phase\" : \"").dropFirst().first?.split(separator: "\"").first.map(
            String.init)
            ?? "none"
    }
}
