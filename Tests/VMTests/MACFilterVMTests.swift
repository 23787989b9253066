import FoundationEssentials
import Glibc
import Lab
import TestSupport
import Testing

/// The probe of MAC filters and legacy steering on the SR-IOV NIC of the lab VM, judged by the places where frames arrive.
@Suite(.enabled(if: SRIOVLab.obstacle == nil, "takes the lab VM with --igb, which scripts/test boots"), .serialized)
struct MACFilterVMTests {
    static let mac = "02:00:00:fd:b5:01"
    static let probe = "probe mac-filter --pf nic0 --vf 0 --address \(mac) --from peer0"

    /// The NIC, and the built binary with its own state folder.
    struct Machine {
        let nic: SRIOVLab
        let state: String

        /// Runs `body`, and leaves no journal and no bridge behind.
        static func run(_ body: (Machine) throws -> Void) throws {
            let folder = try TemporaryFolder(parent: "/run")
            let machine = Machine(nic: try SRIOVLab(), state: folder.path)
            defer {
                folder.remove()
                machine.nic.removeBridge()
            }
            try body(machine)
        }

        /// The folder of the built programs.
        static let products: String = {
            if let path = getenv("FDBSTEER_BIN") { return String(cString: path) }
            let bundle = CommandLine.arguments[0]
            return bundle.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        }()

        static var binary: String { products + "/fdbsteer" }

        var environment: [String: String] { ["FDBSTEER_STATE": state] }

        func words(_ arguments: String) -> [String] {
            [Machine.binary] + arguments.split(separator: " ").map(String.init)
        }

        func fdbsteer(_ arguments: String) throws -> Command {
            try Command.run(words(arguments), environment: environment)
        }

        /// Runs `fdbsteer`, and expects an exit code and a text.
        @discardableResult
        func expect(_ code: Int32, _ arguments: String, saying words: String...) throws -> Command {
            let command = try fdbsteer(arguments)
            let said = command.output + command.errors
            #expect(command.exitCode == code, "\(arguments): \(said)")
            for word in words { #expect(said.contains(word), "\(arguments): \(said)") }
            return command
        }

        /// Runs `fdbsteer`, and expects that it refuses with this message and changes nothing.
        func refused(_ arguments: String, code: Int32 = 3, saying words: String...) throws {
            let before = try nic.state()
            let command = try fdbsteer(arguments)
            #expect(command.exitCode == code, "\(arguments): \(command.output)\(command.errors)")
            for word in words { #expect(command.errors.contains(word), "\(arguments): \(command.errors)") }
            #expect(try nic.state() == before, "\(arguments) changed something")
        }

        func stream(to mac: String = MACFilterVMTests.mac) throws -> SteadyFrames {
            try SteadyFrames(from: "peer0", source: "02:fd:b5:01:00:01", to: mac, places: ["tap0-far"])
        }
    }

    /// The output of a probe with `--json`.
    struct Report: Decodable {
        struct State: Decodable {
            let state: String
            let source: String
            let tagged: Bool
            let sent: Int
            let pf: Int
            let vf: Int
            let wire: Int
            let nowhere: Int
        }
        struct Verdict: Decodable {
            let earlyFilter: Bool
            let staleFilter: Bool
            let duplicates: Bool
            let loopbackBlackhole: Bool?
            let usableForFailover: String
            let order: String
        }
        let states: [State]
        let verdict: Verdict

        init(_ json: String) throws {
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            self = try decoder.decode(Report.self, from: Data(json.utf8))
        }

        /// The place at which the frames of a state arrived.
        func place(_ state: String, _ source: String = "wire", tagged: Bool = false) -> String {
            guard let found = states.first(where: { $0.state == state && $0.source == source && $0.tagged == tagged })
            else { return "not measured" }
            let places = [(found.pf, "pf"), (found.vf, "vf"), (found.wire, "wire"), (found.nowhere, "nowhere")]
            return places.filter { $0.0 == found.sent }.map(\.1).joined(separator: "+")
        }
    }

    // MARK: - The probe

    @Test func theWholeTableAndTheVerdict() throws {
        try Machine.run { machine in
            let before = try machine.nic.state()
            let command = try machine.expect(
                0, Self.probe.replacing(Self.mac, with: "\(Self.mac)/100") + " --sibling-vf 1 --json")
            #expect(try machine.nic.state() == before)
            let report = try Report(command.output)
            for phase in ["unbound", "bound", "down", "unbound_again"] {
                #expect(report.place("\(phase)-vf") == "nowhere")
                #expect(report.place("\(phase)-both") == "pf")
                #expect(report.place("\(phase)-pf") == "pf")
                #expect(report.place("\(phase)-vf", "sibling") == "nowhere")
                #expect(report.place("\(phase)-both", "sibling") == "pf")
                // Without its VLAN the VF's filter does not accept tagged frames.
                #expect(report.place("\(phase)-both", tagged: true) == "pf")
            }
            for tagged in [false, true] {
                #expect(report.place("up-vf", tagged: tagged) == "vf")
                #expect(report.place("up-both", tagged: tagged) == "pf+vf")
                #expect(report.place("up-pf", tagged: tagged) == "pf")
                #expect(report.place("up-vf-late", tagged: tagged) == "vf")
                #expect(report.place("up-vf", "sibling", tagged: tagged) == "vf")
                #expect(report.place("cleared-pf", tagged: tagged) == "pf")
                #expect(report.place("cleared-none", "sibling", tagged: tagged) == "wire")
            }
            let verdict = report.verdict
            #expect(verdict.earlyFilter && verdict.staleFilter && verdict.duplicates)
            #expect(verdict.loopbackBlackhole == true)
            #expect(verdict.usableForFailover == "with-care" && verdict.order == "make-before-break")

            var document = JSONDocument()
            #expect(document.differences(of: command.output, from: "probe") == [])
            let list = try machine.expect(
                0, "probe list --json", saying: "\"driver\" : \"igb\"", "\"pci_id\" : \"8086:10c9\"")
            #expect(document.differences(of: list.output, from: "verdicts") == [])
            try machine.expect(
                0, "metrics", saying: "finding=\"early_filter\"} 1", "verdict=\"with-care\"} 1")
            try machine.expect(0, "topology", saying: "nic nic0  igb 8086:10c9", "early filter", "spoofchk on")
            let topology = try machine.expect(
                0, "topology --json", saying: "\"usable_for_failover\" : \"with-care\"")
            #expect(document.differences(of: topology.output, from: "topology") == [])
            // docs/json.md has no key of NICs that is never printed.
            let objects = [
                "nic", "nic_identity", "function", "probe", "probed_state", "probed_parts", "verdict", "stored_verdict",
            ]
            // Even a promiscuous PF of this NIC loses frames that no filter matches: what that helps stays unknown.
            #expect(document.unseenOfHardware(objects, but: ["verdict.promiscuity_helps"]) == [])
        }
    }

    @Test func aVFOfTheHostsDriverComesBackAsItWas() throws {
        try Machine.run { machine in
            let name = try machine.nic.bind(0)
            defer { try? machine.nic.unbind(0) }
            try Command.script("ip link set \(name) name guestvf")
            try Command.script("ip link set nic0 vf 0 mac 02:00:00:fd:b5:77")
            defer { _ = try? Command.run(["ip", "link", "set", "nic0", "vf", "0", "mac", "00:00:00:00:00:00"]) }
            func lasting() throws -> String {
                // Indexes are assigned again, and the driver adopts the MAC that is set when it is bound.
                try machine.nic.state().split(separator: "\n").filter { $0.contains("vf 0") || $0.contains("guestvf") }
                    .map { $0.split(separator: " ").prefix(4).joined(separator: " ") }.joined(separator: "\n")
            }
            let before = try lasting()
            try machine.expect(0, Self.probe, saying: "everything is as it was")
            let after = try lasting()
            #expect(after.contains("guestvf") && before.contains("02:00:00:fd:b5:77"))
            #expect(after.contains("02:00:00:fd:b5:77"))
        }
    }

    @Test func refusalsWithAReason() throws {
        try Machine.run { machine in
            try machine.refused(
                Self.probe.replacing("--pf nic0", with: "--pf plain0"), saying: "plain0 has no SR-IOV", "e1000e")
            try machine.refused(
                Self.probe.replacing("--pf nic0", with: "--pf peer0"), code: 64, saying: "--from is the NIC itself")
            try machine.refused(Self.probe.replacing("--pf nic0", with: "--pf lo"), saying: "lo has no SR-IOV")
            try machine.refused(
                Self.probe.replacing("--vf 0", with: "--vf 7"), saying: "nic0 has no VF 7", "its VFs are 0, 1, 2")
            try machine.refused(Self.probe + " --sibling-vf 9", saying: "--sibling-vf: nic0 has no VF 9")
            try machine.refused(Self.probe + " --sibling-vf 0", code: 64, saying: "are the same")
            try machine.refused(
                Self.probe.replacing("peer0", with: "nothing0"), saying: "there is no interface nothing0", "peer0")
            try machine.refused(Self.probe.replacing("peer0", with: "plain0"), saying: "plain0")
            try machine.refused(
                Self.probe.replacing(Self.mac, with: "02:fd:b5:01:00:01"), saying: "it is the MAC of peer0")
            try Command.script("bridge fdb add \(Self.mac) dev peer0 self")
            try machine.refused(Self.probe, saying: "in the unicast list of peer0")
            try Command.script("bridge fdb del \(Self.mac) dev peer0 self\nip link set nic0 vf 2 mac \(Self.mac)")
            try machine.refused(Self.probe, saying: "it is set for VF 2 of nic0")
            try Command.script("ip link set nic0 vf 2 mac 00:00:00:00:00:00\nip link set nic0 vf 0 vlan 5")
            try machine.refused(Self.probe, saying: "VF 0 of nic0 has VLAN 5")
            try Command.script("ip link set nic0 vf 0 vlan 0")

            try machine.nic.bind(0, to: "vfio-pci")
            try machine.refused(Self.probe, saying: "VF 0 (0000:01:10.0) is in use", "vfio-pci: a guest may have it")
            try machine.nic.unbind(0)
            let name = try machine.nic.bind(0)
            try SRIOVLab.bringUp(name)
            try machine.refused(Self.probe, saying: "is in use: its interface \(name) is up")
            try machine.refused(
                Self.probe.replacing("--vf 0", with: "--vf 1").replacing("peer0", with: name),
                saying: "\(name) belongs to the NIC itself")
            try machine.nic.unbind(0)
            try Command.script("ip link set nic0 vf 0 mac 00:00:00:00:00:00")

            try Command.script("ip link set peer0 down")
            try machine.refused(Self.probe, saying: "peer0 is down", "has no second port that is up")
            try SRIOVLab.bringUp("peer0")
            try machine.nic.makeBridge()
            try machine.refused(Self.probe, saying: "nic0 is promiscuous (it is a port of br0)")
        }
    }
}
