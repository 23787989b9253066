import Glibc
import Lab
import Testing

/// What fdbsteerd takes for a guest that comes or goes, and what not (docs/evidence.md), with a bridge that learns as kernels do.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct EvidenceTests {
    private static let mac = CommandLineLab.mac
    private static let other = "52:54:00:00:00:02"
    private static let impatient = "[daemon]\ndeparture_silence = \"2s\"\n"

    /// Sends frames, each followed by a pause.
    private static func send(
        behind port: String, _ source: String = mac, count: Int, milliseconds: UInt32 = 0
    ) throws {
        for _ in 0..<count {
            try BridgeLab.sendFrame(behind: port, source: source)
            usleep(milliseconds * 1000)
        }
    }

    private static func expect(_ daemon: DaemonLab, side: String, on port: String) throws {
        try daemon.waitForEntry("dev \(port) master br0 static")
        let status = try daemon.lab.fdbsteer("status vm1 --json").output
        #expect(status.contains("\"side\" : \"\(side)\""), "\(status)\n\(daemon.log)")
    }

    /// As many spoofed frames as somebody likes, between those of a guest that sends.
    @Test(arguments: [1, 2, 40])
    func spoofedFramesSendNoGuestAwayThatSpeaks(_ count: Int) throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try EvidenceTests.send(behind: "vfrep0", count: 1)
            for _ in 0..<3 {
                try EvidenceTests.send(behind: "uplink0", count: count, milliseconds: 5)
                try EvidenceTests.send(behind: "vfrep0", count: 1)
                try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
            }
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
            // One line for all of them.
            #expect(daemon.count("repaired") == 1, "\(daemon.log)")
            if count > 2 { #expect(daemon.count("code=address-contested") == 1, "\(daemon.log)") }
        }
    }

    /// A guest that lost its primary is here as long as its standby has a carrier, whoever uses its MAC.
    @Test func aPrimaryWithoutCarrierIsNoDepartureWhileTheStandbyHasOne() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try Command.script("ip link set vfrep0-far down")
            try daemon.waitFor("msg=condition code=no-carrier")
            try EvidenceTests.send(behind: "uplink0", count: 3, milliseconds: 40)
            try Command.script("ip link set vfrep0-far up")
            try daemon.waitFor("msg=\"condition over\" code=no-carrier")
            try EvidenceTests.send(behind: "vfrep0", count: 1)
            try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
            try Command.script("ip link set vfrep0-far down\nip link set tap0-far down")
            try daemon.waitFor("msg=condition code=no-carrier")
            try EvidenceTests.send(behind: "uplink0", count: 2, milliseconds: 40)
            try daemon.waitFor(
                "reason=\"no guest is behind its port, and the guest's frames come in by the uplink now\"")
            try EvidenceTests.expect(daemon, side: "remote", on: "uplink0")
        }
    }

    @Test func spoofedFramesEndWithTheirSender() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try EvidenceTests.send(behind: "uplink0", count: 20, milliseconds: 5)
            // The guest is silent: the entry returns a second after the last frame.
            try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
        }
    }

    @Test func aGuestThatIsSilentWhileItsFramesComeByTheUplinkHasLeft() throws {
        try DaemonLab.run(configuration: EvidenceTests.impatient) { daemon in
            try daemon.lab.prepare()
            try EvidenceTests.send(behind: "uplink0", count: 12, milliseconds: 200)
            try daemon.waitFor("reason=\"the guest's frames come in by the uplink now\"")
            try EvidenceTests.expect(daemon, side: "remote", on: "uplink0")
            // Whatever was concluded: its own port receives its frames.
            try EvidenceTests.send(behind: "vfrep0", count: 200, milliseconds: 15)
            try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
        }
    }

    @Test func aStrayFrameIsNoArrival() throws {
        try CommandLineLab.run(flooding: false) { lab in
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --at remote --address "
                    + EvidenceTests.mac)
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            try DaemonLab.run(in: lab) { daemon in
                try EvidenceTests.send(behind: "tap0", count: 1)
                // The bridge has learned it, as it would for a guest that has arrived.
                try EvidenceTests.expect(daemon, side: "remote", on: "tap0")
                try EvidenceTests.send(behind: "uplink0", count: 1)
                try EvidenceTests.expect(daemon, side: "remote", on: "uplink0")
                try EvidenceTests.send(behind: "tap0", count: 1)
                try EvidenceTests.expect(daemon, side: "remote", on: "tap0")
                // Nothing followed.
                try EvidenceTests.expect(daemon, side: "remote", on: "uplink0")
                #expect(daemon.count("redirected") == 0, "\(daemon.log)")
                try EvidenceTests.send(behind: "tap0", count: 60, milliseconds: 20)
                try daemon.waitFor("reason=\"the guest's frames come in by its standby\"")
                try EvidenceTests.expect(daemon, side: "standby", on: "tap0")
            }
        }
    }

    @Test func anAddressThatIsElsewhereMovesAlone() throws {
        try DaemonLab.run(configuration: EvidenceTests.impatient) { daemon in
            try daemon.lab.prepare("--address \(EvidenceTests.other)")
            for _ in 0..<30 {
                try EvidenceTests.send(behind: "uplink0", EvidenceTests.other, count: 1, milliseconds: 50)
                try EvidenceTests.send(behind: "vfrep0", count: 1, milliseconds: 50)
            }
            try daemon.waitFor("\(EvidenceTests.other): it is behind uplink0, while the guest sends by its own port")
            try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
            usleep(1_500_000)
            #expect(try daemon.lab.lab.entry(EvidenceTests.other)?.contains("dev uplink0") == true, "\(daemon.log)")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
            // It is the guest's again.
            try EvidenceTests.send(behind: "vfrep0", EvidenceTests.other, count: 1)
            for _ in 0..<300 where try daemon.lab.lab.entry(EvidenceTests.other)?.contains("dev vfrep0") != true {
                usleep(10_000)
            }
            #expect(try daemon.lab.lab.entry(EvidenceTests.other)?.contains("dev vfrep0") == true, "\(daemon.log)")
        }
    }

    @Test func aProgramThatWritesOnAnUplinkWithoutLearningIsNoFrame() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try Command.script("bridge link set dev uplink0 learning off")
            for repair in 1...3 {
                try Command.script("bridge fdb replace \(EvidenceTests.mac) dev uplink0 master static")
                try daemon.waitFor("repaired", times: repair)
                try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
            }
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
        }
    }

    @Test func aControlPlaneIsFollowed() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            try Command.script("bridge fdb replace \(EvidenceTests.mac) dev uplink0 master extern_learn")
            try daemon.waitFor("reason=\"a control plane has the guest behind the uplink now\"")
            #expect(daemon.count("repaired") == 0, "\(daemon.log)")
            let status = try daemon.lab.fdbsteer("status vm1 --json").output
            #expect(status.contains("\"side\" : \"remote\""), "\(status)")
            #expect(try daemon.lab.lab.entry(EvidenceTests.mac)?.contains("dev uplink0") == true)
        }
    }

    /// What the guest says stands above what the fabric says, but not often: each correction is an event of the whole fabric.
    @Test func aControlPlaneThatTheGuestContradictsIsCorrectedOnce() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            let claim = "bridge fdb replace \(EvidenceTests.mac) dev uplink0 master extern_learn"
            try Command.script(claim)
            usleep(50_000)
            try EvidenceTests.send(behind: "vfrep0", count: 1)
            try daemon.waitForEntry("dev vfrep0")
            // An entry with the flag would be the control plane's to move and to delete.
            #expect(try daemon.lab.lab.entry(EvidenceTests.mac)?.hasSuffix("dev vfrep0 master br0 static") == true)
            try Command.script(claim)
            try EvidenceTests.send(behind: "vfrep0", count: 10, milliseconds: 100)
            #expect(try daemon.lab.lab.entry(EvidenceTests.mac)?.contains("dev uplink0") == true, "\(daemon.log)")
            try daemon.waitFor("\(EvidenceTests.mac): a control plane has it behind uplink0, but the guest speaks here")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
        }
    }

    /// The kernel of a namespace answers for the guest, and says nothing by itself.
    private static func run(answering body: @escaping @Sendable (DaemonLab, NetworkNamespace) throws -> Void) throws {
        try CommandLineLab.run { lab in
            let guest = try NetworkNamespace()
            try Command.script("ip link set vfrep0-far netns \(guest.path)")
            try guest.run {
                try Command.script(
                    "ip link set vfrep0-far addrgenmode none address \(EvidenceTests.mac)\nip link set vfrep0-far up\n"
                        + "ip addr add 192.0.2.7/24 dev vfrep0-far nodad")
            }
            try lab.prepare("--ip 192.0.2.7")
            try DaemonLab.run(in: lab, configuration: "") { daemon in
                try daemon.waitFor("answers questions")
                try body(daemon, guest)
            }
        }
    }

    @Test func aGuestThatAnswersIsHereThoughItSaysNothing() throws {
        try EvidenceTests.run { daemon, _ in
            try EvidenceTests.send(behind: "uplink0", count: 30, milliseconds: 20)
            usleep(200_000)
            try EvidenceTests.expect(daemon, side: "primary", on: "vfrep0")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
        }
    }

    @Test func aGuestThatAnsweredAndIsSilentNowHasLeft() throws {
        try EvidenceTests.run { daemon, guest in
            try guest.run { try Command.script("ip addr flush dev vfrep0-far") }
            try EvidenceTests.send(behind: "uplink0", count: 10, milliseconds: 90)
            try daemon.waitFor("it has answered questions and answers none now, and the guest's frames come in by")
            try EvidenceTests.expect(daemon, side: "remote", on: "uplink0")
        }
    }

    /// A tunnel's control plane would advertise a sticky entry as an address that never moves.
    @Test func besideATunnelNoEntryIsSticky() throws {
        try CommandLineLab.run { lab in
            try Command.script(
                "ip link add vx100 type vxlan id 100 local 127.0.0.1 dstport 4789 nolearning\n"
                    + "ip link set vx100 master br0 up\nbridge fdb add 02:00:00:00:00:77 dev tap0 master static")
            try lab.prepare()
            let entry = try lab.lab.entry(EvidenceTests.mac) ?? ""
            #expect(entry.contains("dev vfrep0 master br0 static") && !entry.contains("sticky"), "\(entry)")
            #expect(try Command.run(["bridge", "-d", "link", "show", "dev", "tap0"]).output.contains("learning on"))
            let verified = try lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 0, "\(verified.output)\(verified.errors)")
            let preflight = try lab.fdbsteer("preflight vm1").output
            #expect(preflight.contains("advertise sticky ones as fixed for ever"), "\(preflight)")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
        }
    }

    // MARK: - A tunnel as the uplink, with the test in zebra's place

    private static func prepare(_ lab: CommandLineLab, behindATunnelAt side: String, _ addresses: String) throws {
        try Command.script(
            "ip link add vx100 type vxlan id 100 local 127.0.0.1 dstport 4789 nolearning\n"
                + "ip link set vx100 master br0 up\nbridge link set dev vx100 learning off")
        let prepared = try lab.fdbsteer(
            "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink vx100 --at \(side) \(addresses)")
        #expect(prepared.exitCode == 0, "\(prepared.errors)")
    }

    private static func run(
        behindATunnelAt side: String, before: @escaping @Sendable (CommandLineLab) throws -> Void = { _ in },
        _ body: @escaping @Sendable (DaemonLab) throws -> Void
    ) throws {
        try CommandLineLab.run { lab in
            try prepare(lab, behindATunnelAt: side, "--address \(mac)")
            try before(lab)
            try DaemonLab.run(in: lab, configuration: "") { try body($0) }
        }
    }

    /// FRR counts on while the daemon is down.
    @Test func handoversBeforeTheStartCountToo() throws {
        try CommandLineLab.run { lab in
            try EvidenceTests.prepare(lab, behindATunnelAt: "standby", "--address \(EvidenceTests.mac)")
            for side in ["remote", "standby", "primary", "remote"] {
                #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
            }
            try DaemonLab.run(in: lab) { daemon in
                try daemon.waitFor("msg=condition code=handovers")
                #expect(daemon.log.contains("3 times"), "\(daemon.log)")
                #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
                try daemon.waitFor("4 times")
            }
        }
    }

    private static let claim = "bridge fdb replace \(mac) dev vx100 master extern_learn"

    /// - Parameter isEarly: the control plane has spoken before the daemon was started.
    @Test(arguments: [true, false]) func whatAControlPlaneHasAdvertisedIsItsToTakeBack(isEarly: Bool) throws {
        try EvidenceTests.run(
            behindATunnelAt: "remote", before: { _ in if isEarly { try Command.script(EvidenceTests.claim) } }
        ) { daemon in
            if !isEarly { try Command.script(EvidenceTests.claim) }
            try EvidenceTests.send(behind: "tap0", count: 1)
            usleep(1_500_000)
            #expect(try daemon.lab.lab.entry(EvidenceTests.mac)?.contains("dev tap0") == true, "\(daemon.log)")
            try Command.script(EvidenceTests.claim)
            usleep(1_500_000)
            try daemon.waitForEntry("dev vx100 extern_learn master br0 static")
            #expect(daemon.count("repaired") == 0 && daemon.count("redirected") == 0, "\(daemon.log)")
        }
    }

    /// Nobody has told the fabric anything of the frame.
    @Test func aTunnelWithoutAControlPlaneIsAnUplinkLikeOthers() throws {
        try EvidenceTests.run(behindATunnelAt: "remote") { daemon in
            try EvidenceTests.send(behind: "tap0", count: 1)
            try daemon.waitForEntry("dev tap0")
            usleep(3_000_000)
            try EvidenceTests.expect(daemon, side: "remote", on: "vx100")
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
        }
    }

    @Test(arguments: ["reconcile", "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink vx100"])
    func anAddressOfAControlPlaneStaysAndTheOthersComeBack(_ verb: String) throws {
        let addresses = "--address \(EvidenceTests.mac) --address \(EvidenceTests.other)"
        let isPrepare = verb != "reconcile"
        let verb = isPrepare ? "\(verb) \(addresses)" : verb
        try CommandLineLab.run { lab in
            try EvidenceTests.prepare(lab, behindATunnelAt: "primary", addresses)
            try Command.script(EvidenceTests.claim)
            try Command.script("bridge fdb del \(EvidenceTests.other) dev vfrep0 master")
            for said in ["1 entry brought back", "only this differs"] {
                let done = try lab.fdbsteer(verb)
                #expect(done.exitCode == (isPrepare ? 0 : 5), "\(done.output)\(done.errors)")
                #expect(done.output.contains("left alone: a control plane has \(EvidenceTests.mac) behind vx100"))
                #expect(isPrepare || done.output.contains(said), "\(done.output)")
                #expect(try lab.lab.entry(EvidenceTests.mac)?.contains("dev vx100 extern_learn") == true)
                #expect(
                    try lab.lab.entry(EvidenceTests.other)?.hasSuffix("dev vfrep0 master br0 static") == true,
                    "\(done.output)")
            }
        }
    }

    @Test func aRouteIsFollowedAndLeftToWhoMadeIt() throws {
        try EvidenceTests.run(behindATunnelAt: "standby") { daemon in
            try Command.script(EvidenceTests.claim)
            try daemon.waitFor("reason=\"a control plane has the guest behind the uplink now\"")
            #expect(daemon.count("repaired") == 0, "\(daemon.log)")
            let verified = try daemon.lab.fdbsteer("verify vm1")
            #expect(verified.exitCode == 0, "\(verified.output)")
            let released = try daemon.lab.fdbsteer("release vm1").output
            #expect(released.contains("1 to a control plane"), "\(released)")
            let left = try daemon.lab.lab.entry(EvidenceTests.mac) ?? ""
            #expect(left.hasSuffix("dev vx100 extern_learn master br0 "), "\(left)")
        }
    }

    /// The guest has left while no daemon ran: a record is no reason to take it from the host where it is.
    @Test func aRouteThatWasThereBeforeTheDaemonIsFollowedToo() throws {
        try EvidenceTests.run(
            behindATunnelAt: "standby",
            before: { lab in
                try Command.script(EvidenceTests.claim)
                let reconciled = try lab.fdbsteer("reconcile")
                #expect(reconciled.exitCode == 5, "\(reconciled.output)")
                #expect(reconciled.output.contains("a control plane has \(EvidenceTests.mac) behind vx100"))
                #expect(try lab.lab.entry(EvidenceTests.mac)?.contains("dev vx100 extern_learn") == true)
            },
            { daemon in
                try daemon.waitFor("reason=\"a control plane has the guest behind the uplink now\"")
                #expect(!daemon.log.contains("brought back") && daemon.count("repaired") == 0, "\(daemon.log)")
                #expect(try daemon.lab.lab.entry(EvidenceTests.mac)?.contains("dev vx100 extern_learn") == true)
            })
    }
}
