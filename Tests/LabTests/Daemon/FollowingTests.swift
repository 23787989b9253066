import Glibc
import Lab
import Testing

/// fdbsteerd and a guest's monitor, from QEMU's events to entries and copies. The test provides the monitor; the bench
/// `migrate` has real ones.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct FollowingTests {
    private static func run(
        at side: String = "primary", kind: String = "net_failover", status: String = "running",
        migration: String? = nil, _ body: @escaping @Sendable (DaemonLab, FakeMonitor) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let monitor = try FakeMonitor()
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind \(kind) --at \(side) "
                    + "--address \(CommandLineLab.mac)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let configuration =
                "[log]\nlevel = \"debug\"\n[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\n"
                + "primary_device = \"prim\"\nstandby_device = \"net1\"\n"
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
            #expect(daemon.count("repaired") == 0 && daemon.count("needs attention") == 0, "\(daemon.log)")
            #expect(try Command.run(["nft", "list", "tables"]).output.contains("fdbsteer") == false)
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

    @Test func aPrimaryWithoutCarrierOpensABracketAndItsReturnClosesIt() throws {
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
                try Command.script("ip link set vfrep0-far up")
                try daemon.waitFor("has its carrier again")
                try daemon.waitForEntry("dev vfrep0 master br0 static")
                #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            }
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
