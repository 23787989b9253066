import FDB
import Glibc
import Lab
import Netlink
import Synchronization
import System

/// Watches a host's kernel until zebra has written a route that the other host advertises.
final class RouteWatch: Sendable {
    private let moment = Atomic<Int64>(0)
    private let stop = StopFlag()
    private let thread = Mutex<LabThread?>(nil)

    private static let pause: UInt32 = 500

    /// Watches until zebra has moved a MAC to the VXLAN port.
    ///
    /// - Throws: ``LabError``.
    convenience init(_ mac: String, on host: EVPNLab.Host) throws {
        let address = try Address(mac)
        try self.init(on: host) { socket in
            guard let bridge = try Interface.index(of: host.bridge), let uplink = try Interface.index(of: host.uplink)
            else { return false }
            let entry = try Table.read([address], bridge: bridge, using: &socket)[0]
            return entry?.port == uplink && entry?.flags.contains(.externallyLearned) == true
        }
    }

    /// Watches until zebra has made an IP address a neighbour on the host's bridge.
    ///
    /// - Throws: ``LabError``.
    convenience init(_ ip: IPAddress, on host: EVPNLab.Host) throws {
        try self.init(on: host) { socket in
            guard let bridge = try Interface.index(of: host.bridge) else { return false }
            return try IPNeighbour.read([(ip, bridge)], using: &socket)[0]?.isControlPlanes == true
        }
    }

    private init(
        on host: EVPNLab.Host, isThere: @escaping @Sendable (inout CommandSocket) throws -> Bool
    ) throws {
        let started = try Namespace.thread { [self] in
            try? host.namespace.run { [self] in
                var socket = try CommandSocket()
                while !stop.isSet {
                    if try isThere(&socket) {
                        moment.store(Stopwatch.realTime, ordering: .releasing)
                        return
                    }
                    usleep(RouteWatch.pause)
                }
            }
        }
        thread.withLock { $0 = started }
    }

    /// The route was seen.
    var hasSeen: Bool { moment.load(ordering: .acquiring) != 0 }

    /// Stops watching.
    ///
    /// - Returns: when the route was seen, in nanoseconds of CLOCK_REALTIME; nil if it was not.
    func end() -> Int64? {
        stop.set()
        thread.withLock { $0.take() }?.join()
        let seen = moment.load(ordering: .acquiring)
        return seen == 0 ? nil : seen
    }
}
