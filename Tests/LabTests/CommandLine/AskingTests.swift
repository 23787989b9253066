import Glibc
import Lab
import Testing

/// Guests that are asked, in namespaces of their own: the kernel answers as it does in a virtual machine.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct AskingTests {
    private static let ip = "192.0.2.7"

    /// Puts the guest's end of a port into a namespace; the guest has its MAC there and no IP address yet.
    private func guest(by port: String) throws -> NetworkNamespace {
        let namespace = try NetworkNamespace()
        let far = BridgeLab.far(port)
        try Command.script("ip link set \(far) netns \(namespace.path)")
        try namespace.run {
            try Command.script("ip link set \(far) address \(CommandLineLab.mac)\nip link set \(far) up")
        }
        return namespace
    }

    private func give(_ ip: String, on device: String, in guest: NetworkNamespace) throws {
        try guest.run { try Command.script("ip addr add \(ip) dev \(device) nodad") }
    }

    @Test func theGuestsAnswerIsASignalAndNobodyElseHearsOfIt() throws {
        try CommandLineLab.run { lab in
            let guest = try guest(by: "tap0")
            try lab.prepare("--ip \(Self.ip)")
            let others = try ["uplink0-far", "vfrep0-far"].map { try Overhearing($0) }
            let running = try lab.startWaiting("answer:standby")
            let tables = try Command.run(["nft", "list", "ruleset"]).output
            #expect(tables.contains("table netdev fdbsteer/ask-") && tables.contains("drop"), "\(tables)")
            usleep(200_000)
            #expect(try lab.isWaiting(), "a guest without the address does not answer")
            try give(Self.ip + "/24", on: "tap0-far", in: guest)
            let command = running.wait()
            #expect(command.exitCode == 0, "\(command.errors)")
            #expect(command.output.contains("signal: \(Self.ip) answered by tap0 in"), "\(command.output)")
            #expect(try lab.port() == "tap0")
            for other in others { #expect(other.asks() == 0 && other.answers() == 0, "\(other.place)") }
            #expect(try !Command.run(["nft", "list", "tables"]).output.contains("fdbsteer/ask"))
            let left = try guest.run { try Command.run(["ip", "neigh", "show"]).output }
            #expect(left.isEmpty, "the guest remembers \(left)")
        }
    }

    /// The kernel binds a table to a port's name.
    @Test func aPortThatIsRenamedWhileItsGuestIsAskedStaysShielded() throws {
        try CommandLineLab.run { lab in
            let guest = try guest(by: "tap0")
            try lab.prepare("--ip \(Self.ip)")
            let others = try ["uplink0-far", "vfrep0-far"].map { try Overhearing($0) }
            let running = try lab.startWaiting("answer:standby")
            try Command.script("ip link set tap0 name tap0new")
            var rules = ""
            for _ in 0..<500 {
                rules = try Command.run(["nft", "list", "ruleset"]).output
                if rules.contains("\"tap0new\"") { break }
                usleep(20_000)
            }
            #expect(rules.contains("\"tap0new\""), "\(rules)")
            try give(Self.ip + "/24", on: "tap0-far", in: guest)
            let command = running.wait()
            #expect(command.exitCode == 0, "\(command.errors)")
            for other in others { #expect(other.answers() == 0, "\(other.place)") }
        }
    }

    @Test func aGuestThatIsSilentIsAskedAtABoundedRate() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let heard = try Overhearing("tap0-far")
            let other = try Overhearing("vfrep0-far")
            let command = try lab.fdbsteer(
                "switch vm1 --to standby --until answer:tap0=\(Self.ip) --timeout 1s")
            #expect(command.exitCode == 6 && command.errors.contains("no signal came"), "\(command.errors)")
            let asks = heard.asks()
            #expect((5...40).contains(asks) && other.asks() == 0, "\(asks)")
        }
    }

    @Test func overIPv6() throws {
        try CommandLineLab.run { lab in
            let guest = try guest(by: "vfrep0")
            try give("2001:db8::7/64", on: "vfrep0-far", in: guest)
            let others = try ["uplink0-far", "tap0-far"].map { try Overhearing($0) }
            try lab.prepare("--ip 2001:db8::7")
            let command = try lab.fdbsteer("switch vm1 --to standby --until answer:primary")
            #expect(command.exitCode == 0, "\(command.errors)")
            #expect(command.output.contains("2001:db8::7 answered by vfrep0"), "\(command.output)")
            for other in others { #expect(other.asks() == 0 && other.answers() == 0, "\(other.place)") }
        }
    }

    @Test(
        .enabled(if: getenv("FDBSTEER_LAB_VM") != nil, "needs the lab VM: VLAN filtering"), arguments: [false, true])
    func inTheVLANOfTheAddress(isUntagged: Bool) throws {
        try CommandLineLab.run { lab in
            try Command.script(
                """
                ip link set br0 type bridge vlan_filtering 1
                bridge vlan add dev vfrep0 vid 7
                bridge vlan add dev tap0 vid 7 \(isUntagged ? "pvid untagged" : "")
                bridge vlan add dev uplink0 vid 7
                """)
            let guest = try guest(by: "tap0")
            let device = isUntagged ? "tap0-far" : "tap0-far.7"
            if !isUntagged {
                try guest.run {
                    try Command.script(
                        "ip link add link tap0-far name tap0-far.7 type vlan id 7\nip link set tap0-far.7 up")
                }
            }
            try give(Self.ip + "/24", on: device, in: guest)
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 "
                    + "--address \(CommandLineLab.mac)/7 --at primary --ip \(Self.ip)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let command = try lab.fdbsteer("switch vm1 --to standby --until answer:standby")
            #expect(command.exitCode == 0 && command.output.contains("answered by tap0"), "\(command.errors)")
        }
    }

    @Test func aGuestThatTriesWhetherItsAddressIsFreeIsLeftAlone() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--ip \(Self.ip)")
            let heard = try Overhearing("tap0-far")
            let running = try lab.startWaiting("answer:standby", timeout: "5s")
            try lab.waitUntil { heard.asks() > 0 }
            let mac = Interface.octets(CommandLineLab.mac)
            let probe = FrameProbe(
                to: CommandLineLab.everybody, from: CommandLineLab.mac, type: 0x0806,
                payload: [0, 1, 8, 0, 6, 4, 0, 1] + mac + [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 7])
            #expect(try probe.send(from: "tap0-far", lookingAt: "uplink0-far") == ["uplink0-far"])
            usleep(100_000)
            let before = heard.asks()
            usleep(2_000_000)
            #expect(heard.asks() == before)
            try lab.waitUntil { heard.asks() > before }
            #expect(running.wait().exitCode == 6)
        }
    }

    @Test(
        arguments: [
            ("answer:standby", 3, "no IP address of it is known"),
            ("answer:uplink=192.0.2.7", 3, "does not lead to the guest"),
            ("answer:br0=192.0.2.7", 3, "does not lead to the guest"),
            ("answer:standby=224.0.0.1", 64, "ends with no IP"),
        ] as [(String, Int32, String)])
    func whoCannotBeAskedIsRefused(signal: String, code: Int32, words: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.refused("switch vm1 --to standby --until \(signal)", code: code, saying: words)
            #expect(try !Command.run(["nft", "list", "tables"]).output.contains("fdbsteer/ask"))
        }
    }

    @Test func wrongIPAddressesOfAGuest() throws {
        try CommandLineLab.run { lab in
            let arguments = "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --address \(CommandLineLab.mac)"
            for (ip, words) in [
                ("nonsense", "no IP address"), ("192.0.2.7,192.0.2.7", "given twice"), ("192.0.2.7,", "no IP address"),
                ("192.0.2.7=52:54:00:00:00:77", "is no address of the guest"),
            ] {
                try lab.refused("\(arguments) --ip \(ip)", code: 64, saying: words)
            }
        }
    }
}

/// Counts questions and answers that arrive at an interface.
final class Overhearing {
    let place: String
    private let socket: Int32
    private var counts = (asks: 0, answers: 0)
    /// ETH_P_ALL (linux/if_ether.h).
    private static let all: UInt16 = 3

    init(_ place: String) throws {
        self.place = place
        socket = try Interface.open(place, type: Overhearing.all, receiveBuffer: 1 << 20)
        _ = fcntl(socket, F_SETFL, O_NONBLOCK)
    }

    deinit { close(socket) }

    /// Frames from the reserved MACs so far.
    func asks() -> Int {
        read()
        return counts.asks
    }

    /// Frames to the reserved MACs so far.
    func answers() -> Int {
        read()
        return counts.answers
    }

    private func read() {
        var frame = [UInt8](repeating: 0, count: 64)
        while recv(socket, &frame, frame.count, 0) >= 14 {
            if frame[0..<3].elementsEqual([0x02, 0xfd, 0x5b]) { counts.answers += 1 }
            if frame[6..<9].elementsEqual([0x02, 0xfd, 0x5b]) { counts.asks += 1 }
        }
    }
}
