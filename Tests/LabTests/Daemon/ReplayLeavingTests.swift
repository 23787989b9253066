import CLab
import Glibc
import Lab
import Testing

/// What a guest misses while it gives up its primary (docs/zero.md). The test has the guest's ports, which answer or do not, and the
/// monitor.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct ReplayLeavingTests {
    private static let ip = "192.0.2.7"

    /// A guest that is a namespace and answers by its primary, was asked for that, and has both ports.
    private static func leave(
        _ body: @escaping @Sendable (DaemonLab, FakeMonitor, AskedGuest) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let guest = try AskedGuest(by: ["tap0", "vfrep0"], ip: ip)
            try guest.namespace.run {
                try Command.script(
                    """
                    sysctl -q -w net.ipv4.conf.all.arp_ignore=1
                    ip addr del \(ip)/24 dev tap0-far
                    """)
            }
            try lab.prepare("--kind net_failover --ip \(ip)")
            let monitor = try FakeMonitor()
            let configuration =
                "[log]\nlevel = \"debug\"\n[replay]\nmode = \"replay\"\n[bracket]\ntimeout = \"2s\"\n"
                + "[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\nprimary_device = \"prim\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve(status: "running")
                try daemon.waitFor("msg=\"answers questions\" by=primary guest=vm1")
                monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
                try daemon.waitFor("bracket opened")
                try body(daemon, monitor, guest)
            }
        }
    }

    private static func script(_ guest: AskedGuest, _ line: String) throws {
        try guest.namespace.run { try Command.script(line) }
    }

    /// The questions by its primary in a fifth of a second.
    private static func asks(_ guest: AskedGuest) throws -> Int {
        try guest.namespace.run {
            let heard = try Overhearing("vfrep0-far")
            usleep(200_000)
            return heard.asks()
        }
    }

    @Test func whatItsStandbyDroppedIsSentThereAgainWhenItAnswersByIt() throws {
        try ReplayLeavingTests.leave { daemon, _, guest in
            let standby = try guest.namespace.run {
                try Interface.open("tap0-far", type: 0x88b5, receiveBuffer: 1 << 20)
            }
            defer { close(standby) }
            try Self.script(guest, "ip addr del \(Self.ip)/24 dev vfrep0-far")
            try ReplayArrivalTests.send(0..<10)
            try Self.script(guest, "ip addr add \(Self.ip)/24 dev tap0-far")
            try daemon.waitFor("part=leaving")
            var found: [UInt8] = []
            var frame = [UInt8](repeating: 0, count: 128)
            try daemon.lab.waitUntil {
                while recv(standby, &frame, frame.count, Int32(MSG_DONTWAIT)) >= 15 { found.append(frame[14]) }
                return found.count >= 20
            }
            #expect(found == Array(0..<10) + Array(0..<10), "\(daemon.log)")
        }
    }

    /// It may keep its primary for good: it is asked no longer than it is waited for.
    @Test func whoAnswersByNeitherPortIsNotAskedForEver() throws {
        try ReplayLeavingTests.leave { daemon, _, guest in
            try Self.script(guest, "ip addr del \(Self.ip)/24 dev vfrep0-far")
            try daemon.waitFor("the guest has not given up its primary for 2 s")
            try daemon.waitFor("the guest did not say when it took its standby's frames")
            #expect(try ReplayLeavingTests.asks(guest) == 0)
        }
    }

    /// A question would be a conflict to it.
    @Test func whoProbesItsAddressItselfIsNotAskedMeanwhile() throws {
        try ReplayLeavingTests.leave { daemon, _, guest in
            let mac = Interface.octets(CommandLineLab.mac)
            let probe = FrameProbe(
                to: "ff:ff:ff:ff:ff:ff", from: CommandLineLab.mac, type: 0x0806,
                payload: [0, 1, 8, 0, 6, 4, 0, 1] + mac + [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 7])
            _ = try guest.namespace.run { try probe.send(from: "vfrep0-far", lookingAt: "lo") }
            try daemon.waitFor("the guest is probing whether its address is free")
            #expect(try ReplayLeavingTests.asks(guest) == 0)
        }
    }
}
