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

    /// A guest's ports, and what they are after a new start of its machine.
    private static let request =
        "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(CommandLineLab.mac)"

    /// Another interface under the name of a port. Neither end speaks by itself.
    private static func remake(_ name: String) throws {
        try Command.script("ip link del \(name)\nip link add \(name) type veth peer name \(name)-far")
        for end in [name, name + "-far"] { try Command.script("ip link set \(end) addrgenmode none") }
        try Command.script("ip link set \(name) master br0 up\nip link set \(name)-far up")
    }

    @Test(arguments: ["tap0", "vfrep0", "br0"])
    func whatWasMadeAnewUnderTheOldNameIsPreparedAnew(_ name: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            if name == "br0" {
                try Command.script("ip link del br0\nip link add br0 type bridge\nip link set br0 up")
                for port in ["uplink0", "vfrep0", "tap0"] { try Command.script("ip link set \(port) master br0") }
            } else {
                try IdentityTests.remake(name)
            }
            let dry = try lab.fdbsteer(IdentityTests.request + " --dry-run")
            #expect(dry.exitCode == 0 && dry.output.contains("would be released first"), "\(dry.output)\(dry.errors)")
            let again = try lab.fdbsteer(IdentityTests.request)
            #expect(again.exitCode == 0, "\(again.errors)")
            #expect(
                again.output.contains("prepared anew: ") && again.output.contains("no longer exists"), "\(again.output)"
            )
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            let third = try lab.fdbsteer(IdentityTests.request)
            #expect(third.exitCode == 0 && third.output.contains("already prepared"), "\(third.output)\(third.errors)")
            // What was switched off once is switched on again.
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            let table = try lab.table()
            #expect(!table.contains("learning off") && !table.contains("backup_port"), "\(table)")
        }
    }

    /// A machine that is started anew uses its standby first, wherever it was before.
    @Test func whatIsPreparedAnewIsWhereTheCallerSays() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try IdentityTests.remake("tap0")
            let again = try lab.fdbsteer(IdentityTests.request + " --at standby")
            #expect(again.exitCode == 0 && again.output.contains("prepared anew"), "\(again.output)\(again.errors)")
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("dev tap0 master br0 static") == true)
        }
    }

    @Test func whatOthersHaveChangedIsPutBackByPrepare() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let before = try lab.table()
            for attack in [
                "bridge fdb del \(CommandLineLab.mac) dev vfrep0 master",
                "bridge fdb replace \(CommandLineLab.mac) dev tap0 master static",
                "bridge link set dev tap0 learning on", "bridge link set dev vfrep0 nobackup_port",
            ] {
                try Command.script(attack)
                let again = try lab.fdbsteer(IdentityTests.request)
                #expect(again.exitCode == 0 && again.output.contains("is put back"), "\(again.output)\(again.errors)")
                #expect(try lab.table() == before, "\(attack)")
            }
        }
    }

    @Test func whatIsWantedOtherwiseIsNamedFieldByField() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--kind bond")
            try lab.lab.addPort("tap1")
            let mac = CommandLineLab.mac
            let ports = "prepare vm1 --bridge br0 --primary vfrep0"
            for (arguments, words) in [
                ("\(ports) --standby tap1 --uplink uplink0 --address \(mac)", "its standby is tap0, not tap1"),
                ("\(ports) --standby tap0 --address \(mac)", "its uplink is uplink0, not none"),
                ("\(ports) --standby tap0 --uplink uplink0 --address 52:54:00:00:00:09", "its addresses are"),
                ("\(IdentityTests.request) --at standby", "its side is primary, not standby"),
                ("\(IdentityTests.request) --kind netvsc", "its kind is bond, not netvsc"),
            ] {
                try lab.refused(arguments, code: 3, saying: words, "not like this")
            }
        }
    }

    @Test func aGuestOfAnEarlierBootHoldsNobodyUp() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let file = lab.state + "/guests/vm1.json"
            func reboot() throws {
                let text = try lab.recordText().replacing(/"boot" : "[^"]*"/, with: "\"boot\" : \"an-earlier-one\"")
                try TextFile.write(text, to: file)
            }
            try reboot()
            #expect(try lab.fdbsteer("status").output.contains("void since reboot"))
            // Nothing is intended of it.
            let verified = try lab.fdbsteer("verify")
            #expect(
                verified.exitCode == 0 && verified.errors.contains("vm1 is void"),
                "\(verified.output)\(verified.errors)")
            let abort = try lab.fdbsteer("abort vm1")
            #expect(abort.exitCode == 3 && abort.errors.contains("fdbsteer release vm1"), "\(abort.errors)")
            // Its address, and its name, are free.
            let other = try lab.fdbsteer(IdentityTests.request.replacing("vm1", with: "vm2") + " --at primary")
            #expect(other.exitCode == 0, "\(other.errors)")
            #expect(try lab.fdbsteer("release vm2").exitCode == 0)
            let again = try lab.fdbsteer(IdentityTests.request + " --at primary")
            #expect(
                again.exitCode == 0 && again.output.contains("before the last reboot"), "\(again.output)\(again.errors)"
            )
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            try reboot()
            let released = try lab.fdbsteer("release vm1")
            #expect(released.exitCode == 0 && released.output.contains("its record is forgotten"), "\(released.output)")
            #expect(try lab.fdbsteer("status").output.contains("no guest is prepared"))
        }
    }

    @Test func aGuestOfAnotherNamespaceIsShownAndForgottenByWord() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let file = lab.state + "/guests/vm1.json"
            let own = try lab.recordText()
            // A namespace whose inode is another's now is gone for certain.
            let cookie = /"cookie" : \d+/
            try TextFile.write(own.replacing(cookie, with: "\"cookie\" : 999999999"), to: file)
            #expect(try lab.fdbsteer("status").output.contains("its network namespace is gone"))
            let again = try lab.fdbsteer(IdentityTests.request + " --at primary")
            #expect(
                again.exitCode == 0 && again.output.contains("namespace that is gone"), "\(again.output)\(again.errors)"
            )
            // A record of a version without cookies, of another inode: nobody knows.
            let foreign = try lab.recordText().replacing(/"cookie" : \d+,\s*/, with: "").replacing(
                /"namespace" : \d+/, with: "\"namespace\" : 17")
            try TextFile.write(foreign, to: file)
            #expect(try lab.fdbsteer("status").output.contains("in another network namespace"))
            #expect(try lab.fdbsteer("reconcile").output.contains("fdbsteer release vm1 --forget"))
            for verb in [IdentityTests.request + " --at primary", "release vm1", "abort vm1"] {
                try lab.refused(verb, code: 3, saying: "another network namespace", "fdbsteer release vm1 --forget")
            }
            let forgotten = try lab.fdbsteer("release vm1 --forget")
            #expect(
                forgotten.exitCode == 0 && forgotten.output.contains("its record is forgotten"), "\(forgotten.errors)")
            try lab.prepare()
            try lab.refused("release vm1 --forget", code: 3, saying: "release it without --forget")
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
