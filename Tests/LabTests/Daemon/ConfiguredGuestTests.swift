import Glibc
import Lab
import Testing

/// Guests that the configuration names with their ports: the daemon prepares them.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct ConfiguredGuestTests {
    private static let mac = CommandLineLab.mac
    private static let pair = """
        [[guest]]
        id = "vm1"
        bridge = "br0"
        primary = "vfrep0"
        standby = "tap0"
        uplink = "uplink0"
        address = ["\(mac)"]
        kind = "bond"
        at = "standby"

        """

    private static func single(_ port: String = "tap9") -> String {
        "[[guest]]\nid = \"one\"\nbridge = \"br0\"\nport = \"\(port)\"\naddress = [\"52:54:00:00:09:01\"]\nat = \"local\"\nip = [\"192.0.2.9\"]\n"
    }

    private func status(_ lab: CommandLineLab, _ guest: String = "") throws -> String {
        try lab.fdbsteer("status \(guest)").output
    }

    @Test func aGuestIsPreparedAtTheStart() throws {
        try DaemonLab.run(configuration: Self.pair) { daemon in
            try daemon.waitFor("msg=prepared")
            try daemon.waitForEntry("dev tap0 master br0 static")
            let status = try daemon.lab.fdbsteer("status vm1 --json").output
            #expect(status.contains("\"kind\" : \"bond\"") && status.contains("\"side\" : \"standby\""), "\(status)")
            #expect(status.contains("\"unprepared\" : []"), "\(status)")
            // The command takes the record for its own.
            let again = try daemon.lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(Self.mac)")
            #expect(again.exitCode == 0, "\(again.errors)")
        }
    }

    /// A reboot takes the records, as the tables, and the ports come after the daemon; so does a machine that is started again.
    @Test func aGuestIsPreparedWhenItsPortComesAndWhenItComesAnew() throws {
        try DaemonLab.run(configuration: Self.single()) { daemon in
            try daemon.waitFor("level=info msg=condition code=awaits-ports guest=one")
            try daemon.waitForFile {
                (try? status(daemon.lab).contains("one: note: configured, and not prepared: ")) == true
            }
            let lines = try status(daemon.lab).split(separator: "\n")
            #expect(lines[1].hasPrefix("one    void") && lines[1].contains("not prepared"), "\(lines)")
            #expect(lines.contains { $0.contains("tap9") }, "\(lines)")
            try daemon.lab.lab.addPort("tap9")
            try daemon.waitFor("msg=prepared")
            try daemon.waitFor("msg=\"condition over\" code=awaits-ports guest=one")
            #expect(try daemon.lab.lab.entry("52:54:00:00:09:01")?.contains("dev tap9") == true)
            try Command.script("ip link del tap9")
            try daemon.waitFor("msg=condition code=no-interface")
            try daemon.lab.lab.addPort("tap9")
            try daemon.waitFor("msg=prepared", times: 2)
            #expect(try daemon.lab.lab.entry("52:54:00:00:09:01")?.contains("dev tap9") == true)
            try daemon.waitFor("msg=\"condition over\" code=no-interface")
            let history = try daemon.lab.fdbsteer("history one")
            #expect(history.output.contains("fdbsteerd"), "\(history.output)\(history.errors)")
        }
    }

    @Test func aBridgeThatIsMadeAnewHasItsGuestsPrepared() throws {
        try DaemonLab.run(configuration: Self.pair) { daemon in
            try daemon.waitFor("msg=prepared")
            try Command.script("ip link del br0")
            try daemon.waitFor("msg=condition code=no-bridge")
            try Command.script("ip link add br0 type bridge\nip link set br0 up")
            for port in ["uplink0", "vfrep0", "tap0"] { try Command.script("ip link set \(port) master br0") }
            try daemon.waitFor("msg=prepared", times: 2)
            try daemon.waitForEntry("dev tap0 master br0 static")
        }
    }

    /// Its tap is the same, so the machine was not started again.
    @Test func aGuestStaysWhereItIsWhenItsBridgeIsMadeAnew() throws {
        try DaemonLab.run(configuration: Self.pair) { daemon in
            try daemon.waitFor("msg=prepared")
            #expect(try daemon.lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
            try Command.script("ip link del br0")
            try daemon.waitFor("msg=condition code=no-bridge")
            try Command.script("ip link add br0 type bridge\nip link set br0 up")
            for port in ["uplink0", "vfrep0", "tap0"] { try Command.script("ip link set \(port) master br0") }
            try daemon.waitFor("msg=prepared", times: 2)
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            #expect(try status(daemon.lab, "vm1 --json").contains("\"side\" : \"primary\""))
        }
    }

    @Test func aPortThatIsMissingOrElsewhereIsSaid() throws {
        try DaemonLab.run(configuration: Self.single("p9")) { daemon in
            try Command.script("ip link add br1 type bridge\nip link add p9 type veth peer name p9-far\n")
            try daemon.waitFor("level=warning msg=condition code=awaits-ports guest=one")
            #expect(daemon.log.contains("p9 is no port of br0\""), "\(daemon.log)")
            try Command.script("ip link set p9 master br1")
            try daemon.waitFor("p9 is no port of br0, but of br1")
            try daemon.waitForFile { (try? status(daemon.lab).contains("one    warning")) == true }
            try Command.script("ip link set p9 master br0\nip link set p9 up\nip link set p9-far up")
            try daemon.waitFor("msg=prepared")
            try daemon.waitFor("msg=\"condition over\" code=awaits-ports guest=one")
        }
    }

    @Test func aRecordThatDiffersIsSaidAndLeftAlone() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare()
            let before = try lab.table()
            try DaemonLab.run(in: lab, configuration: Self.pair.replacing("uplink = \"uplink0\"\n", with: "")) {
                daemon in
                try daemon.waitFor("msg=condition code=configured-otherwise guest=vm1")
                #expect(
                    daemon.log.contains("its uplink is uplink0, not none; its kind is unknown, not bond"),
                    "\(daemon.log)")
                let status = try status(lab)
                #expect(status.contains("warning"), "\(status)")
                #expect(status.contains("fdbsteer release vm1, then fdbsteer prepare vm1 --bridge br0"), "\(status)")
                #expect(try lab.table() == before)
                #expect(daemon.count("msg=prepared") == 0)
            }
        }
    }

    /// Where the guest is may change; what was released by hand stays so, also for the next daemon.
    @Test func aGuestThatWasReleasedIsLeftAloneUntilItsPortIsMadeAnew() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try DaemonLab.run(in: lab, configuration: Self.pair) { daemon in
                try daemon.waitFor("msg=prepared")
                #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
                #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                try daemon.waitFor("msg=condition code=released guest=vm1")
                let status = try status(lab)
                #expect(status.contains("vm1") && status.contains("not prepared"), "\(status)")
                #expect(
                    status.contains("(fdbsteer prepare vm1 --bridge br0 --primary vfrep0 --standby tap0"), "\(status)")
                #expect(try self.status(lab, "vm1").contains("released by hand"))
            }
            try DaemonLab.run(in: lab, configuration: Self.pair, log: "second") { daemon in
                try daemon.waitFor("msg=condition code=released guest=vm1")
                #expect(daemon.count("msg=prepared") == 0, "\(daemon.log)")
                try Command.script("ip link del tap0")
                try daemon.waitFor("msg=\"condition over\" code=released")
                try lab.lab.addPort("tap0")
                try daemon.waitFor("msg=prepared")
                #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                try daemon.waitFor("msg=condition code=released", times: 2)
                // The operator's own word ends it.
                try lab.prepare("--kind bond")
                try daemon.waitFor("msg=\"condition over\" code=released", times: 2)
            }
        }
    }

    private func reload(_ daemon: DaemonLab, _ configuration: String, times: Int = 1) throws {
        try TextFile.write(configuration, to: daemon.lab.state + "/fdbsteerd.toml")
        kill(daemon.process, SIGHUP)
        try daemon.waitFor("configuration read again", times: times)
    }

    /// The record differs from the table: who releases it means that too.
    @Test func aGuestWhoseRecordDifferedIsLeftAloneWhenItWasReleasedUntilItsTableChanges() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare()
            let other = Self.pair.replacing("standby = \"tap0\"", with: "standby = \"tap1\"")
            try lab.lab.addPort("tap1")
            try DaemonLab.run(in: lab, configuration: other) { daemon in
                try daemon.waitFor("msg=condition code=configured-otherwise guest=vm1")
                #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                try daemon.waitFor("msg=condition code=released guest=vm1")
                #expect(try status(lab, "vm1").contains("or its table changes"))
                try reload(daemon, other + "[log]\nlevel = \"info\"\n")
                try daemon.waitFor("msg=resync reason=reload")
            }
            try DaemonLab.run(in: lab, configuration: other, log: "second") { daemon in
                try daemon.waitFor("msg=condition code=released guest=vm1")
                #expect(daemon.count("msg=prepared") == 0, "\(daemon.log)")
                try reload(daemon, other.replacing("at = \"standby\"", with: "at = \"primary\""))
                try daemon.waitFor("msg=prepared")
                try daemon.waitForEntry("dev vfrep0 master br0 static")
            }
        }
    }

    /// Nothing of the record holds when the machine is started again: neither what its table said then, nor an open bracket.
    @Test func aTableThatChangesWhileItsPortIsMadeAnewIsTaken() throws {
        try DaemonLab.run(configuration: Self.single()) { daemon in
            try daemon.lab.lab.addPort("tap9")
            try daemon.waitFor("msg=prepared")
            try Command.script("ip link del tap9")
            try daemon.waitFor("msg=condition code=no-interface")
            try reload(daemon, Self.single().replacing("09:01", with: "09:02"))
            try daemon.lab.lab.addPort("tap9")
            try daemon.waitFor("msg=prepared", times: 2)
            #expect(try daemon.lab.lab.entry("52:54:00:00:09:02")?.contains("dev tap9") == true)
            #expect(try daemon.lab.lab.entry("52:54:00:00:09:01") == nil)
            #expect(daemon.count("code=configured-otherwise") == 0, "\(daemon.log)")
        }
    }

    @Test func aBracketEndsWithTheStandbyThatIsMadeAnew() throws {
        try DaemonLab.run(configuration: Self.pair.replacing("\"standby\"", with: "\"primary\"")) { daemon in
            try daemon.waitFor("msg=prepared")
            let open = try daemon.lab.fdbsteer("switch vm1 --to standby --strategy bracket")
            #expect(open.exitCode == 0, "\(open.errors)")
            try Command.script("ip link del tap0")
            try daemon.waitFor("msg=condition code=no-interface")
            try daemon.lab.lab.addPort("tap0")
            try daemon.waitFor("msg=prepared", times: 2)
            let status = try daemon.lab.fdbsteer("status vm1 --json").output
            #expect(status.contains("\"phase\" : \"pinned\"") && status.contains("\"side\" : \"primary\""), "\(status)")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            #expect(daemon.count("code=not-prepared") == 0, "\(daemon.log)")
        }
    }

    @Test func whatCannotBePreparedIsSaidAndTriedAgain() throws {
        try DaemonLab.run { daemon in
            let file = daemon.lab.state + "/fdbsteerd.toml"
            try TextFile.write(Self.pair.replacing("at = \"standby\"", with: ""), to: file)
            kill(daemon.process, SIGHUP)
            try daemon.waitFor("msg=condition code=not-prepared guest=vm1")
            let lines = try status(daemon.lab).split(separator: "\n")
            #expect(lines.count == 3 && lines[1].hasPrefix("vm1    problem"), "\(lines)")
            #expect(lines.last?.contains("the table does not tell where the guest is") == true, "\(lines)")
            try BridgeLab.sendFrame(behind: "vfrep0", source: Self.mac)
            try daemon.waitFor("msg=prepared")
            try daemon.waitFor("msg=\"condition over\" code=not-prepared")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            // A guest that leaves the configuration is not released.
            try TextFile.write("", to: file)
            kill(daemon.process, SIGHUP)
            try daemon.waitFor("configuration read again", times: 2)
            #expect(try status(daemon.lab).contains("vm1"))
        }
    }

    @Test func aDaemonThatObservesSaysWhatItWouldPrepare() throws {
        try DaemonLab.run(configuration: Self.pair + "act = false\n") { daemon in
            try daemon.waitFor("msg=condition code=would-act guest=vm1")
            #expect(try status(daemon.lab).contains("it would prepare the guest: fdbsteer prepare vm1"))
            #expect(daemon.count("msg=prepared") == 0)
            #expect(try daemon.lab.lab.entry(Self.mac) == nil)
        }
    }
}

extension String {
    fileprivate func replacing(_ text: String, with other: String) -> String {
        split(separator: text, omittingEmptySubsequences: false).joined(separator: other)
    }
}
