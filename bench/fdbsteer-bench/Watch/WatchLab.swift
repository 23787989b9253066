import Controller
import FDB
import Glibc
import Lab
import Netlink
import Policy
import Records
import System

/// Prepared guests on bridges, in the calling thread's namespace, for `fdbsteer-bench watch`.
///
/// Each veth pair gives two ports, one on the first bridge of a couple and one on the second: half as many interfaces as
/// ports with their own far ends would need. No frames are sent, and broadcasts are not flooded, because the two bridges
/// would forward them forever. Unknown unicast is flooded: otherwise the kernel copies each static entry of a bridge to the
/// address list of each port that neither floods nor learns (`br_manage_promisc`), which is entries times ports.
final class WatchLab {
    /// One prepared guest.
    struct Guest {
        let id: GuestID
        let bridge: Int32
        /// The interface indexes of primary and standby.
        let primary: Int32
        let standby: Int32
        let addresses: [Address]
    }

    let folder: String
    private(set) var guests: [Guest] = []
    private(set) var host: Host
    var socket: CommandSocket
    /// A port of the first bridge that belongs to no guest.
    let stormPort: Int32
    /// The time for making the interfaces and for preparing the guests, in nanoseconds.
    private(set) var interfacesNanoseconds: Int64 = 0
    private(set) var prepareNanoseconds: [Int64] = []

    /// - Parameters:
    ///   - guests: the number of guests.
    ///   - addresses: the number of addresses of each guest.
    ///   - folder: the folder for the journal.
    ///   - guestsPerBridge: at most 500, because a bridge has up to 1,023 ports, and the first bridge has one for the storm.
    init(guests count: Int, addresses: Int, folder: String, guestsPerBridge: Int = 125) throws {
        self.folder = folder
        socket = try CommandSocket()
        host = try Host(folder: StateFolder(folder))
        let begin = monotonicNanoseconds()
        try Command.script("sh \(try WatchLab.quietNetwork(folder))")
        var commands = "link add storm0 type veth peer name storm0-far\n"
        var names: [(bridge: String, ports: [String])] = []
        var left = count
        var couple = 0
        while left > 0 {
            let here = min(left, 2 * guestsPerBridge)
            // Ports come in pairs, and so do guests.
            let pairs = (here + 1) / 2 * 2
            let bridges = (0..<2).map { "br\(couple * 2 + $0)" }
            for bridge in bridges { commands += "link add \(bridge) up type bridge mcast_snooping 0 forward_delay 0\n" }
            var ports: [[String]] = [[], []]
            for pair in 0..<pairs {
                let ends = (0..<2).map { "p\(couple * 2 + $0)x\(pair)" }
                commands +=
                    "link add \(ends[0]) numtxqueues 1 numrxqueues 1 type veth peer name \(ends[1]) numtxqueues 1 "
                    + "numrxqueues 1\n"
                for (end, bridge) in zip(ends, bridges) {
                    commands += "link set \(end) master \(bridge) up\n"
                    commands += "link set \(end) type bridge_slave mcast_flood off bcast_flood off\n"
                }
                for side in 0..<2 { ports[side].append(ends[side]) }
            }
            names += zip(bridges, ports).map { ($0, $1) }
            left -= here
            couple += 1
        }
        commands += "link set storm0 master br0 up\nlink set storm0-far up\n"
        let batch = folder + "/batch"
        try TextFile.write(commands, to: batch)
        try Command.script("ip -batch \(batch)")
        guard let storm = try Interface.index(of: "storm0") else { throw LabError("there is no storm0") }
        stormPort = storm
        interfacesNanoseconds = monotonicNanoseconds() - begin
        for (bridge, ports) in names {
            guard let index = try Interface.index(of: bridge) else { throw LabError("there is no \(bridge)") }
            for pair in 0..<(ports.count / 2) where guests.count < count {
                try prepare(
                    on: bridge, index, primary: ports[pair * 2], standby: ports[pair * 2 + 1], addresses: addresses)
            }
        }
    }

    private func prepare(
        on bridge: String, _ index: Int32, primary: String, standby: String, addresses count: Int
    ) throws {
        let number = guests.count
        let addresses = try (0..<count).map {
            try Address(mac: MACAddress(value: 0x5254_0100_0000 + UInt64(number) << 8 + UInt64($0)))
        }
        guard let ports = try? [primary, standby].compactMap({ try Interface.index(of: $0) }), ports.count == 2 else {
            throw LabError("there is no \(primary) or \(standby)")
        }
        let id = try GuestID("guest\(number)")
        let request = try PreparationRequest(
            id: id, bridge: bridge, primary: primary, standby: standby, uplink: nil, addresses: addresses,
            side: .primary)
        let begin = monotonicNanoseconds()
        let report = try Prepare(request).run(on: &host)
        prepareNanoseconds.append(monotonicNanoseconds() - begin)
        guard report.outcome == .done else { throw LabError("prepare \(id): \(report.failures) \(report.notes)") }
        guests.append(Guest(id: id, bridge: index, primary: ports[0], standby: ports[1], addresses: addresses))
    }

    /// A script that keeps the namespace's interfaces from sending by themselves.
    private static func quietNetwork(_ folder: String) throws -> String {
        let path = folder + "/quiet"
        let text =
            "for i in all default; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6 || true; done 2>/dev/null\n"
        try TextFile.write(text, to: path)
        return path
    }

    // MARK: - Actions of others

    /// Moves an address of a guest to its other port, as another program would.
    func steal(_ guest: Guest, _ address: Address) throws {
        try socket.perform(
            EntryRequest.set(address, port: guest.standby, state: .noARP, flags: [.create, .replace]))
    }

    /// Removes an entry of a guest.
    func delete(_ guest: Guest, _ address: Address) throws {
        try socket.perform(EntryRequest.delete(address, port: guest.primary))
    }

    /// The entries that differ from the prepared ones.
    func wrongEntries() throws -> [Address] {
        var wrong: [Address] = []
        for guest in guests {
            let found = try Table.read(guest.addresses, bridge: guest.bridge, using: &socket)
            for (address, entry) in zip(guest.addresses, found) {
                if entry?.port != guest.primary || entry?.isStatic != true { wrong.append(address) }
            }
        }
        return wrong
    }

    /// The number of repairs in the history.
    func repairs() throws -> Int {
        try HistoryReading.entries(HistoryFilter(limit: 1_000_000), in: StateFolder(folder)).count {
            $0.verb == "repair" && $0.outcome == "done"
        }
    }
}
