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
    ///
    /// - Parameter isOrdered: by a command, because its primary will be taken away without a migration.
    private static func leave(
        isOrdered: Bool = false, _ body: @escaping @Sendable (DaemonLab, FakeMonitor, AskedGuest) throws -> Void
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
                if isOrdered {
                    let opened = try lab.fdbsteer("switch vm1 --to standby --strategy bracket")
                    #expect(opened.exitCode == 0, "\(opened.errors)")
                    try daemon.waitFor("redirected by others")
                    try monitor.serveAgain()
                } else {
                    monitor.tell("MIGRATION", #"{"status": "setup"}"#)
                    monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
                    try daemon.waitFor("bracket opened")
                }
                try daemon.waitFor("to=leaving")
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

    /// Its primary is asked for by QEMU, or somebody orders its removal, who may also be the one that sees its end.
    @Test(arguments: ["migration", "DEVICE_DELETED", "--close"])
    func whatItsStandbyDroppedIsSentThereAgainWhenItAnswersByIt(end: String) throws {
        try ReplayLeavingTests.leave(isOrdered: end != "migration") { daemon, monitor, guest in
            let standby = try guest.namespace.run {
                try Interface.open("tap0-far", type: 0x88b5, receiveBuffer: 1 << 20)
            }
            defer { close(standby) }
            // What it still sends by its primary is no sign that it keeps it.
            let own = FrameProbe(to: "52:54:00:fd:b5:fe", from: CommandLineLab.mac)
            _ = try guest.namespace.run { try own.send(from: "vfrep0-far", lookingAt: "lo") }
            try Self.script(guest, "ip addr del \(Self.ip)/24 dev vfrep0-far")
            try ReplayArrivalTests.send(0..<10)
            switch end {
            case "DEVICE_DELETED": monitor.tell(end, #"{"device": "prim", "path": "/machine/peripheral/prim"}"#)
            case "--close":
                let closed = try daemon.lab.fdbsteer("switch vm1 --to standby --close")
                #expect(closed.exitCode == 0, "\(closed.errors)")
                try daemon.waitFor("redirected by others", times: 2)
                try monitor.serveAgain()
            default: break
            }
            try Self.script(guest, "ip addr add \(Self.ip)/24 dev tap0-far")
            try daemon.waitFor("part=leaving")
            if end != "migration" { try daemon.waitFor("guest=vm1 to=standby") }
            var found: [UInt8] = []
            var frame = [UInt8](repeating: 0, count: 128)
            try daemon.lab.waitUntil {
                while recv(standby, &frame, frame.count, Int32(MSG_DONTWAIT)) >= 15 { found.append(frame[14]) }
                return found.count >= 20
            }
            #expect(found == Array(0..<10) + Array(0..<10), "\(daemon.log)")
            let view = try daemon.lab.fdbsteer("status vm1 --json").output
            #expect(view.contains("\"phase\" : \"\(end == "migration" ? "bracketed" : "pinned")\""), "\(view)")
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
