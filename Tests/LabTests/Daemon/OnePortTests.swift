import Glibc
import Lab
import Testing

/// Guests with one port on each host: a tap, a veth, or the representor of a VF that migrates along.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct OnePortTests {
    private static let mac = CommandLineLab.mac

    private static func prepare(_ lab: CommandLineLab, at side: String, _ extra: String = "") throws {
        let command = try lab.fdbsteer(
            "prepare vm1 --bridge br0 --port tap0 --uplink uplink0 --at \(side) --address \(mac) \(extra)")
        #expect(command.exitCode == 0, "\(command.errors)")
    }

    @Test func itGoesAndComesBackAndIsGivenBack() throws {
        try CommandLineLab.run(flooding: false) { lab in
            let before = try lab.table()
            try OnePortTests.prepare(lab, at: "local")
            #expect(
                try lab.fdbsteer("prepare vm1 --bridge br0 --port tap0 --uplink uplink0 --address \(OnePortTests.mac)")
                    .output.contains("already prepared"))
            for side in ["remote", "local", "remote"] {
                let port = side == "local" ? "tap0" : "uplink0"
                #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
                #expect(try lab.lab.entry(OnePortTests.mac)?.contains("dev \(port) master br0 static") == true)
                #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
                #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"\(side)\""))
            }
            let learning = try Command.run(["bridge", "-d", "link", "show", "dev", "tap0"]).output
            #expect(learning.contains("learning on"), "the first frame here brings the addresses along: \(learning)")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "one port", "local and remote")
            try lab.refused("switch vm1 --to primary", code: 3, saying: "one port")
            try lab.refused("switch vm1 --to local --strategy bracket", code: 3, saying: "one port", "--strategy cut")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            try Command.script("bridge fdb del \(OnePortTests.mac) dev uplink0 master")
            #expect(try lab.table() == before)
        }
    }

    /// What Proxmox VE, libvirt and CNI plugins keep on their ports is named, taken over, and given back as it was.
    @Test(arguments: [
        ("tap100i0", "learning off flood off", "Proxmox VE"), ("fwpr100p0", "learning off flood on", "Proxmox VE"),
        ("vnet7", "learning off flood off", "libvirt"), ("veth0a1b2c3d", "learning on flood on", "CNI"),
    ])
    func entriesOfOthersAreGivenBack(port: String, flags: String, owner: String) throws {
        try CommandLineLab.run { lab in
            // The far end's name is too long where the port's is.
            try lab.lab.addPort("own7")
            try Command.script(
                "ip link set own7 name \(port)\nbridge link set dev \(port) \(flags)\nbridge fdb append \(OnePortTests.mac) dev \(port) master static"
            )
            func settings() throws -> String {
                let entry = try #require(try lab.lab.entry(OnePortTests.mac))
                return try Command.run(["bridge", "-d", "link", "show", "dev", port]).output + entry
            }
            let before = try (lab.table(), settings())
            let guest = "--bridge br0 --port \(port) --uplink uplink0 --address \(OnePortTests.mac)"
            for command in ["preflight \(guest)", "topology"] {
                let found = try lab.fdbsteer(command).output
                #expect(found.contains(owner) && found.contains("1 static, learning"), "\(found)")
            }
            #expect(try lab.fdbsteer("prepare vm1 \(guest) --at local").exitCode == 0)
            #expect(try !lab.fdbsteer("topology").output.contains("1 static, learning"), "the entry is fdbsteer's now")
            for side in ["remote", "local"] { #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0) }
            let released = try lab.fdbsteer("release vm1")
            #expect(released.exitCode == 0, "\(released.errors)")
            let after = try settings()
            #expect(after == before.1)
            #expect(try lab.table() == before.0)
        }
    }

    @Test func whatContradictsItselfIsRefused() throws {
        try CommandLineLab.run { lab in
            let begin = "prepare vm1 --bridge br0 --address \(OnePortTests.mac)"
            try lab.refused("\(begin) --port tap0 --at primary", code: 64, saying: "one port", "--at local or remote")
            try lab.refused("\(begin) --port tap0 --at remote", code: 64, saying: "--uplink")
            try lab.refused("\(begin) --port tap0 --uplink tap0 --at local", code: 64, saying: "same port")
            try lab.refused("\(begin) --port tap0 --at local --kind bond", code: 64, saying: "--kind")
            try lab.refused("\(begin) --port none0 --at local", code: 3, saying: "none0")
            try lab.refused("\(begin) --primary vfrep0 --standby tap0 --at local", code: 64, saying: "no side local")
            try lab.prepare()
            try lab.refused("switch vm1 --to local", code: 3, saying: "no side local", "primary, standby and remote")
            try lab.refused("\(begin) --port tap0 --at local", code: 3, saying: "its primary is vfrep0, not none")
        }
    }

    @Test func theFirstFrameOfAGuestThatArrivesBringsItsEntryAndItIsPinned() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try OnePortTests.prepare(lab, at: "remote")
            try DaemonLab.run(in: lab) { daemon in
                for _ in 0..<300
                where daemon.count("to local") + daemon.count("to=local") + daemon.count("local\"") == 0 {
                    try BridgeLab.sendFrame(behind: "tap0", source: OnePortTests.mac)
                    usleep(20_000)
                }
                try daemon.waitForEntry("dev tap0 master br0 static")
                try OnePortTests.waitForSide("local", daemon)
                #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
                #expect(daemon.count("repaired") == 0, "\(daemon.log)")
            }
        }
    }

    /// Its machine has ended, and its port with it: where its frames come from now, it is.
    @Test(arguments: [["tap0"], ["vfrep0", "tap0"]]) func aGuestWhosePortsAreGoneIsWhereItsFramesAre(_ ports: [String])
        throws
    {
        try CommandLineLab.run(flooding: false) { lab in
            if ports.count == 1 { try OnePortTests.prepare(lab, at: "local") } else { try lab.prepare() }
            try DaemonLab.run(in: lab) { daemon in
                for port in ports { try Command.script("ip link del \(port)") }
                try daemon.waitFor("code=no-interface")
                #expect(daemon.count("to=remote") == 0, "\(daemon.log)")
                try BridgeLab.sendFrame(behind: "uplink0", source: OnePortTests.mac)
                try OnePortTests.waitForSide("remote", daemon)
                try daemon.waitForEntry("dev uplink0 master br0 static")
            }
        }
    }

    private static func waitForSide(_ side: String, _ daemon: DaemonLab) throws {
        for _ in 0..<1000 {
            if try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"\(side)\"") { return }
            usleep(10_000)
        }
        throw LabError("the guest is not on side \(side):\n\(daemon.log)")
    }

    /// How many frames an interface has received.
    private static func received(_ interface: String) throws -> Int {
        let shown = try Command.run(["ip", "-s", "-j", "link", "show", "dev", interface]).output
        return Int(try #require(shown.firstMatch(of: /"rx":\{"bytes":\d+,"packets":(\d+)/)).output.1) ?? 0
    }

    private static func follow(
        at side: String, status: String, _ extra: String = "",
        _ body: @escaping @Sendable (DaemonLab, FakeMonitor) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let monitor = try FakeMonitor()
            try OnePortTests.prepare(lab, at: side, "--ip 192.0.2.7,2001:db8::7 " + extra)
            let configuration =
                "[log]\nlevel = \"debug\"\n[[guest]]\nid = \"vm1\"\nqmp = \"\(monitor.path)\"\nfollow = true\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try monitor.serve(status: status)
                try body(daemon, monitor)
            }
        }
    }

    @Test func aTargetIsLocalFromResumeOnAndAnnounced() throws {
        try OnePortTests.follow(at: "remote", status: "inmigrate") { daemon, monitor in
            try daemon.waitFor("to=awaited")
            monitor.tell("MIGRATION", #"{"status": "setup"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            // A pod's kernel speaks early.
            try BridgeLab.sendFrame(behind: "tap0", source: OnePortTests.mac)
            try daemon.waitForEntry("dev uplink0 master br0 static")
            let before = try OnePortTests.received(BridgeLab.far("uplink0"))
            monitor.tell("RESUME")
            monitor.tell("MIGRATION", #"{"status": "completed"}"#)
            try daemon.waitFor("to=standby")
            try daemon.waitForEntry("dev tap0 master br0 static")
            usleep(500_000)
            // Three rounds of RARP, a gratuitous ARP and an unsolicited neighbour advertisement.
            #expect(try OnePortTests.received(BridgeLab.far("uplink0")) - before >= 9, "\(daemon.log)")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(daemon.count("bracket opened") == 0 && daemon.count("needs-attention") == 0, "\(daemon.log)")
        }
    }

    /// QEMU announces the guest by its port just before RESUME, and whoever else is behind the port may send the same frame at any time.
    @Test func behindAGateQEMUsWordOpensAndNoAnnouncementDoes() throws {
        try OnePortTests.follow(at: "remote", status: "inmigrate", "--gate") { daemon, monitor in
            func isLocked() throws -> Bool {
                try Command.run(["bridge", "-d", "link", "show", "dev", "tap0"]).output.contains("locked on")
            }
            try daemon.waitFor("to=awaited")
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("active")
            for type: UInt16 in [0x8035, 0x0806, 0x86dd, 0x8035] {
                try BridgeLab.sendFrame(behind: "tap0", source: OnePortTests.mac, type: type)
            }
            usleep(200_000)
            #expect(try isLocked(), "\(daemon.log)")
            let before = try OnePortTests.received(BridgeLab.far("uplink0"))
            try daemon.waitForEntry("dev uplink0 master br0 static")
            monitor.tell("RESUME")
            try daemon.waitFor("to=standby")
            try daemon.waitForEntry("dev tap0 master br0 static")
            #expect(try !isLocked())
            usleep(500_000)
            // Three rounds of RARP, a gratuitous ARP and an unsolicited neighbour advertisement.
            #expect(try OnePortTests.received(BridgeLab.far("uplink0")) - before >= 9, "\(daemon.log)")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    @Test func aSourceBelievesTheUplinkOnceTheGuestIsStopped() throws {
        try OnePortTests.follow(at: "local", status: "running") { daemon, monitor in
            try daemon.waitFor("to=standby")
            monitor.tell("MIGRATION", #"{"status": "setup"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("to=migrating")
            for _ in 0..<3 {
                // A pod's kernel on the target speaks with the guest's MAC.
                try BridgeLab.sendFrame(behind: "uplink0", source: OnePortTests.mac)
                try daemon.waitForEntry("dev tap0 master br0 static")
            }
            monitor.tell("STOP")
            try daemon.waitFor("STOP")
            try BridgeLab.sendFrame(behind: "uplink0", source: OnePortTests.mac)
            usleep(300_000)
            try daemon.waitForEntry("dev uplink0 master br0 static")
            monitor.tell("MIGRATION", #"{"status": "completed"}"#)
            try daemon.waitFor("to=gone")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    @Test func aTargetWhoseMigrationFailsStaysRemote() throws {
        try OnePortTests.follow(at: "remote", status: "inmigrate") { daemon, monitor in
            try daemon.waitFor("to=awaited")
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            monitor.tell("MIGRATION", #"{"status": "failed"}"#)
            monitor.hangUp()
            try daemon.waitForEntry("dev uplink0 master br0 static")
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"remote\""))
        }
    }

    @Test(arguments: ["completed", "cancelled", "postcopy"]) func aSource(end: String) throws {
        try OnePortTests.follow(at: "local", status: "running") { daemon, monitor in
            try daemon.waitFor("to=standby")
            monitor.tell("MIGRATION", #"{"status": "setup"}"#)
            monitor.tell("MIGRATION", #"{"status": "active"}"#)
            try daemon.waitFor("to=migrating")
            switch end {
            case "cancelled":
                monitor.tell("MIGRATION", #"{"status": "cancelled"}"#)
                try daemon.waitFor("to=standby", times: 2)
                try daemon.waitForEntry("dev tap0 master br0 static")
            case "postcopy":
                monitor.tell("STOP")
                monitor.tell("MIGRATION", #"{"status": "postcopy-active"}"#)
                try daemon.waitFor("to=gone")
                try daemon.waitForEntry("dev uplink0 master br0 static")
            default:
                monitor.tell("STOP")
                monitor.tell("MIGRATION", #"{"status": "completed"}"#)
                try daemon.waitFor("to=gone")
                try daemon.waitForEntry("dev uplink0 master br0 static")
            }
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(daemon.count("repaired") == 0 && daemon.count("needs-attention") == 0, "\(daemon.log)")
        }
    }
}
