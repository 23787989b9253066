import Glibc
import Lab
import Testing

/// The daemon asks guests, which are namespaces with the guest's MAC and IP address.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct AskingDaemonTests {
    private static let ip = "192.0.2.7"

    private func tables() throws -> String { try Command.run(["nft", "list", "ruleset"]).output }

    @Test func aGuestsAddressIsHeardAndWhetherItAnswersIsFoundOut() throws {
        try DaemonLab.run { daemon in
            let lab = daemon.lab
            let guest = try AskedGuest(by: ["vfrep0"], ip: Self.ip)
            let others = try ["uplink0-far", "tap0-far"].map { try Overhearing($0) }
            try lab.prepare()
            usleep(1_500_000)
            #expect(daemon.count("answers") == 0)
            try guest.speak(by: "vfrep0-far")
            try daemon.waitFor("msg=\"answers questions\" by=primary guest=vm1")
            for other in others { #expect(other.asks() == 0 && other.answers() == 0, "\(other.place)") }
            #expect(try tables().contains("fdbsteer/ask-"))
            #expect(try guest.neighbours().isEmpty)
            // With the guest its ports are forgotten.
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            try lab.waitUntil { try !tables().contains("chain port-") }
        }
    }

    /// The kernel binds a chain to a name, whoever has it.
    @Test func aRenamedPortKeepsItsAnswersFromOthers() throws {
        try DaemonLab.run { daemon in
            let guest = try AskedGuest(by: ["vfrep0"], ip: Self.ip)
            try daemon.lab.prepare("--ip \(Self.ip)")
            try daemon.waitFor("msg=\"answers questions\" by=primary guest=vm1")
            #expect(try tables().contains(/device "vfrep0"/))
            try Command.script("ip link set vfrep0 name vfrep7")
            try daemon.waitFor("renamed")
            try daemon.lab.waitUntil { try tables().contains(/device "vfrep7"/) }
            #expect(try !tables().contains(/device "vfrep0"/))
            withExtendedLifetime(guest) {}
        }
    }

    @Test func aGuestThatDoesNotAnswerIsFoundOutWithFewQuestions() throws {
        try DaemonLab.run { daemon in
            let heard = try Overhearing("vfrep0-far")
            try daemon.lab.prepare("--ip \(Self.ip)")
            try daemon.waitFor("msg=\"answers no questions\" by=primary guest=vm1")
            let asks = heard.asks()
            #expect((2...6).contains(asks), "\(asks)")
            usleep(2_000_000)
            #expect(heard.asks() == asks)
        }
    }

    @Test(arguments: ["[ask]\nenabled = false\n", "[[guest]]\nid = \"vm1\"\nask = false\n"])
    func switchedOffNobodyIsAsked(configuration: String) throws {
        try DaemonLab.run(configuration: configuration) { daemon in
            let heard = try Overhearing("vfrep0-far")
            try daemon.lab.prepare("--ip \(Self.ip)")
            usleep(4_000_000)
            #expect(heard.asks() == 0 && daemon.count("answers") == 0)
            #expect(try !tables().contains("fdbsteer/ask"))
        }
    }

    @Test(arguments: [SIGTERM, SIGKILL]) func itsTableEndsWithIt(signal: Int32) throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--ip \(Self.ip)")
            try DaemonLab.run(in: lab) { daemon in
                try daemon.waitFor("answers no questions")
                #expect(try tables().contains("fdbsteer/ask-"))
                try Command.script("nft flush ruleset")
                #expect(try tables().contains("fdbsteer/ask-"))
                if signal == SIGKILL { kill(daemon.process, signal) }
            }
            try lab.waitUntil { try !tables().contains("fdbsteer/ask") }
        }
    }

    /// Without its answers it would have left after two seconds (EvidenceTests).
    @Test func aGuestThatSaysNothingButAnswersIsHereWhateverTheUplinkShows() throws {
        try DaemonLab.run(configuration: "[daemon]\ndeparture_silence = \"2s\"\n") { daemon in
            let lab = daemon.lab
            let guest = try AskedGuest(by: ["vfrep0"], ip: Self.ip)
            try lab.prepare("--ip \(Self.ip)")
            try daemon.waitFor("msg=\"answers questions\" by=primary guest=vm1")
            let other = try Overhearing("tap0-far")
            for _ in 0..<40 {
                try BridgeLab.sendFrame(behind: "uplink0", source: CommandLineLab.mac)
                usleep(200_000)
            }
            #expect(daemon.count("redirected") == 0, "\(daemon.log)")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            #expect(other.asks() == 0 && other.answers() == 0)
            withExtendedLifetime(guest) {}
        }
    }

    /// The guest sends nothing of its own: only its answer shows that it uses the primary again.
    @Test func aGuestThatLostItsPrimaryReturnsWhenItAnswersByIt() throws {
        try CommandLineLab.run { lab in
            let guest = try AskedGuest(by: ["tap0"], ip: Self.ip)
            try lab.prepare("--ip \(Self.ip)")
            let configuration = "[[guest]]\nid = \"vm1\"\nreturn_to_primary = \"when-back\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try Command.script("ip link del vfrep0")
                try daemon.waitForEntry("dev tap0")
                try daemon.waitFor("msg=\"answers questions\" by=standby guest=vm1")
                try lab.lab.addPort("vfrep0")
                try daemon.waitFor("the primary is back")
                usleep(500_000)
                #expect(try lab.port() == "tap0", "it does not answer by the primary yet")
                try guest.take("vfrep0-far", ip: Self.ip)
                try daemon.waitForEntry("dev vfrep0")
            }
        }
    }
}

/// A guest: a namespace with the far ends of some ports, which have its MAC and its IP address.
struct AskedGuest {
    let namespace: NetworkNamespace

    init(by ports: [String], ip: String) throws {
        namespace = try NetworkNamespace()
        // Its kernel would send reports and solicitations by each port, at its own times.
        try namespace.run {
            try Command.script("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        }
        for port in ports { try take(BridgeLab.far(port), ip: ip) }
    }

    /// Takes an interface into the guest.
    func take(_ interface: String, ip: String) throws {
        try Command.script("ip link set \(interface) netns \(namespace.path)")
        try namespace.run {
            try Command.script(
                """
                ip link set \(interface) address \(CommandLineLab.mac)
                ip link set \(interface) up
                ip addr add \(ip)/24 dev \(interface)
                """)
        }
    }

    /// Sends an ARP request of the guest's for another host.
    func speak(by interface: String) throws {
        try namespace.run {
            _ = try FrameProbe.gratuitousARP(from: CommandLineLab.mac).send(from: interface, lookingAt: "lo")
        }
    }

    /// What the guest knows of its neighbours.
    func neighbours() throws -> String { try namespace.run { try Command.run(["ip", "neigh", "show"]).output } }
}
