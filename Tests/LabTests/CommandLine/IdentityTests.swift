import Lab
import Testing

/// Who is who: a bridge or a port is what its interface index says, and its names are labels.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct IdentityTests {
    /// Kernels before 6.4 rename no interface that is up.
    private static func rename(_ name: String, to new: String) throws {
        if try Command.run(["ip", "link", "set", name, "name", new]).exitCode == 0 { return }
        try Command.script("ip link set \(name) down\nip link set \(name) name \(new)\nip link set \(new) up")
    }

    @Test func aRenamedPortIsTheSamePortForEveryVerb() throws {
        try CommandLineLab.run { lab in
            let before = try lab.table()
            try lab.prepare()
            try IdentityTests.rename("vfrep0", to: "enp1s0f0r3")
            let verified = try lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 0 && verified.output.contains("enp1s0f0r3 static"), "\(verified.output)")
            let status = try lab.fdbsteer("status vm1")
            #expect(status.output.contains("enp1s0f0r3") && !status.output.contains("problem"), "\(status.output)")
            #expect(try lab.fdbsteer("preflight vm1").output.contains("nothing was found"))
            // The first verb that writes takes the name over, and says so.
            let switched = try lab.fdbsteer("switch vm1 --to standby")
            #expect(switched.exitCode == 0, "\(switched.errors)")
            #expect(switched.output.contains("is called enp1s0f0r3 now"), "\(switched.output)")
            #expect(try lab.recordText().contains("\"enp1s0f0r3\""))
            let back = try lab.fdbsteer("switch vm1 --to primary")
            #expect(back.exitCode == 0 && !back.output.contains("is called"), "\(back.output)")
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("dev enp1s0f0r3 master br0 static") == true)
            try IdentityTests.rename("enp1s0f0r3", to: "vfrep0")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            // What the ports were is put back; the entry is as learned.
            let after = try lab.table().split(separator: "\n").filter { !$0.contains(CommandLineLab.mac) }
            #expect(after == before.split(separator: "\n").filter { !$0.contains(CommandLineLab.mac) })
        }
    }

    @Test func aNewInterfaceUnderTheOldNameIsAnother() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try IdentityTests.rename("vfrep0", to: "old0")
            try Command.script("ip link add vfrep0 type veth peer name other\nip link set vfrep0 master br0 up")
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("dev old0 master br0 static") == true)
        }
    }

    @Test func twoGuestsNeverOwnOneAddressWhateverTheirBridgeIsCalled() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try IdentityTests.rename("br0", to: "vmbr7")
            for port in ["p2", "t2"] {
                try Command.script(
                    "ip link add \(port) type veth peer name \(port)-far\nip link set \(port) master vmbr7 up")
            }
            let second = try lab.fdbsteer(
                "prepare vm2 --bridge vmbr7 --primary p2 --standby t2 --address \(CommandLineLab.mac) --at primary")
            #expect(second.exitCode == 3 && second.errors.contains("belongs to guest vm1"), "\(second.errors)")
            let switched = try lab.fdbsteer("switch vm1 --to standby")
            #expect(switched.exitCode == 0 && switched.output.contains("is called vmbr7 now"), "\(switched.output)")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
        }
    }

    @Test func theDaemonTakesANameOverAndMovesNobody() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            for (old, new) in [("vfrep0", "enp1s0f0r3"), ("uplink0", "eth7"), ("br0", "vmbr0")] {
                try IdentityTests.rename(old, to: new)
                try daemon.waitFor("is called \(new) now")
                #expect(try daemon.lab.recordText().contains("\"\(new)\""))
            }
            #expect(daemon.count("renamed") == 3 && daemon.count("redirected") == 0, "\(daemon.log)")
            // A loss is told by the name that the port had.
            try Command.script("ip link del enp1s0f0r3")
            try daemon.waitFor("primary port enp1s0f0r3 no longer exists")
        }
    }

    @Test func alternativeNamesAreTakenWhereverANameIs() throws {
        try CommandLineLab.run { lab in
            // As systemd names representors: longer than an interface's own name may be.
            let names = [
                "vfrep0": "enp65s0f0np0pf0vf0", "tap0": "vnet-of-guest-one", "uplink0": "up-alt", "br0": "bridge-alt",
            ]
            for (name, other) in names { try Command.script("ip link property add dev \(name) altname \(other)") }
            let ports = "--bridge bridge-alt --primary enp65s0f0np0pf0vf0 --standby vnet-of-guest-one --uplink up-alt"
            #expect(
                try lab.fdbsteer("preflight \(ports) --address \(CommandLineLab.mac)").output.contains("br0: nothing"))
            let prepared = try lab.fdbsteer("prepare vm1 \(ports) --address \(CommandLineLab.mac) --at primary")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            #expect(try lab.fdbsteer("prepare vm1 \(ports) --address \(CommandLineLab.mac)").output.contains("already"))
            for signal in ["carrier:enp65s0f0np0pf0vf0=up", "frame:enp65s0f0np0pf0vf0"] {
                let command = try lab.fdbsteer("switch vm1 --to standby --until \(signal) --timeout 50ms")
                #expect(command.exitCode == 6 || command.exitCode == 0, "\(signal): \(command.errors)")
            }
            for command in ["topology", "topology bridge-alt"] {
                let text = try lab.fdbsteer(command).output
                for (name, other) in names { #expect(text.contains("\(name)  altname \(other)"), "\(text)") }
            }
        }
    }
}

extension CommandLineLab {
    /// The text of `vm1`'s record.
    func recordText() throws -> String { TextFile.read(state + "/guests/vm1.json") }
}
