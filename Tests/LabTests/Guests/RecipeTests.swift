import Glibc
import Lab
import Testing

/// What is shipped under `packaging/` for hosts that others manage, run as those call it.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct RecipeTests {
    /// A node of Proxmox VE: `vmbr0` with the NIC and the ports of guest 100, one of them behind a firewall bridge.
    private static func node(_ body: @escaping @Sendable (Node) throws -> Void) throws {
        try Namespace.run(ownMounts: true) {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            // sysfs shows the interfaces of the namespace in which it was mounted.
            try Command.script("mount -t sysfs sysfs /sys")
            try Command.script("ip link add vmbr0 type bridge\nip link set vmbr0 up")
            for port in ["tap100i0", "fwpr100p1", "tap200i0", "eno1"] {
                try Command.script(
                    """
                    ip link add \(port) type veth peer name \(port)-f
                    ip link set \(port) addrgenmode none
                    ip link set \(port)-f addrgenmode none
                    ip link set \(port) master vmbr0
                    ip link set \(port) up
                    ip link set \(port)-f up
                    """)
            }
            let configuration = """
                cores: 2
                hookscript: local:snippets/fdbsteer-hookscript
                net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0
                net1: virtio=BC:24:11:00:00:02,bridge=vmbr0,firewall=1,tag=12

                [before-upgrade]
                net2: virtio=BC:24:11:00:00:03,bridge=vmbr0
                """
            try TextFile.write(configuration, to: folder.path + "/100.conf")
            try body(Node(folder: folder.path))
        }
    }

    private struct Node: Sendable {
        let folder: String

        func call(_ phase: String, from node: String? = nil) throws -> Command {
            var environment = [
                "FDBSTEER": CommandLineLab.binary, "FDBSTEER_PVE_CONFIG": folder, "FDBSTEER_PVE_RUN": folder + "/run",
                "FDBSTEER_STATE": folder + "/state",
            ]
            environment["PVE_MIGRATED_FROM"] = node
            let script = Checkout.path + "/packaging/proxmox/fdbsteer-hookscript"
            let command = try Command.run([script, "100", phase], environment: environment)
            #expect(command.exitCode == 0 && command.output.isEmpty, "\(phase): \(command.output)\(command.errors)")
            return command
        }

        func status() throws -> String {
            try Command.run(
                [CommandLineLab.binary, "status"], environment: ["FDBSTEER_STATE": folder + "/state"]
            ).output
        }

        func entries(_ mac: String) throws -> String {
            try Command.run(["bridge", "fdb", "show", "br", "vmbr0"]).output.split(separator: "\n").filter {
                $0.hasPrefix(mac)
            }.joined(separator: "\n")
        }
    }

    @Test func aGuestOfProxmoxStartsMigratesAndStops() throws {
        try RecipeTests.node { node in
            _ = try node.call("pre-start")
            let started = try node.call("post-start")
            let status = try node.status()
            #expect(status.contains(/pve-100-net0 +ok +local .*tap100i0 +eno1/), "\(status)\(started.errors)")
            #expect(status.contains(/pve-100-net1 +ok +local .*fwpr100p1 +eno1/), "\(status)\(started.errors)")
            #expect(!status.contains("net2"), "a snapshot's")
            #expect(try node.entries("bc:24:11:00:00:01").contains("dev tap100i0 master vmbr0 static"))
            _ = try node.call("pre-stop")
            _ = try node.call("post-stop")
            #expect(try node.status().contains("no guest"))

            // From another node.
            _ = try node.call("pre-start", from: "pve2")
            _ = try node.call("post-start")
            #expect(try node.status().contains(/pve-100-net0 +ok +remote\b/))
            #expect(try node.entries("bc:24:11:00:00:01").contains("dev eno1 master vmbr0 static"))
            // The next start is one of its own.
            _ = try node.call("post-stop")
            _ = try node.call("post-start")
            #expect(try node.status().contains(/pve-100-net0 +ok +local\b/))
        }
    }

    /// `bridge-disable-mac-learning`: the node keeps static entries itself.
    @Test func entriesThatProxmoxKeepsAreGivenBackAsTheyWere() throws {
        try RecipeTests.node { node in
            try Command.script(
                """
                bridge link set dev tap100i0 learning off flood off
                bridge fdb add bc:24:11:00:00:01 dev tap100i0 master static
                """)
            let before = try node.entries("bc:24:11:00:00:01")
            _ = try node.call("pre-start")
            _ = try node.call("post-start")
            _ = try node.call("post-stop")
            #expect(try node.status().contains("no guest"))
            #expect(try node.entries("bc:24:11:00:00:01") == before)
            let port = try Command.run(["bridge", "-d", "link", "show", "dev", "tap100i0"]).output
            #expect(port.contains("learning off"))
        }
    }

    /// A script that the guest's start waits for does not fail for what fdbsteer cannot do.
    @Test func aGuestStartsWhateverFails() throws {
        try RecipeTests.node { node in
            try Command.script("ip link set tap100i0 nomaster")
            let said = try node.call("post-start").errors
            #expect(said.contains("net0 of 100 is left out"), "\(said)")
            #expect(try node.status().contains("pve-100-net1"))
        }
    }

    @Test func libvirtIsSetUpOnceHoweverOftenItIsAskedFor() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let script = Checkout.path + "/packaging/libvirt/set-up"
        var files: [String] = []
        for _ in 0..<2 {
            let command = try Command.run(
                [script, "br7", "bond0", "web1"], environment: ["ETC": folder.path])
            #expect(command.exitCode == 0, "\(command.errors)")
            files.append(
                TextFile.read(folder.path + "/fdbsteer/libvirt-hook.conf")
                    + TextFile.read(folder.path + "/fdbsteer/fdbsteerd.toml"))
        }
        #expect(files[0] == files[1])
        #expect(files[0].contains("\nuplink br7 bond0\ninterfaces bridged\n"), "\(files[0])")
        #expect(files[0].contains("id = \"web1:net0\"\ndomain = \"web1\"\nfollow = true"))
        let checked = try Command.run(
            [CommandLineLab.products + "/fdbsteerd", "--config", folder.path + "/fdbsteer/fdbsteerd.toml", "--check"])
        #expect(checked.exitCode == 0, "\(checked.output)\(checked.errors)")
        #expect(try Command.run([script, "br7"]).exitCode == 64)
    }
}
