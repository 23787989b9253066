import Glibc
import Lab
import Testing

extension CommandLineLab {
    static let stranger = "52:54:00:00:00:99"
    static let everybody = "ff:ff:ff:ff:ff:ff"
    static let arguments =
        "--bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(CommandLineLab.mac) --at primary"

    /// Runs preflight for `vm1` or for the lab's ports, and expects exactly these findings of severity blocks, loses and leaks;
    /// each is `CODE` or `SEVERITY CODE SUBJECT`.
    func preflight(_ arguments: String = CommandLineLab.arguments, finds expected: String..., also: String = "") throws
    {
        let before = try table()
        let command = try fdbsteer("preflight " + arguments)
        let lines = command.output.split(separator: "\n").map(String.init)
        func has(_ words: String) -> Bool { lines.contains { $0.hasPrefix("  \(words)") } }
        for words in expected { #expect(has(words), "\(words): \(command.output)\(command.errors)") }
        if !also.isEmpty { #expect(has(also), "\(also): \(command.output)") }
        let failures = lines.filter { line in ["  blocks ", "  loses ", "  leaks "].contains { line.hasPrefix($0) } }
        #expect(failures.count == expected.count, "\(command.output)")
        #expect(command.exitCode == (expected.isEmpty ? 0 : 3), "\(command.output)\(command.errors)")
        #expect(try table() == before, "preflight changed something")
        let json = try fdbsteer("preflight \(arguments) --json")
        #expect(json.exitCode == command.exitCode)
        #expect(json.output.contains("\"ok\" : \(expected.isEmpty)"))
    }

    /// Switches to a side and expects success.
    func moved(to side: String, saying words: String = "") throws {
        let command = try fdbsteer("switch vm1 --to \(side)")
        #expect(command.exitCode == 0, "\(command.output)\(command.errors)")
        if !words.isEmpty { #expect(command.output.contains(words), "\(command.output)") }
    }

    /// The ports at which a frame from the network to the guest comes out.
    func fromNetwork(to mac: String = CommandLineLab.mac, size: Int = 46) throws -> Set<String> {
        try FrameProbe(to: mac, from: lab.peerMAC, size: size).send(
            from: "uplink0-far", lookingAt: "vfrep0-far", "tap0-far")
    }

    /// Whether a frame that the guest sends through one of its ports reaches the network.
    func reachesNetwork(by port: String, source: String = CommandLineLab.mac, size: Int = 46) throws -> Bool {
        try !FrameProbe(to: CommandLineLab.everybody, from: source, size: size).send(
            from: port + "-far", lookingAt: "uplink0-far"
        ).isEmpty
    }

    func script(_ lines: String) throws { try Command.script(lines) }

    /// Waits until a port forwards.
    func forwards(_ port: String) throws -> Bool {
        for _ in 0..<1000 {
            if try Command.run(["bridge", "link", "show", "dev", port]).output.contains("state forwarding") {
                return true
            }
            usleep(10_000)
        }
        return false
    }
}
