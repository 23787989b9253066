import CLab
import Glibc
import Lab
import Testing

/// What a guest misses while it is stopped for its handover is sent to its new place (docs/zero.md). The test has the tap, as QEMU would,
/// and the monitor.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct ReplayLabTests {
    private static let mac = CommandLineLab.mac
    private static let far = BridgeLab.far("uplink0")

    /// A followed guest with one port that is a tap, which is migrating and has got five frames.
    ///
    /// - Parameters:
    ///   - tap: its name; no two tests of this process may hold taps of one name.
    ///   - after: what the daemon that takes over from one that was killed in `body` does.
    private static func migrate(
        _ tap: String, mode: String = "replay",
        _ body: @escaping @Sendable (DaemonLab, FakeMonitor, Guest) throws -> Void,
        after: (@Sendable (DaemonLab, FakeMonitor, Guest) throws -> Void)? = nil
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            try Command.script("ip tuntap add dev \(tap) mode tap\nip link set \(tap) addrgenmode none master br0 up")
            let guest = try Guest(tap)
            try MigrationHosts.waitForForwarding(tap)
            let monitor = try FakeMonitor()
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --port \(tap) --uplink uplink0 --at local --address \(mac)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let configuration =
                "[log]\nlevel = \"debug\"\n[replay]\nmode = \"\(mode)\"\n"
                + "[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve(status: "running")
                try daemon.waitFor("to=standby")
                monitor.tell("MIGRATION", #"{"status": "setup"}"#)
                monitor.tell("MIGRATION", #"{"status": "active"}"#)
                try daemon.waitFor("to=migrating")
                try guest.send(0..<5)
                guest.read()
                monitor.tell("STOP")
                // What is heard next is heard once that was dealt with.
                monitor.tell("MIGRATION", #"{"status": "device"}"#)
                try daemon.waitFor("rawValue: \\\"MIGRATION\\\"", times: 3)
                try body(daemon, monitor, guest)
            }
            guard let after else { return }
            monitor.hangUp()
            try DaemonLab.run(in: lab, configuration: configuration, log: "second") { daemon in
                try monitor.serve(status: "postmigrate", migration: "completed")
                try after(daemon, monitor, guest)
            }
        }
    }

    /// The guest's end of the tap, and what the fabric sees.
    private final class Guest {
        let tap: TapReader
        private let fabric: Int32

        init(_ name: String) throws {
            fabric = try Interface.open(ReplayLabTests.far, type: UInt16(ETH_P_ALL), receiveBuffer: 1 << 20)
            tap = try TapReader(name)
        }

        deinit { close(fabric) }

        /// Reads what waits in the tap.
        func read() { _ = tap.hasReceived(frameTo: ReplayLabTests.mac) }

        /// Another guest's frames with these numbers, which go to the tap.
        func send(_ numbers: Range<UInt8>) throws {
            let output = try Interface.open(BridgeLab.far("vfrep0"), type: 0x88b5, receiveBuffer: 0)
            defer { close(output) }
            for number in numbers {
                let frame =
                    Interface.octets(ReplayLabTests.mac) + Interface.octets("52:54:00:fd:b5:fe") + [0x88, 0xb5, number]
                    + [UInt8](repeating: 0x5a, count: 45)
                guard Glibc.send(output, frame, frame.count, 0) == frame.count else { throw LabError("cannot send") }
            }
        }

        /// The numbers of frames for the guest that the fabric has got, with their sources; waits until there are so many.
        func arrived(_ least: Int) -> [(number: UInt8, source: [UInt8])] {
            var found: [(UInt8, [UInt8])] = []
            var frames = [clab_frame](repeating: clab_frame(), count: Int(CLAB_BATCH))
            for _ in 0..<1000 {
                let count = Int(max(0, clab_receive(fabric, &frames)))
                for frame in frames.prefix(count) where frame.length > 0 {
                    withUnsafeBytes(of: frame.bytes) { bytes in
                        guard bytes.prefix(6).elementsEqual(Interface.octets(ReplayLabTests.mac)) else { return }
                        found.append((bytes[14], Array(bytes[6..<12])))
                    }
                }
                if found.count >= least { break }
                usleep(10_000)
            }
            return found
        }
    }

    /// It is seen at its new place, and its migration ends. In the other order it would have to be seen within a second.
    private static func leave(_ daemon: DaemonLab, _ monitor: FakeMonitor) throws {
        // The daemon listens some time after STOP.
        try daemon.lab.waitUntil {
            try BridgeLab.sendFrame(behind: "uplink0", source: mac)
            return daemon.count("what=seenElsewhere") > 0
        }
        monitor.tell("MIGRATION", #"{"status": "completed"}"#)
        try daemon.waitFor("to=gone")
        try daemon.waitForEntry("dev uplink0 master br0 static")
    }

    @Test func whatItsTapHeldWhenItWasStoppedIsSentToItsNewPlace() throws {
        try ReplayLabTests.migrate("vtapa") { daemon, monitor, guest in
            try guest.send(5..<12)
            try ReplayLabTests.leave(daemon, monitor)
            // With the last two frames that were read, because QEMU may have dropped them; the bridge's own may be among those.
            let arrived = guest.arrived(7)
            #expect(arrived.map(\.number).suffix(7) == Array(5..<12), "\(daemon.log)")
            #expect(Array(3..<5).suffix(arrived.count - 7) == arrived.map { Int($0.number) }.prefix(arrived.count - 7))
            let own = try Command.run(["ip", "-br", "link", "show", "dev", "uplink0"]).output.split(separator: " ")[2]
            #expect(
                arrived.allSatisfy { $0.source == Interface.octets(String(own)) },
                "nobody learns the sender at this host's port")
            try daemon.waitFor("part=blackout")
            let count = arrived.count
            #expect(daemon.log.contains("kept=\(count) "), "\(daemon.log)")
        }
    }

    @Test func aTapThatIsReadAfterTheGuestWasStoppedHasAnotherReader() throws {
        try ReplayLabTests.migrate("vtapb") { daemon, monitor, guest in
            try guest.send(5..<12)
            guest.read()
            try ReplayLabTests.leave(daemon, monitor)
            try daemon.waitFor("vtapb was read after the guest had been stopped")
            try guest.send(20..<21)
            #expect(guest.arrived(1).map(\.number) == [20])
        }
    }

    @Test(arguments: ["off", "replay"]) func nothingIsSentWithoutReplayOrWhenTheGuestRunsOn(mode: String) throws {
        try ReplayLabTests.migrate("vtap-\(mode)", mode: mode) { daemon, monitor, guest in
            try guest.send(5..<12)
            if mode == "replay" {
                monitor.tell("MIGRATION", #"{"status": "failed"}"#)
                monitor.tell("RESUME")
                try daemon.waitFor("the guest runs on here")
                let isThere = guest.tap.hasReceived(frameTo: ReplayLabTests.mac)
                #expect(isThere, "what waits in the tap is its own")
                try daemon.waitForEntry("dev vtap-\(mode) master br0 static")
            } else {
                try ReplayLabTests.leave(daemon, monitor)
                try guest.send(20..<21)
                #expect(guest.arrived(1).map(\.number) == [20])
            }
            #expect(daemon.count("was sent again") == 0, "\(daemon.log)")
        }
    }

    // MARK: - Bad ends

    /// What it had kept is lost with it, and nothing else: the entries go where they would have gone, and nothing is sent twice.
    @Test(arguments: ["stopped", "departing"]) func aDaemonThatIsKilledTakesItsFramesAlong(step: String) throws {
        let tap = "vtap-\(step.prefix(4))"
        try ReplayLabTests.migrate(tap) { daemon, monitor, guest in
            try guest.send(5..<12)
            try daemon.waitForEntry("dev \(tap) master br0 static")
            if step == "departing" {
                monitor.tell("MIGRATION", #"{"status": "completed"}"#)
                try daemon.waitFor("to=gone")
            }
            kill(daemon.process, SIGKILL)
        } after: { daemon, _, guest in
            try daemon.waitForEntry("dev uplink0 master br0 static")
            try guest.send(20..<21)
            #expect(guest.arrived(1).map(\.number) == [20])
            #expect(daemon.count("was sent again") == 0, "\(daemon.log)")
        }
    }

    /// An uplink may show the CPU none of its frames.
    @Test func anEntryThatAControlPlaneMovesToTheUplinkShowsThatTheGuestIsThere() throws {
        try ReplayLabTests.migrate("vtape") { daemon, monitor, guest in
            try guest.send(5..<12)
            try daemon.lab.waitUntil {
                try Command.script(
                    """
                    bridge fdb replace \(ReplayLabTests.mac) dev vtape master static
                    bridge fdb replace \(ReplayLabTests.mac) dev uplink0 master dynamic extern_learn
                    """)
                return daemon.count("what=seenElsewhere") > 0
            }
            monitor.tell("MIGRATION", #"{"status": "completed"}"#)
            try daemon.waitFor("to=remote")
            #expect(guest.arrived(7).map(\.number).suffix(7) == Array(5..<12), "\(daemon.log)")
        }
    }

    /// Somebody lets it run on here after all.
    @Test func aGuestThatRunsOnAfterItsMigrationKeepsItsEntriesAndItsFrames() throws {
        try ReplayLabTests.migrate("vtapr") { daemon, monitor, guest in
            try guest.send(5..<12)
            monitor.tell("MIGRATION", #"{"status": "completed"}"#)
            try daemon.waitFor("to=gone")
            monitor.tell("RESUME")
            try daemon.waitFor("what it missed is not sent again")
            try daemon.waitForEntry("dev vtapr master br0 static")
            let isThere = guest.tap.hasReceived(frameTo: ReplayLabTests.mac)
            #expect(isThere && daemon.count("was sent again") == 0, "\(daemon.log)")
        }
    }

    /// Nothing can be told of when it gives up its primary, and nobody reads its standby that the counters tell of: it is migrated as
    /// without replay, also by a daemon that was killed on the way.
    @Test func aPairThatDoesNotAnswerIsMigratedAsWithoutReplay() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare("--kind net_failover")
            let monitor = try FakeMonitor()
            let configuration =
                "[log]\nlevel = \"debug\"\n[replay]\nmode = \"replay\"\n"
                + "[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\nprimary_device = \"prim\"\n"
            @Sendable func isCopied() throws -> Bool {
                try lab.fdbsteer("status vm1 --json").output.contains("\"is_copy_right\" : true")
            }
            try DaemonLab.run(in: lab, configuration: configuration, log: "first") { daemon in
                try monitor.serve(status: "running")
                try daemon.waitFor("to=primary")
                monitor.tell("MIGRATION", #"{"status": "setup"}"#)
                monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
                try daemon.waitFor("bracket opened")
                try daemon.waitFor("the guest is not known to answer questions")
                #expect(daemon.count("is not sent again") == 1, "\(daemon.log)")
                #expect(try isCopied())
                kill(daemon.process, SIGKILL)
            }
            monitor.hangUp()
            try DaemonLab.run(in: lab, configuration: configuration, log: "second") { daemon in
                #expect(try isCopied())
                try monitor.serve(status: "running", migration: "wait-unplug")
                try daemon.waitFor("to=leaving")
                monitor.tell("MIGRATION", #"{"status": "active"}"#)
                try daemon.waitFor("to=migrating")
                monitor.tell("STOP")
                try ReplayLabTests.leave(daemon, monitor)
                try daemon.waitFor("does not read tap0")
                #expect(daemon.count("was sent again") == 0, "\(daemon.log)")
            }
        }
    }
}
