import FDB
import Glibc
import Lab
import Netlink
import System

/// Neighbours beside a guest's on the hosts of the EVPN bench: those of other guests on the target, which FRR makes neighbours of
/// the source too, and as many of nobody as make the kernel collect.
struct NeighbourCrowd {
    private let lab: EVPNLab
    /// Neighbours of other guests in each family.
    private let count: Int

    /// The MAC that has the other guests' addresses; it is behind the port of the target's peer.
    private static let mac = "02:00:00:fd:b5:c1"
    /// An interface whose neighbours zebra advertises to nobody.
    private static let spare = "underlay"
    /// The kernel's tables have 1,024 places by default (`gc_thresh3`); those with more than this are not filled.
    private static let mostFiller = 16_384
    private static let batch = 256
    private static let patience: Int64 = 20_000_000_000

    /// - Parameter count: neighbours of other guests in each family.
    /// - Throws: ``LabError``.
    init(_ lab: EVPNLab, count: Int) throws {
        self.lab = lab
        self.count = count
        for (host, number) in [(lab.source, 1), (lab.target, 2)] {
            try host.namespace.run {
                try Command.script(
                    """
                    ip addr add 10.128.0.\(number)/9 dev \(host.bridge)
                    ip addr add 2001:db8::\(number)/32 dev \(host.bridge) nodad
                    """)
            }
        }
        let target = lab.target
        try target.namespace.run {
            try Command.script("bridge fdb add \(NeighbourCrowd.mac) dev \(target.peer) master static")
        }
    }

    /// An IPv4 and an IPv6 address of the bridges' subnets.
    static func addresses(subnet: Int, _ number: Int) throws -> [IPAddress] {
        let (high, low) = (UInt8(number >> 8 & 0xff), UInt8(number & 0xff))
        let six: [UInt8] = [0x20, 0x01, 0x0d, 0xb8, 0, UInt8(subnet), 0, 0, 0, 0, 0, 0, 0, 0, high, low]
        return [[10, 128 + UInt8(subnet), high, low], six].compactMap { IPAddress(octets: $0) }
    }

    // MARK: - Other guests

    /// Makes or removes the neighbours of other guests on the target, and waits until the source's are the same.
    func setOthers(areThere: Bool) throws {
        let (target, mac) = (lab.target, MACAddress(NeighbourCrowd.mac))
        let all = try (0..<count).flatMap { try NeighbourCrowd.addresses(subnet: 2, $0) }
        try target.namespace.run {
            guard let bridge = try Interface.index(of: target.bridge) else { throw LabError("no \(target.bridge)") }
            var socket = try CommandSocket()
            let requests = all.map { ip in
                areThere
                    ? IPNeighbourRequest.set(IPNeighbour(ip: ip, interface: bridge, mac: mac, state: .permanent))
                    : .delete(ip, interface: bridge)
            }
            if let failure = socket.perform(requests).compactMap({ $0 }).first { throw failure }
        }
        let end = monotonicNanoseconds() + NeighbourCrowd.patience
        while try others(on: lab.source).count != (areThere ? all.count : 0) {
            guard monotonicNanoseconds() < end else {
                throw LabError("the source has \(try others(on: lab.source).count) neighbours of the target's others")
            }
            usleep(20_000)
        }
    }

    /// The neighbours of other guests on a host as `ip neigh show` prints them, sorted.
    func others(on host: EVPNLab.Host) throws -> [Substring] {
        let all = try host.namespace.run { try Command.run(["ip", "neigh", "show", "dev", host.bridge]).output }
        return all.split(separator: "\n").filter { $0.contains(" lladdr \(NeighbourCrowd.mac) ") }.sorted()
    }

    // MARK: - The kernel's collection

    /// Why the kernel cannot be made to collect; nil if it can.
    static var obstacle: String? {
        for family in ["ipv4", "ipv6"] {
            let file = "/proc/sys/net/\(family)/neigh/default/gc_thresh3"
            let places = Int(TextFile.read(file).prefix { $0.isNumber }) ?? 0
            if places > mostFiller / 2 { return "\(file) is \(places), and \(mostFiller / 2) is the most here" }
        }
        return nil
    }

    /// Adds neighbours, NUD_NOARP and of nobody, until the kernel has collected the first of them in both families
    /// (`neigh_forced_gc`). All namespaces share its tables.
    ///
    /// - Throws: ``LabError`` if it collects none.
    func makeKernelCollect(on host: EVPNLab.Host) throws {
        try host.namespace.run {
            guard let spare = try Interface.index(of: NeighbourCrowd.spare) else { throw LabError("no underlay") }
            var socket = try CommandSocket()
            for family in 0...1 {
                func filler(_ number: Int) throws -> IPNeighbour {
                    IPNeighbour(
                        ip: try NeighbourCrowd.addresses(subnet: 3, number)[family], interface: spare,
                        mac: MACAddress(NeighbourCrowd.mac), state: .noARP)
                }
                var added = 0
                repeat {
                    guard added < NeighbourCrowd.mostFiller else {
                        throw LabError("the kernel collects none of \(added) neighbours: gc_thresh3 is greater")
                    }
                    let next = try (added..<added + NeighbourCrowd.batch).map { IPNeighbourRequest.set(try filler($0)) }
                    if let failure = socket.perform(next).compactMap({ $0 }).first { throw failure }
                    added += NeighbourCrowd.batch
                } while try IPNeighbour.read([(try filler(0).ip, spare)], using: &socket)[0] != nil
                let used = try (0..<added).map { IPNeighbourRequest.delete(try filler($0).ip, interface: spare) }
                _ = socket.perform(used)
            }
        }
    }
}
