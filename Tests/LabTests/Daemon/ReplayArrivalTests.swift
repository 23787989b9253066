import CLab
import Glibc
import Lab
import Testing

/// What a guest would miss on the host where it arrives (docs/zero.md). The test has the guest's ports and the monitor.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct ReplayArrivalTests {
    private static let mac = CommandLineLab.mac
    private static let ip = "192.0.2.7"

    private static func rules() throws -> String { try Command.run(["nft", "list", "ruleset"]).output }

    /// Sends numbered frames to the guest, or to everybody, from beyond the uplink.
    static func send(
        _ numbers: Range<Int>, to mac: String = mac, by interface: String = BridgeLab.far("uplink0")
    ) throws {
        let output = try Interface.open(interface, type: 0x88b5, receiveBuffer: 0)
        defer { close(output) }
        for number in numbers {
            let frame =
                Interface.octets(mac) + Interface.octets("52:54:00:fd:b5:fe") + [0x88, 0xb5, UInt8(number & 0xff)]
                + [UInt8](repeating: 0x5a, count: 45)
            // ENOBUFS: the port's own queue is full.
            guard Glibc.send(output, frame, frame.count, 0) == frame.count || errno == ENOBUFS else {
                throw LabError("cannot send")
            }
        }
    }

    // MARK: - The standby's queue

    /// A guest with one port that is a tap, which is awaited.
    private static func expect(
        _ tap: String, mode: String,
        _ body: @escaping @Sendable (DaemonLab, FakeMonitor, borrowing TapReader) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: true) { lab in
            try Command.script("ip tuntap add dev \(tap) mode tap\nip link set \(tap) addrgenmode none master br0 up")
            let reader = try TapReader(tap)
            try MigrationHosts.waitForForwarding(tap)
            let monitor = try FakeMonitor()
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --port \(tap) --uplink uplink0 --at remote --address \(mac) --replay \(mode)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let configuration =
                "[log]\nlevel = \"debug\"\n[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve(status: "inmigrate", migration: "setup")
                try daemon.waitFor("to=awaited")
                try body(daemon, monitor, reader)
            }
        }
    }

    /// A tap holds 1,000 frames, and nobody reads it before the guest is there.
    @Test(arguments: ["off", "replay"]) func broadcastsDoNotFillTheQueueOfAnAwaitedGuest(mode: String) throws {
        let tap = "vtapq-\(mode)"
        try ReplayArrivalTests.expect(tap, mode: mode) { daemon, monitor, reader in
            if mode == "replay" { try daemon.lab.waitUntil { try Self.rules().contains("chain queue-") } }
            try ReplayArrivalTests.send(0..<1500, to: "ff:ff:ff:ff:ff:ff")
            // What goes to the guest itself leaves by the port, and waits.
            try ReplayArrivalTests.send(0..<50, by: tap)
            monitor.tell("RESUME")
            try daemon.waitForEntry("dev \(tap) master br0 static")
            try daemon.lab.waitUntil { try !Self.rules().contains("chain queue-") }
            try ReplayArrivalTests.send(0..<50)
            var received = reader.received(framesTo: Self.mac)
            if mode == "replay" {
                try daemon.lab.waitUntil {
                    received += reader.received(framesTo: Self.mac)
                    return received >= 100
                }
            }
            #expect(received == (mode == "replay" ? 100 : 0), "\(daemon.log)")
            // Nothing is kept out any more.
            try ReplayArrivalTests.send(0..<1, to: "ff:ff:ff:ff:ff:ff")
            try daemon.lab.waitUntil { reader.hasReceived(frameTo: "ff:ff:ff:ff:ff:ff") }
        }
    }

    /// A guest that comes while the daemon is dead gets everything.
    @Test func aDaemonThatIsKilledKeepsNothingFromAnAwaitedGuest() throws {
        try ReplayArrivalTests.expect("vtapk", mode: "replay") { daemon, _, reader in
            try daemon.lab.waitUntil { try Self.rules().contains("chain queue-") }
            kill(daemon.process, SIGKILL)
            try daemon.lab.waitUntil { try !Self.rules().contains("chain queue-") }
            try ReplayArrivalTests.send(0..<1, to: "ff:ff:ff:ff:ff:ff")
            try daemon.lab.waitUntil { reader.hasReceived(frameTo: "ff:ff:ff:ff:ff:ff") }
        }
    }

    /// Whose monitor is not heard may have come.
    @Test func nothingIsKeptFromAGuestWhoseMonitorIsNotHeard() throws {
        try ReplayArrivalTests.expect("vtaph", mode: "replay") { daemon, monitor, _ in
            try daemon.lab.waitUntil { try Self.rules().contains("chain queue-") }
            monitor.hangUp()
            try daemon.lab.waitUntil { try !Self.rules().contains("chain queue-") }
        }
    }

    // MARK: - A primary without carrier

    /// A guest that is a namespace: it has its IP address on one of its NICs, and answers there.
    private struct Pair {
        let guest: AskedGuest
        private let primary: Int32

        init() throws {
            guest = try AskedGuest(by: ["tap0", "vfrep0"], ip: ReplayArrivalTests.ip)
            primary = try guest.namespace.run {
                try Command.script(
                    """
                    sysctl -q -w net.ipv4.conf.all.arp_ignore=1
                    ip addr del \(ReplayArrivalTests.ip)/24 dev vfrep0-far
                    """)
                return try Interface.open("vfrep0-far", type: 0x88b5, receiveBuffer: 1 << 20)
            }
        }

        func close() { Glibc.close(primary) }

        /// From now on its standby's frames are dropped: nothing by that is answered.
        func registersPrimary() throws {
            try guest.namespace.run { try Command.script("ip addr del \(ReplayArrivalTests.ip)/24 dev tap0-far") }
        }

        func answersByStandby() throws {
            try guest.namespace.run { try Command.script("ip addr add \(ReplayArrivalTests.ip)/24 dev tap0-far") }
        }

        func primaryHasCarrier() throws {
            try guest.namespace.run { try Command.script("ip addr add \(ReplayArrivalTests.ip)/24 dev vfrep0-far") }
        }

        /// The numbers of the frames that have come by its primary.
        func byPrimary() -> [UInt8] {
            var numbers: [UInt8] = []
            var frame = [UInt8](repeating: 0, count: 128)
            while recv(primary, &frame, frame.count, Int32(MSG_DONTWAIT)) >= 15 {
                if frame[..<6].elementsEqual(Interface.octets(ReplayArrivalTests.mac)) { numbers.append(frame[14]) }
            }
            return numbers
        }
    }

    /// - Parameter other: the ports of another guest; empty: there is none.
    private static func come(
        ip: String, beside other: String = "", answers: Bool = true,
        _ body: @escaping @Sendable (DaemonLab, FakeMonitor, Pair) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let pair = try Pair()
            defer { pair.close() }
            if !answers { try pair.registersPrimary() }
            let monitor = try FakeMonitor()
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover --at remote "
                    + "--address \(mac) --ip \(ip)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            if !other.isEmpty {
                try lab.lab.addPort("third0")
                let second = try lab.fdbsteer(
                    "prepare vm2 --bridge br0 \(other) --uplink uplink0 --at remote --address 52:54:00:00:00:02")
                #expect(second.exitCode == 0, "\(second.errors)")
            }
            let configuration =
                "[log]\nlevel = \"debug\"\n[replay]\nmode = \"replay\"\n"
                + "[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\nprimary_device = \"prim\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve(status: "inmigrate", migration: "setup")
                try daemon.waitFor("to=awaited")
                monitor.tell("FAILOVER_NEGOTIATED", #"{"device-id": "standby0"}"#)
                try daemon.waitForEntry("dev tap0 master br0 static")
                monitor.tell("RESUME")
                try daemon.waitFor("to=coming")
                try body(daemon, monitor, pair)
            }
        }
    }

    @Test func whatItsStandbyCarriedWhileItsPrimaryHadNoCarrierIsSentToThePrimary() throws {
        try ReplayArrivalTests.come(ip: Self.ip) { daemon, _, pair in
            try ReplayArrivalTests.send(0..<10)
            try Self.waitForAnswer(daemon)
            try pair.registersPrimary()
            try ReplayArrivalTests.send(10..<20)
            try pair.primaryHasCarrier()
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            try daemon.waitFor("part=arriving")
            try ReplayArrivalTests.send(20..<25)
            var found: [UInt8] = []
            try daemon.lab.waitUntil {
                found += pair.byPrimary()
                return found.last == 24
            }
            #expect(found.suffix(15) == Array(10..<25), "\(found)\n\(daemon.log)")
            #expect(try !Self.rules().contains("chain queue-"))
            let events = TextFile.read(daemon.lab.state + "/events.log")
            #expect(events.contains("\"event\":\"replay\"") && events.contains("\"part\":\"arriving\""), "\(events)")
        }
    }

    /// Waits until the guest has answered by its standby: one that had not within a tenth of a second got its copies, until it did.
    private static func waitForAnswer(_ daemon: DaemonLab) throws {
        usleep(200_000)
        try daemon.lab.waitUntil { try rules().contains("chain queue-") }
    }

    /// Sends one more frame than the ten that the guest may have missed: it gets all by its primary, each once and in order.
    private static func expectEachOnce(_ daemon: DaemonLab, _ pair: Pair) throws {
        try send(10..<11)
        var found: [UInt8] = []
        try daemon.lab.waitUntil {
            found += pair.byPrimary()
            return found.last == 10
        }
        #expect(found == Array(0..<11), "\(daemon.log)")
    }

    /// It is asked itself where it takes frames: QEMU's monitor says nothing of that.
    @Test func aMonitorThatIsNotHeardDoublesNothing() throws {
        try ReplayArrivalTests.come(ip: Self.ip) { daemon, monitor, pair in
            try Self.waitForAnswer(daemon)
            try pair.registersPrimary()
            monitor.hangUp()
            try daemon.waitFor("the monitor is not heard")
            try ReplayArrivalTests.send(0..<10)
            try pair.primaryHasCarrier()
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            try daemon.waitFor("kept=10 part=arriving")
            try Self.expectEachOnce(daemon, pair)
        }
    }

    /// Copies are kept from no port that has another guest's frames, so that nothing is to be sent again.
    @Test func whatReachesItsPrimaryAsACopyIsNotSentAgain() throws {
        try ReplayArrivalTests.come(ip: Self.ip, beside: "--primary vfrep0 --standby third0") { daemon, _, pair in
            try daemon.waitFor("could not be kept from vfrep0")
            try pair.registersPrimary()
            try ReplayArrivalTests.send(0..<10)
            try pair.primaryHasCarrier()
            try pair.guest.speak(by: "vfrep0-far")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            try Self.expectEachOnce(daemon, pair)
            #expect(daemon.count("was sent again") == 0)
        }
    }

    /// What was kept from its primary it has nowhere else.
    @Test func whoIsRedirectedByHandWhileItArrivesLosesNothing() throws {
        try ReplayArrivalTests.come(ip: Self.ip) { daemon, _, pair in
            try Self.waitForAnswer(daemon)
            try pair.registersPrimary()
            try ReplayArrivalTests.send(0..<10)
            #expect(try daemon.lab.fdbsteer("switch vm1 --to primary --close").exitCode == 0)
            try daemon.waitFor("kept=10 part=arriving")
            try Self.expectEachOnce(daemon, pair)
        }
    }

    /// A guest on a busy host may be slow: once it answers, what it may miss is kept, and reaches it once.
    @Test func whoAnswersLateMissesNothingFromThenOn() throws {
        try ReplayArrivalTests.come(ip: Self.ip, answers: false) { daemon, _, pair in
            try daemon.waitFor("part=arriving")
            #expect(try !Self.rules().contains("chain queue-"))
            try pair.answersByStandby()
            try daemon.lab.waitUntil { try Self.rules().contains("chain queue-") }
            try pair.registersPrimary()
            try ReplayArrivalTests.send(0..<10)
            try pair.primaryHasCarrier()
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            try daemon.waitFor("part=arriving", times: 2)
            try Self.expectEachOnce(daemon, pair)
        }
    }

    /// At another address than it has: nothing is kept from its primary, and it gets that as without replay.
    @Test func whoDoesNotAnswerGetsItsPrimaryAsWithoutReplay() throws {
        try ReplayArrivalTests.come(ip: "192.0.2.99") { daemon, _, pair in
            try daemon.waitFor("part=arriving")
            #expect(try !Self.rules().contains("chain queue-"))
            try ReplayArrivalTests.send(0..<10)
            var found: [UInt8] = []
            try daemon.lab.waitUntil {
                found += pair.byPrimary()
                return found.count >= 10
            }
            #expect(found == Array(0..<10), "copies reach it: \(daemon.log)")
            try pair.guest.speak(by: "vfrep0-far")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
        }
    }
}
