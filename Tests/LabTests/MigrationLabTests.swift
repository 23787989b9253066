import CLab
import Glibc
import Lab
import LossMeter
import Testing

/// What `fdbsteer-bench migrate` is made of.
@Suite(.serialized, .enabled(if: obstacle == nil, "\(obstacle ?? "")"))
struct MigrationLabTests {
    private static let guest = Interface.octets(MigrationHosts.guestMAC)

    @Test("a namespace has interfaces of its own, and lasts as long as its object")
    func namespaces() throws {
        let one = try NetworkNamespace()
        let other = try NetworkNamespace()
        try one.run { try Command.script("ip link add left0 type veth peer name right0") }
        #expect(try one.run { try Interface.index(of: "left0") } != nil)
        #expect(try other.run { try Interface.index(of: "left0") } == nil)
        let path = other.path
        try one.run { try Command.script("ip link set right0 netns \(path)") }
        #expect(try one.run { try Interface.index(of: "right0") } == nil)
        #expect(try other.run { try Interface.index(of: "right0") } != nil)
    }

    /// A guest's end of a tap, as QEMU has it.
    private final class Tap: Sendable {
        let descriptor: Int32

        init(_ name: String) throws {
            descriptor = clab_open_tap(name)
            guard descriptor >= 0 else { throw LabError("cannot open \(name): \(descriptor)") }
            try MigrationHosts.waitForForwarding(name)
        }

        deinit { close(descriptor) }

        func send(type: UInt16) throws {
            let frame =
                [UInt8](repeating: 0xff, count: 6) + MigrationLabTests.guest + [UInt8(type >> 8), UInt8(type & 0xff)]
                + [UInt8](repeating: 0, count: 46)
            guard write(descriptor, frame, frame.count) == frame.count else {
                throw LabError("cannot write to the tap")
            }
        }
    }

    @Test(
        "peers on both hosts and on the fabric reach a guest; the watch says by which port, and when the guest speaks")
    func watch() throws {
        let hosts = try MigrationHosts()
        let (target, source) = (hosts.hosts[1], hosts.hosts[0])
        let capacity = 10_000
        let (standby, watch) = try target.namespace.run {
            let standby = try Tap(target.standby)
            let primary = try Tap(target.primary)
            // From here on the bridges know where the guest is.
            try standby.send(type: 0x88b7)
            let ports = [target.standby, target.primary]
            let watch = try PortWatch(
                ports: ports, run: 70, runs: 3, capacity: capacity, guest: MigrationLabTests.guest)
            return (Pair(standby, primary), Boxed(watch))
        }
        let places = [
            (source.namespace, source.peer), (target.namespace, target.peer), (hosts.fabric, hosts.fabricPeer),
        ]
        let start = clab_now(CLOCK_REALTIME) + 50_000_000
        let streams = try places.enumerated().map { index, place in
            let port = MigrationHosts.far(place.1)
            return try place.0.run {
                Boxed(
                    try FrameStream(
                        interface: port, destination: MigrationLabTests.guest,
                        source: Interface.octets(MigrationHosts.peerMACs[index]), run: 70 + UInt32(index), rate: 1000,
                        start: start, capacity: capacity))
            }
        }
        // Until all are well under way.
        usleep(300_000)
        let sent = streams.map { $0.value.stop() }
        #expect(watch.value.lastWord(port: 0) == 0)
        // What QEMU says in the guest's name, then the guest.
        try standby.standby.send(type: 0x8035)
        usleep(50_000)
        #expect(watch.value.lastWord(port: 0) == 0)
        try standby.standby.send(type: 0x88b6)
        for _ in 0..<2000 where watch.value.lastWord(port: 0) == 0 { usleep(1000) }
        #expect(watch.value.lastWord(port: 0) > 0)
        #expect(watch.value.lastWord(port: 1) == 0)
        let record = watch.value.stop()
        #expect(record.drops == 0)
        for (stream, times) in sent.enumerated() {
            #expect(!times.isEmpty && !times.contains(0))
            #expect(record.served[stream] == Array(repeating: 1, count: times.count), "peer \(stream)")
        }
    }

    private struct Pair: Sendable {
        let standby: Tap
        let primary: Tap
        init(_ standby: Tap, _ primary: Tap) {
            self.standby = standby
            self.primary = primary
        }
    }

    /// Handed from thread to thread.
    private final class Boxed<T>: @unchecked Sendable {
        let value: T
        init(_ value: T) { self.value = value }
    }

    @Test("what a tap has no room for is counted")
    func drops() throws {
        let host = try MigrationHosts().hosts[0]
        let drops = try host.namespace.run {
            let tap = try Tap(host.standby)
            let before = try Interface.transmitDrops(of: host.standby)
            try Command.script("bridge fdb add \(MigrationHosts.guestMAC) dev \(host.standby) master static")
            // Nobody reads; the queue has room for 1000.
            _ = try PacedSender(
                interface: MigrationHosts.far(host.peer), receivers: [], destinationMAC: MigrationLabTests.guest,
                sourceMAC: Interface.octets(MigrationHosts.peerMACs[0]), rate: 10_000
            ).send(seconds: 0.3)
            return try withExtendedLifetime(tap) { try Interface.transmitDrops(of: host.standby) - before }
        }
        #expect(drops > 0)
    }
}
