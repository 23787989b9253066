import Glibc
import Lab
import Testing

/// The tests of this target run only in the lab VM, which sets this variable.
let isLabVM = getenv("FDBSTEER_LAB_VM") != nil

/// The model eswitch with a bridge, a software port and the built binary, on the lab VM itself.
struct ModelLab {
    static let mac = "52:54:00:00:00:01"
    static let debugTable = "/sys/kernel/debug/mlx5/model_eswitch/esw/bridge/br0/fdb"
    private static let parameters = "/sys/module/model_eswitch/parameters/"
    let state: String

    /// Loads the module, makes the bridge, runs `body`, and removes everything again.
    static func run(bridge options: String = "vlan_default_pvid 0", _ body: (ModelLab) throws -> Void) throws {
        let folder = try TemporaryFolder()
        let lab = ModelLab(state: folder.path)
        defer {
            folder.remove()
            _ = try? Command.run(["ip", "link", "del", "tap0"])
            _ = try? Command.run(["ip", "link", "del", "br0"])
            _ = try? Command.run(["rmmod", "model_eswitch"])
        }
        try Command.script(
            """
            busybox sysctl -qw net.ipv6.conf.default.disable_ipv6=1
            modprobe model_eswitch
            ip link add br0 type bridge \(options)
            ip link set br0 up
            ip link add tap0 type veth peer name tap0-far
            """)
        for port in ["mes_p0", "mes_vf0", "mes_vf1", "tap0"] {
            try Command.script("ip link set \(port) master br0 up\nip link set \(far(port)) up")
        }
        for port in ["mes_p0", "mes_vf0", "mes_vf1", "tap0"] {
            try lab.wait("\(port) to forward") {
                try Command.run(["bridge", "link", "show", "dev", port]).output.contains("state forwarding")
            }
        }
        try body(lab)
    }

    /// The other end of a port.
    static func far(_ port: String) -> String {
        port.hasPrefix("mes_") ? "far_" + port.dropFirst(4) : port + "-far"
    }

    /// Runs `fdbsteer`, or another of the built programs.
    func fdbsteer(_ arguments: String, program: String = "fdbsteer") throws -> Command {
        let folder = getenv("FDBSTEER_BIN").map { String(cString: $0) } ?? "."
        return try Command.run(
            ["\(folder)/\(program)"] + arguments.split(separator: " ").map(String.init),
            environment: ["FDBSTEER_STATE": state])
    }

    /// Runs `fdbsteer`, and expects an exit code.
    @discardableResult
    func expect(_ code: Int32, _ arguments: String, saying words: String...) throws -> Command {
        let command = try fdbsteer(arguments)
        #expect(command.exitCode == code, "\(arguments): \(command.output)\(command.errors)")
        for word in words {
            #expect(
                (command.output + command.errors).contains(word), "\(arguments): \(command.output)\(command.errors)")
        }
        return command
    }

    /// Prepares `vm1` on the primary `mes_vf0` with the standby `tap0`.
    func prepare(_ addresses: String = "--address \(ModelLab.mac)", _ extra: String = "") throws {
        try expect(
            0,
            "prepare vm1 --bridge br0 --primary mes_vf0 --standby tap0 --uplink mes_p0 --at primary \(addresses) \(extra)",
            saying: "proven")
    }

    /// Sends a frame from the far end of a port.
    func sendFrame(behind port: String, source: String = ModelLab.mac) throws {
        try Interface.sendFrame(from: ModelLab.far(port), source: source, to: port)
    }

    /// The model's own table: one text `MAC/VLAN@PORT` for each entry of a MAC.
    func hardware(_ mac: String = ModelLab.mac) throws -> [String] {
        TextFile.read(ModelLab.debugTable).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            return words.count > 2 && words[1] == mac ? "\(words[1])/\(words[2])@\(words[0])" : nil
        }.sorted()
    }

    /// The bridge's entries of a MAC, as `bridge fdb show` prints them.
    func entries(_ mac: String = ModelLab.mac) throws -> [String] {
        try Command.run(["bridge", "fdb", "show", "br", "br0"]).output.split(separator: "\n").filter {
            $0.hasPrefix(mac)
        }.map(String.init)
    }

    /// Sets a parameter of the model.
    func model(_ name: String, _ value: String) throws {
        try TextFile.write(value, to: ModelLab.parameters + name)
    }

    /// Waits up to 5 s for a condition.
    func wait(_ what: String, until condition: () throws -> Bool) throws {
        for _ in 0..<500 {
            if try condition() { return }
            usleep(10_000)
        }
        throw LabError("waited in vain for \(what)")
    }
}
