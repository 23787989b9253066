import FDB
import Glibc
import Lab
import Netlink
import Switchdev

/// Shows how a real NIC handles the commands that move an entry. It uses two ports named by the user and an unused MAC, and
/// judges by the driver's own table if the driver shows one.
struct OffloadHostCheck {
    private let bridge: Link
    private let first: Link
    private let second: Link
    private let address: Address
    private let handles: [DevlinkHandle]
    private static let settleMicroseconds: UInt32 = 500_000

    /// - Parameters:
    ///   - bridgeName: the name of a bridge.
    ///   - ports: the names of two of its ports, the first a port of a switch.
    ///   - vlan: the VLAN to use on a bridge that filters VLANs.
    /// - Throws: ``LabError`` that says what is wrong; nothing was changed.
    init(bridgeName: String, ports: [String], vlan: UInt16?) throws {
        var socket = try CommandSocket()
        let found = try Links.read(named: [bridgeName] + ports, using: &socket)
        guard let bridge = found[0], let settings = bridge.bridge else { throw LabError("\(bridgeName) is no bridge") }
        for (name, link) in zip(ports, found.dropFirst()) where link?.master != bridge.index {
            throw LabError("\(name) is no port of \(bridgeName)")
        }
        guard let first = found[1], let second = found[2], first.isEswitchPort else {
            throw LabError("\(ports[0]) is no port of a switch: name the port that has a phys_switch_id first")
        }
        guard settings.filtersVLANs == (vlan != nil) else {
            throw LabError(
                settings.filtersVLANs
                    ? "\(bridgeName) filters VLANs: name one by --vlan" : "\(bridgeName) filters no VLANs")
        }
        guard let address = Sentinel.make(vlan: vlan.flatMap(VLANID.init)) else { throw LabError("no address") }
        self.bridge = bridge
        self.first = first
        self.second = second
        self.address = address
        let devlink = try Devlink.snapshot()
        handles = Array(Set([first, second].compactMap { devlink[interface: $0.index]?.handle }))
    }

    /// Runs the commands, prints the state of the table and the hardware after each, and removes the entry again.
    func run() throws {
        var socket = try CommandSocket()
        defer { for port in [first, second] { clear(port, &socket) } }
        print("MAC \(address) on \(bridge.name), driver \(Driver(interface: first.name)?.name ?? "unknown")\n")
        func set(_ port: Link, _ flags: EntryFlags = []) -> EntryRequest {
            .set(address, port: port.index, state: .noARP, flags: [.create, .replace], entryFlags: flags)
        }
        let steps: [(String, EntryRequest)] = [
            ("bridge fdb add MAC dev \(first.name) master static", set(first)),
            ("bridge fdb replace MAC dev \(second.name) master static", set(second)),
            ("bridge fdb replace MAC dev \(first.name) master static", set(first)),
            ("bridge fdb replace MAC dev \(second.name) master static use", set(second, .use)),
            ("bridge fdb replace MAC dev \(first.name) master static", set(first)),
        ]
        for (command, request) in steps {
            try socket.perform(request)
            usleep(OffloadHostCheck.settleMicroseconds)
            let entry = try Table.read([address], bridge: bridge.index, using: &socket)[0]
            let port = entry.map { $0.port == first.index ? first.name : second.name } ?? "no entry"
            print(
                "\(command)\n    bridge:   \(port) \(entry?.words.joined(separator: " ") ?? "")\n    hardware: \(hardware)"
            )
        }
    }

    private var hardware: String {
        let tables = handles.compactMap { DriverTable.read($0, bridge: bridge.name) }
        guard !tables.isEmpty else {
            return "the driver shows no table; look at the counters of the ports under traffic"
        }
        let ports = tables.reduce(into: Set<String>()) { $0.formUnion($1.ports[address] ?? []) }
        return ports.isEmpty ? "no rule" : "rule to " + ports.sorted().joined(separator: ", ")
    }

    /// Adding the address to a port and deleting it there makes the driver forget it, whatever was left.
    private func clear(_ port: Link, _ socket: inout CommandSocket) {
        _ = socket.perform([
            EntryRequest.set(address, port: port.index, state: .noARP, flags: [.create, .replace]),
            EntryRequest.delete(address, port: port.index),
        ])
    }
}
