import FDB
import Glibc
import Lab
import Netlink
import Synchronization
import System

/// Watches a host's bridge until zebra has moved a MAC to the VXLAN port: the host has the new route.
final class RouteWatch: Sendable {
    private let moment = Atomic<Int64>(0)
    private let stop = StopFlag()
    private let thread = Mutex<LabThread?>(nil)

    private static let pause: UInt32 = 500

    /// - Throws: ``LabError``.
    init(_ mac: String, on host: EVPNLab.Host) throws {
        let started = try Namespace.thread { [self] in
            try? host.namespace.run { [self] in try watch(Address(mac), host) }
        }
        thread.withLock { $0 = started }
    }

    private func watch(_ address: Address, _ host: EVPNLab.Host) throws {
        var socket = try CommandSocket()
        guard let bridge = try Interface.index(of: host.bridge), let uplink = try Interface.index(of: host.uplink)
        else { return }
        while !stop.isSet {
            let entry = try Table.read([address], bridge: bridge, using: &socket)[0]
            if entry?.port == uplink, entry?.flags.contains(.externallyLearned) == true {
                moment.store(Stopwatch.realTime, ordering: .releasing)
                return
            }
            usleep(RouteWatch.pause)
        }
    }

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
