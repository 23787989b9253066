import Controller
import FDB
import Glibc
import Lab
import Netlink
import Policy
import Records
import Switchdev

/// Redirections on the model eswitch of the lab VM, judged by the driver's own table.
///
/// Each case is one pair of ports, one entry found at the start and one behaviour of the hardware. It is prepared,
/// redirected and redirected back, and after each of the three the driver's table must match the claim.
final class OffloadMatrix {
    /// The two ports of a case.
    struct Pair: Hashable {
        let from: Port
        let to: Port

        var words: String { "\(from.kind) -> \(to.kind)" }
    }

    /// A port of the lab's bridge.
    struct Port: Hashable {
        let name: String
        let far: String
        let isEswitch: Bool

        var kind: String { isEswitch ? "eswitch" : "software" }
    }

    /// The entry that is found at the start.
    enum Found: String, CaseIterable {
        case none
        case learned
        case learnedOffloaded = "learned, offloaded"
        case pinned = "static"
        case misplaced = "static, moved in place"
        case sticky
    }

    /// The behaviour of the hardware.
    enum Hardware: String, CaseIterable {
        case normal
        case slow = "300 ms slow"
        case failing = "add fails"
        case racing = "refresh racing"
    }

    /// The verdict on a case.
    enum Verdict: String {
        /// The claim was true.
        case right = "ok"
        /// Nothing was claimed: the redirection was refused, rolled back or reported as unproven.
        case said
        /// The claim was false: the driver's table is different.
        case wrong = "WRONG"
    }

    /// A case with its verdicts.
    struct Result {
        let pair: Pair
        let found: Found
        let hardware: Hardware
        let fdbsteer: Verdict
        /// Nil where `bridge fdb replace` was not tried.
        let bridge: Verdict?
        /// The first difference from the claim, or the first report.
        let words: String
    }

    static let bridgeName = "br0"
    private static let handle = DevlinkHandle(bus: "platform", device: "model_eswitch")
    private static let parameters = "/sys/module/model_eswitch/parameters/"
    private static let mac = "52:54:00:fd:b5:01"
    private let eswitch = (
        Port(name: "mes_vf0", far: "far_vf0", isEswitch: true), Port(name: "mes_vf1", far: "far_vf1", isEswitch: true)
    )
    private let software = (
        Port(name: "soft0", far: "soft0-far", isEswitch: false), Port(name: "soft1", far: "soft1-far", isEswitch: false)
    )
    private let address: Address
    private let bridge: Int32
    private let guest: GuestID
    private var socket: CommandSocket
    private var host: Host
    private var refresher: Refresher?
    /// Redirections in which a driver took entries back, and they were made again.
    private(set) var repaired = 0

    /// Writes to the model's refresh switch every millisecond until it is stopped.
    private final class Refresher {
        private let stop: StopFlag
        private let thread: LabThread

        init(_ path: String) throws {
            let stop = StopFlag()
            self.stop = stop
            thread = try Namespace.thread {
                while !stop.isSet {
                    try? TextFile.write([0x31], to: path)
                    usleep(1000)
                }
            }
        }

        deinit {
            stop.set()
            thread.join()
        }
    }

    /// Loads the module and makes the bridge.
    ///
    /// - Parameter state: the folder for the journal.
    init(state: String) throws {
        try Command.script(
            """
            modprobe model_eswitch
            ip link add \(OffloadMatrix.bridgeName) type bridge vlan_default_pvid 0
            ip link set \(OffloadMatrix.bridgeName) up
            ip link add soft0 type veth peer name soft0-far
            ip link add soft1 type veth peer name soft1-far
            """)
        for port in [eswitch.0, eswitch.1, software.0, software.1] {
            try Command.script(
                """
                ip link set \(port.name) addrgenmode none
                ip link set \(port.far) addrgenmode none
                ip link set \(port.name) master \(OffloadMatrix.bridgeName) up
                ip link set \(port.far) up
                """)
        }
        socket = try CommandSocket()
        host = try Host(folder: StateFolder(state))
        address = try Address(OffloadMatrix.mac)
        guest = try GuestID("guest")
        bridge = try Interface.index(of: OffloadMatrix.bridgeName) ?? 0
        for port in [eswitch.0, eswitch.1, software.0, software.1] {
            try OffloadMatrix.wait("\(port.name) to forward") {
                try Command.run(["bridge", "link", "show", "dev", port.name]).output.contains("forwarding")
            }
        }
    }

    /// Removes the bridge and the module.
    func remove() throws {
        try Command.script("ip link del soft0\nip link del soft1\nip link del \(OffloadMatrix.bridgeName)")
        try Command.script("rmmod model_eswitch")
    }

    /// Runs all cases.
    ///
    /// - Parameters:
    ///   - peer: the behaviours of the hardware under which `bridge fdb replace` is tried too.
    ///   - progress: is called with each result.
    func run(peer: [Hardware], progress: (Result) -> Void) throws -> [Result] {
        let pairs = [
            Pair(from: eswitch.0, to: eswitch.1), Pair(from: eswitch.0, to: software.0),
            Pair(from: software.0, to: eswitch.0), Pair(from: software.0, to: software.1),
        ]
        var results: [Result] = []
        for pair in pairs {
            for found in Found.allCases where found != .learnedOffloaded || pair.from.isEswitch {
                for hardware in Hardware.allCases {
                    let (fdbsteer, words) = try runFdbsteer(pair, found, hardware)
                    let (bridge, bridgeWords): (Verdict?, String) =
                        peer.contains(hardware) ? try runBridge(pair, found, hardware) : (nil, "")
                    let result = Result(
                        pair: pair, found: found, hardware: hardware, fdbsteer: fdbsteer, bridge: bridge,
                        words: fdbsteer == .right ? bridgeWords : words)
                    progress(result)
                    results.append(result)
                }
            }
        }
        return results
    }

    // MARK: - One case

    private func runFdbsteer(_ pair: Pair, _ found: Found, _ hardware: Hardware) throws -> (Verdict, String) {
        try reset()
        try arrange(found, pair)
        try behave(hardware)
        // Long enough for slow hardware, which processes a handful of changes; failing hardware is not waited for.
        let options = VerbOptions(proofTimeout: hardware == .failing ? 300_000_000 : 5_000_000_000)
        let request = try PreparationRequest(
            id: guest, bridge: OffloadMatrix.bridgeName, primary: pair.from.name, standby: pair.to.name, uplink: nil,
            addresses: [address], side: .primary)
        var verdict = Verdict.right
        var words = ""
        for step in 0..<3 {
            let report: Report
            do throws(ControllerError) {
                switch step {
                case 0: report = try Prepare(request, options: options).run(on: &host)
                case 1: report = try Switch(to: .standby, options: options).run(guest, on: &host)
                default: report = try Switch(to: .primary, options: options).run(guest, on: &host)
                }
            } catch {
                return (.said, "\(error)")
            }
            if report.repairs > 0 { repaired += 1 }
            let isClaimed = report.exitCode == 0 && report.proofStatus != .missing
            if !isClaimed {
                verdict = .said
                words = report.failures.first ?? report.proof ?? ""
                if report.exitCode != 0 { return (verdict, words) }
                continue
            }
            usleep(settling(hardware))
            if let difference = try difference(from: step == 1 ? pair.to : pair.from) {
                return (.wrong, "after \(report.verb.rawValue) to \(report.to.rawValue): \(difference)")
            }
        }
        return (verdict, words)
    }

    private func runBridge(_ pair: Pair, _ found: Found, _ hardware: Hardware) throws -> (Verdict, String) {
        try reset()
        try arrange(found, pair)
        try behave(hardware)
        for port in [pair.from, pair.to, pair.from] {
            let command = try Command.run([
                "bridge", "fdb", "replace", OffloadMatrix.mac, "dev", port.name, "master", "static",
            ])
            guard command.exitCode == 0 else { return (.said, command.errors) }
            usleep(settling(hardware))
            if let difference = try difference(from: port) {
                return (.wrong, "bridge fdb replace to \(port.name): \(difference)")
            }
        }
        return (.right, "")
    }

    /// The first difference from the state in which the address belongs to a port; nil if there is none.
    private func difference(from port: Port) throws -> String? {
        let entry = try Table.read([address], bridge: bridge, using: &socket)[0]
        let index = try Interface.index(of: port.name)
        guard let entry else { return "the bridge has no entry" }
        guard entry.port == index, entry.isStatic else { return "the bridge has \(entry)" }
        let hardware = try driverPorts()
        let expected: Set<String> = port.isEswitch ? [port.name] : []
        guard hardware == expected else {
            return "hardware has it \(hardware.isEmpty ? "nowhere" : "on " + hardware.sorted().joined(separator: ", "))"
        }
        return nil
    }

    private func driverPorts() throws -> Set<String> {
        guard let table = DriverTable.read(OffloadMatrix.handle, bridge: OffloadMatrix.bridgeName) else {
            throw LabError("the model eswitch shows no table")
        }
        return table.ports[address] ?? []
    }

    // MARK: - Preparing

    private func reset() throws {
        try behave(.normal)
        _ = try? Release().run(guest, on: &host)
        for port in [eswitch.0, eswitch.1, software.0, software.1] {
            if let index = try Interface.index(of: port.name) {
                try socket.perform(PortSettingRequest.learning(port: index, isOn: true))
            }
        }
        // Adding and deleting on an eswitch port also removes state that hardware has without the bridge knowing.
        if let entry = try Table.read([address], bridge: bridge, using: &socket)[0] {
            try socket.perform(EntryRequest.delete(address, port: entry.port))
        }
        let port = try Interface.index(of: eswitch.0.name) ?? 0
        try socket.perform(EntryRequest.set(address, port: port, state: .noARP, flags: [.create, .replace]))
        try socket.perform(EntryRequest.delete(address, port: port))
        try OffloadMatrix.wait("the model to be empty") { try driverPorts().isEmpty }
    }

    private func arrange(_ found: Found, _ pair: Pair) throws {
        let index = try Interface.index(of: pair.from.name) ?? 0
        func set(_ flags: EntryFlags) throws {
            try socket.perform(
                EntryRequest.set(
                    address, port: index, state: .noARP, flags: [.create, .replace], entryFlags: flags))
            if pair.from.isEswitch { try waitUntilOffloaded() }
        }
        switch found {
        case .none: break
        case .learned:
            try parameter("fail_add", "1")
            try learn(pair.from)
            // Wait until the driver has failed to take the entry over.
            usleep(50_000)
            try parameter("fail_add", "0")
        case .learnedOffloaded:
            try learn(pair.from)
            try waitUntilOffloaded()
        case .pinned: try set([])
        case .misplaced:
            try set([])
            let command = try Command.run([
                "bridge", "fdb", "replace", OffloadMatrix.mac, "dev", pair.to.name, "master", "static",
            ])
            guard command.exitCode == 0 else { throw LabError(command.errors) }
            usleep(50_000)
        case .sticky: try set(.sticky)
        }
    }

    private func learn(_ port: Port) throws {
        try Interface.sendFrame(from: port.far, source: OffloadMatrix.mac, to: port.name)
        try OffloadMatrix.wait("the bridge to learn") {
            try Table.read([address], bridge: bridge, using: &socket)[0] != nil
        }
    }

    private func waitUntilOffloaded() throws {
        try OffloadMatrix.wait("the entry to be offloaded") {
            try Table.read([address], bridge: bridge, using: &socket)[0]?.flags.contains(.offloaded) == true
        }
    }

    private func behave(_ hardware: Hardware) throws {
        refresher = nil
        try parameter("delay_ms", hardware == .slow ? "300" : "0")
        try parameter("fail_add", hardware == .failing ? "1" : "0")
        try parameter("tick_ms", "100")
        // A delayed queue and continuous refreshes: they fall between a change and the driver's work for it.
        try parameter("queue_delay_ms", hardware == .racing ? "20" : "0")
        try parameter("tick_always", hardware == .racing ? "1" : "0")
        if hardware == .racing { refresher = try Refresher(OffloadMatrix.parameters + "tick_now") }
    }

    /// Long enough for the driver's queue to drain and for refreshes to have their late effects.
    private func settling(_ hardware: Hardware) -> UInt32 { hardware == .slow ? 700_000 : 250_000 }

    private func parameter(_ name: String, _ value: String) throws {
        try TextFile.write(value, to: OffloadMatrix.parameters + name)
    }

    static func wait(_ what: String, until condition: () throws -> Bool) throws {
        for _ in 0..<1000 {
            if try condition() { return }
            usleep(5000)
        }
        throw LabError("waited 5 s in vain for \(what)")
    }
}
