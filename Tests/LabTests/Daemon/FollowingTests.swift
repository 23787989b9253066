import Glibc
import Lab
import Testing

/// fdbsteerd and a guest's monitor, from QEMU's events to entries and copies. The test provides the monitor; the bench
/// `migrate` has real ones.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct FollowingTests {
    private static func run(
        at side: String = "primary", kind: String = "net_failover", status: String = "running",
        migration: String? = nil, more: String = "", _ body: @escaping @Sendable (DaemonLab, FakeMonitor) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let monitor = try FakeMonitor()
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind \(kind) --at \(side) "
                    + "--address \(CommandLineLab.mac)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let configuration =
                "[log]\nlevel = \"debug\"\n[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\n"
                + "primary_device = \"prim\"\nstandby_device = \"net1\"\n" + more
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve(status: status, migration: migration)
                try body(daemon, monitor)
            }
        }
    }

    private static func expectBracket(_ daemon: DaemonLab) throws {
        try daemon.waitForEntry("dev tap0 master br0 static")
        let status = try daemon.lab.fdbsteer("status vm1 --json").output
        #expect(status.contains("\"is_copy_right\" : true"), "\(status)\n\(daemon.log)")
    }

    @Test func aMigrationAway() throws {
        try FollowingTests.run { daemon, monitor in
            try daemon.waitFor("to=primary")
            monitor.tell("MIGRATION", #"{"status": "setup"}"#)
            monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
            try daemon.waitFor("bracket opened")
            try FollowingTests.expectBracket(daemon)
            monitor.tell("MIGRATION", #"{"status": "wait-unplug"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("to=migrating")
            try daemon.waitForEntry("dev tap0 master br0 static")
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
            monitor.tell("STOP")
            monitor.tell("MIGRATION", #"{"status": "completed"}"#)
            try daemon.waitFor("to=gone")
            try daemon.waitForEntry("dev uplink0 master br0 static")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(daemon.count("repaired") == 0 && daemon.count("code=needs-attention") == 0, "\(daemon.log)")
            #expect(try Command.run(["nft", "list", "tables", "netdev"]).output.contains("fdbsteer-vm") == false)
        }
    }

    /// What QEMU's events ask for is only said while `act` is false, and is no condition once it is true.
    @Test func whatAnObservedGuestsEventsAskForIsSaid() throws {
        try FollowingTests.run(more: "act = false\n") { daemon, monitor in
            try daemon.waitFor("to=primary")
            monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
            try daemon.waitFor("\(CommandLineLab.mac) from vfrep0 to tap0: QEMU's events ask for this")
            #expect(daemon.count("bracket opened") == 0, "\(daemon.log)")
            let file = daemon.lab.state + "/fdbsteerd.toml"
            try TextFile.write(TextFile.read(file).replacing("act = false\n", with: ""), to: file)
            kill(daemon.process, SIGHUP)
            try daemon.waitFor("msg=\"condition over\" code=would-act")
        }
    }

    @Test func theGuestsOfOneMonitorAreFollowedOverOneConnection() throws {
        try CommandLineLab.run(flooding: false) { lab in
            let monitor = try FakeMonitor()
            try lab.lab.addPort("vfrep1")
            try lab.lab.addPort("tap1")
            try lab.prepare("--kind net_failover")
            let other = try lab.fdbsteer(
                "prepare vm2 --bridge br0 --primary vfrep1 --standby tap1 --uplink uplink0 --kind net_failover --at primary "
                    + "--address 52:54:00:00:00:02")
            #expect(other.exitCode == 0, "\(other.errors)")
            // Two names of one socket.
            let folder = "/" + monitor.path.split(separator: "/").dropLast().joined(separator: "/")
            var configuration = ""
            for (number, socket) in [(1, monitor.path), (2, folder + "/./qmp")] {
                configuration += "[[guest]]\nid = \"vm\(number)\"\nqmp = \"\(socket)\"\nfollow = true\n"
                configuration += "primary_device = \"prim\(number)\"\nstandby_device = \"net\(number)\"\n"
            }
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve()
                try daemon.waitFor("to=primary", times: 2)
                // Each follows its own device.
                monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim2"}"#)
                try daemon.waitFor("bracket opened")
                #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
                monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim1"}"#)
                monitor.tell("MIGRATION", #"{"status": "active"}"#)
                try daemon.waitFor("to=migrating", times: 2)
                for port in ["tap0", "tap1"] {
                    #expect(try Command.run(["bridge", "fdb", "show", "dev", port]).output.contains("static"))
                }
                #expect(!monitor.hasClient(within: 200), "one connection is enough")
                // Another process redirects one of them: the other goes on.
                #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
                try daemon.waitFor("redirected by others")
                #expect(!monitor.hasClient(within: 200), "it asks on the connection that it has")
                #expect(daemon.count("not heard") == 0)
            }
        }
    }

    @Test func whyAMonitorIsNotHeardIsSaidOnceForEachReason() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let path = lab.state + "/monitor"
            let configuration = "[[guest]]\nid = \"vm1\"\nqmp = \"\(path)\"\nfollow = true\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try daemon.waitFor("No such file or directory")
                try TextFile.write("", to: path)
                try daemon.waitFor("Connection refused: nobody listens there")
                #expect(daemon.count("the monitor is not heard") == 2, "\(daemon.log)")
                let monitor = try FakeMonitor()
                #expect(unlink(path) == 0)
                #expect(symlink(monitor.path, path) == 0)
                // Connected and not greeted: another client has it.
                try daemon.waitFor("it serves one client at a time")
                try monitor.serve()
                try daemon.waitFor("the monitor is heard again")
                monitor.hangUp()
                try daemon.waitFor("closed the connection")
                monitor.accept()
                monitor.say("QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ")
                try daemon.waitFor("is no QMP message")
            }
        }
    }

    @Test(arguments: ["filters", "negotiations", "carrier"])
    func aGuestThatStormsCostsLittle(kind: String) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let monitor = try FakeMonitor()
            try lab.lab.addPort("vfrep1")
            try lab.lab.addPort("tap1")
            try lab.prepare("--kind net_failover")
            let other = try lab.fdbsteer(
                "prepare vm2 --bridge br0 --primary vfrep1 --standby tap1 --at primary --address 52:54:00:00:00:02")
            #expect(other.exitCode == 0, "\(other.errors)")
            let configuration =
                "[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = \(kind != "carrier")\n"
                + "follow_rx_filter = true\nprimary_device = \"prim\"\nstandby_device = \"net1\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve()
                if kind != "carrier" { try daemon.waitFor("to=primary") }
                var (log, asked) = (0, 0)
                // Six seconds at 100 a second, of which the last three count; `fdbsteer-bench watch` measures the processor time.
                for number in 0..<600 {
                    switch kind {
                    case "filters":
                        if number == 0 { monitor.tell("NIC_RX_FILTER_CHANGED", #"{"name": "net1"}"#) }
                        for line in monitor.heard() where line.contains("query-rx-filter") {
                            let id = line.split(separator: "\"id\":").last?.prefix { $0.isNumber } ?? ""
                            let macs = (0..<60).map { "\"02:0\(asked % 2):00:00:00:\($0 + 10)\"" }.joined(
                                separator: ",")
                            monitor.say(
                                #"{"return": [{"name": "net1", "main-mac": "52:54:00:00:00:01", "unicast-table": ["#
                                    + macs + "]}], \"id\": \(id)}\n")
                            monitor.tell("NIC_RX_FILTER_CHANGED", #"{"name": "net1"}"#)
                            asked += 1
                        }
                    case "negotiations":
                        monitor.tell("FAILOVER_NEGOTIATED", #"{"device-id": "net1"}"#)
                        try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
                    default: try Command.script("ip link set vfrep0-far \(number % 2 == 0 ? "down" : "up")")
                    }
                    usleep(5000)
                    if number == 300 {
                        (log, asked) = (daemon.log.utf8.count, 0)
                        try Command.script("bridge fdb del 52:54:00:00:00:02 dev vfrep1 master")
                    }
                }
                let entry = try lab.lab.entry("52:54:00:00:00:02") ?? ""
                #expect(entry.contains("vfrep1 master br0 static"), "the other guest's repair: \(entry)")
                #expect(asked < 60, "\(asked) of 300 changes were asked for")
                #expect(daemon.log.utf8.count - log < 20_000, "\(kind): \(daemon.log.suffix(3000))")
                #expect(daemon.log.split(separator: "\n").allSatisfy { $0.utf8.count < 1000 })
            }
        }
    }

    /// In either order of the events the source is `remote` long before the migration completes.
    @Test(arguments: [false, true]) func aMigrationByPostcopy(_ stopsFirst: Bool) throws {
        try FollowingTests.run { daemon, monitor in
            try daemon.waitFor("to=primary")
            monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("to=migrating")
            if stopsFirst { monitor.tell("STOP") }
            monitor.tell("MIGRATION", #"{"status": "postcopy-active"}"#)
            if !stopsFirst { monitor.tell("STOP") }
            try daemon.waitFor("to=gone")
            try daemon.waitForEntry("dev uplink0 master br0 static")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    /// QEMU's word alone brings a followed guest; a frame of the pod's kernel does not.
    @Test func aStrayFrameIsNoArrivalOfAnAwaitedGuest() throws {
        try FollowingTests.run(at: "remote", status: "inmigrate") { daemon, monitor in
            try daemon.waitFor("to=awaited")
            for _ in 0..<40 {
                try BridgeLab.sendFrame(behind: "tap0", source: CommandLineLab.mac)
                usleep(25_000)
            }
            try daemon.waitForEntry("dev uplink0 master br0 static")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
            monitor.tell("RESUME")
            try daemon.waitForEntry("dev tap0 master br0 static")
        }
    }

    @Test func aMigrationThatIsCancelledComesBackWhenThePrimaryIsUsed() throws {
        try FollowingTests.run { daemon, monitor in
            try daemon.waitFor("to=primary")
            monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("to=migrating")
            monitor.tell("MIGRATION", #"{"status": "cancelled"}"#)
            try daemon.waitFor("to=coming")
            try FollowingTests.expectBracket(daemon)
            // The hypervisor announces the guest on each of its ports: this is not evidence.
            try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
            try daemon.waitFor("to=primary", times: 2)
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    @Test func aGuestThatArrives() throws {
        try FollowingTests.run(at: "remote", status: "inmigrate") { daemon, monitor in
            try daemon.waitFor("to=awaited")
            monitor.tell("MIGRATION", #"{"status": "setup"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            monitor.tell("FAILOVER_NEGOTIATED", #"{"device-id": "net1"}"#)
            let tally = try FrameTally([BridgeLab.far("uplink0")])
            monitor.tell("RESUME")
            monitor.tell("MIGRATION", #"{"status": "completed"}"#)
            try daemon.waitFor("to=coming")
            try FollowingTests.expectBracket(daemon)
            try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
            try daemon.waitFor("to=primary")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            _ = tally
        }
    }

    @Test func withoutCopiesTheMoveComesWhenTheGuestHasLetGo() throws {
        try FollowingTests.run(kind: "unknown") { daemon, monitor in
            try daemon.waitFor("to=primary")
            monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
            try daemon.waitFor("to=leaving")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("to=migrating")
            try daemon.waitForEntry("dev tap0 master br0 static")
        }
    }

    @Test func aDaemonThatDiesInTheMiddleGoesOnFromThere() throws {
        try CommandLineLab.run(flooding: false) { lab in
            let monitor = try FakeMonitor()
            #expect(
                try lab.fdbsteer(
                    "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover "
                        + "--at primary --address \(CommandLineLab.mac)"
                ).exitCode == 0)
            let configuration =
                "[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\nprimary_device = \"prim\"\n"
            try DaemonLab.run(in: lab, configuration: configuration, log: "first") { daemon in
                try monitor.serve()
                try daemon.waitFor("to=primary")
                monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
                try daemon.waitFor("to=leaving")
                kill(daemon.process, SIGKILL)
            }
            monitor.hangUp()
            try DaemonLab.run(in: lab, configuration: configuration, log: "second") { daemon in
                try FollowingTests.expectBracket(daemon)
                // The guest gave its primary up in the meantime.
                try monitor.serve(migration: "active")
                try daemon.waitFor("to=migrating")
                try daemon.waitForEntry("dev tap0 master br0 static")
                #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
            }
        }
    }

    /// - Parameter isSeen: the carrier comes back while a daemon runs.
    @Test(arguments: [true, false])
    func aPrimaryWithoutCarrierOpensABracketAndItsReturnClosesIt(isSeen: Bool) throws {
        try CommandLineLab.run(flooding: false) { lab in
            #expect(
                try lab.fdbsteer(
                    "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover "
                        + "--at primary --address \(CommandLineLab.mac)"
                ).exitCode == 0)
            try DaemonLab.run(in: lab) { daemon in
                try Command.script("ip link set vfrep0-far down")
                try daemon.waitFor("has no carrier")
                try FollowingTests.expectBracket(daemon)
                #expect(
                    daemon.log.contains("level=warning msg=\"bracket opened\" ") && daemon.count("redirected") == 0,
                    "\(daemon.log)")
                #expect(daemon.log.contains("reason=\"primary port vfrep0 has no carrier\""), "\(daemon.log)")
                try daemon.waitFor("level=error msg=condition code=no-carrier guest=vm1")
                let verified = try lab.fdbsteer("verify vm1")
                #expect(
                    verified.exitCode == 0
                        && verified.output.contains("as intended, on primary, a bracket to standby is open"),
                    "\(verified.output)")
            }
            if !isSeen { try Command.script("ip link set vfrep0-far up") }
            // The next daemon knows what the bracket waits for.
            try DaemonLab.run(in: lab, log: "second") { daemon in
                if isSeen {
                    try FollowingTests.expectBracket(daemon)
                    try daemon.waitFor("level=error msg=condition code=no-carrier guest=vm1")
                    let status = try lab.fdbsteer("status vm1").output
                    #expect(status.contains("closes it on the primary when that has carrier again"), "\(status)")
                    try Command.script("ip link set vfrep0-far up")
                }
                try daemon.waitFor("has its carrier again")
                // What has ended while nobody looked is not told.
                if isSeen { try daemon.waitFor("msg=\"condition over\" code=no-carrier") }
                try daemon.waitForEntry("dev vfrep0 master br0 static")
                #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            }
        }
    }

    /// A bracket that is open on the way away from the primary: the guest may still use that, and has no other way.
    @Test(arguments: [
        ("ip link set tap0 nomaster", "ip link set tap0 master br0"), ("ip link set tap0 down", "ip link set tap0 up"),
        ("ip link set tap0-far down", "ip link set tap0-far up"),
    ])
    func aBracketWhoseStandbyDeliversNothingIsServedByThePrimaryMeanwhile(_ taken: String, _ given: String) throws {
        try DaemonLab.run { daemon in
            try Command.script("ip link set br0 type bridge forward_delay 0")
            try daemon.lab.prepare("--kind net_failover")
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby --strategy bracket").exitCode == 0)
            try daemon.waitForEntry("dev tap0 master br0 static")
            try Command.script(taken)
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            // What frames by the uplink take goes back there too.
            try BridgeLab.sendFrame(behind: "uplink0", source: CommandLineLab.mac)
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            let probe = FrameProbe(to: CommandLineLab.mac, from: "52:54:00:fd:b5:fe")
            #expect(try probe.send(from: "uplink0-far", lookingAt: "vfrep0-far") == ["vfrep0-far"])
            try Command.script(given)
            try daemon.waitForEntry("dev tap0 master br0 static")
            try FollowingTests.expectBracket(daemon)
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby --close").exitCode == 0)
            let verify = try daemon.lab.fdbsteer("verify vm1")
            #expect(verify.exitCode == 0, "\(verify.output)\(daemon.log)")
        }
    }

    @Test func whatWasReadBeforehandIsReadAgainAfterAChange() throws {
        try FollowingTests.run(kind: "netvsc") { daemon, monitor in
            try daemon.waitFor("to=primary")
            // The daemon has time to read the ports, and is then notified that one goes down.
            usleep(200_000)
            try Command.script("ip link set tap0 down")
            monitor.tell("RESET", #"{"guest": true, "reason": "guest-reset"}"#)
            try daemon.waitFor("tap0: it is down")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
        }
    }

    @Test func aLostPrimaryComesBackWhereTheConfigurationAsksForIt() throws {
        try CommandLineLab.run(flooding: false) { lab in
            #expect(
                try lab.fdbsteer(
                    "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover "
                        + "--at primary --address \(CommandLineLab.mac)"
                ).exitCode == 0)
            let configuration = "[[guest]]\nid = \"vm1\"\nreturn_to_primary = \"when-back\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try Command.script("ip link del vfrep0")
                try daemon.waitForEntry("dev tap0 master br0 static")
                try lab.lab.addPort("vfrep0")
                try daemon.waitFor("the primary is back")
                try daemon.waitFor("bracket opened")
                try FollowingTests.expectBracket(daemon)
                try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
                try daemon.waitForEntry("dev vfrep0 master br0 static")
                #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0, "\(daemon.log)")
            }
        }
    }
}
