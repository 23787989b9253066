import Glibc
import Lab
import Testing

let obstacle = Namespace.obstacle

/// The built binary in a namespace with a bridge, with its own state folder.
struct CommandLineLab: Sendable {
    let lab: BridgeLab
    let state: String
    static let mac = "52:54:00:00:00:01"

    /// The folder of the built products: the release binaries from `scripts/test`, or the tests' own build.
    static let products: String = {
        if let path = getenv("FDBSTEER_BIN") { return String(cString: path) }
        // The test bundle is in the same folder as the executables.
        let bundle =
            CommandLine.arguments.compactMap { $0.hasSuffix(".xctest") ? $0 : nil }.first ?? CommandLine.arguments[0]
        return bundle.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    }()

    static var binary: String { products + "/fdbsteer" }

    /// Runs `body` in a fresh namespace with the lab's bridge, and removes the state folder afterwards.
    static func run(flooding: Bool = true, _ body: @escaping @Sendable (CommandLineLab) throws -> Void) throws {
        try Namespace.run {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let lab = CommandLineLab(lab: try BridgeLab(), state: folder.path)
            if !flooding { try lab.lab.setFlooding(false) }
            try body(lab)
        }
    }

    /// Runs `fdbsteer`.
    func fdbsteer(_ arguments: String, environment: [String: String] = [:]) throws -> Command {
        var environment = environment
        environment["FDBSTEER_STATE"] = environment["FDBSTEER_STATE"] ?? state
        return try Command.run(
            [CommandLineLab.binary] + arguments.split(separator: " ").map(String.init), environment: environment)
    }

    /// Prepares `vm1` on the primary.
    @discardableResult
    func prepare(_ extra: String = "") throws -> Command {
        let command = try fdbsteer(
            "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 "
                + "--address \(CommandLineLab.mac) --at primary \(extra)")
        #expect(command.exitCode == 0, "\(command.errors)")
        return command
    }

    /// The bridge's static and dynamic entries and its ports' flags: a failed verb must not change these. Debian 13's
    /// iproute2 shows the number of a port's groups among its flags, which changes by itself.
    func table() throws -> String {
        let entries = try Command.run(["bridge", "fdb", "show", "br", "br0"]).output
        let unicast = entries.split(separator: "\n").filter { !$0.contains("self") && !$0.contains("33:33") }.sorted()
        let ports = try Command.run(["bridge", "-d", "link", "show"]).output
        let guards = try Command.run(["nft", "list", "chains", "bridge"]).output
        return guards + unicast.joined(separator: "\n") + ports.replacing(/\smcast_n_groups \d+/, with: "")
    }

    /// The groups of the bridge's ports, without the host's own, which come and go with its IPv6 addresses.
    func portGroups() throws -> [String] {
        try Command.run(["bridge", "mdb", "show", "dev", "br0"]).output.split(separator: "\n").filter {
            !$0.contains("port br0 ")
        }.map(String.init).sorted()
    }

    /// Runs `fdbsteer`, and expects that it fails with this message and changes nothing.
    func refused(_ arguments: String, code: Int32, saying words: String...) throws {
        let before = try table()
        let command = try fdbsteer(arguments)
        #expect(command.exitCode == code, "\(arguments): \(command.output)\(command.errors)")
        for word in words {
            #expect(command.errors.contains(word), "\(arguments) says: \(command.errors)")
        }
        #expect(try table() == before, "\(arguments) changed something")
        let json = try fdbsteer(arguments + " --json")
        #expect(json.exitCode == code)
        #expect(json.output.contains("\"exit_code\" : \(code)"), "\(arguments): \(json.output)")
    }
}
