import CLab
import Glibc
import Lab
import LossMeter
import System
import Testing

/// The parts of `fdbsteer-bench migrate`.
@Suite(.serialized, .enabled(if: obstacle == nil, "\(obstacle ?? "")"))
struct MigrationLabTests {
    private static let guest = Interface.octets(MigrationGuest(0).mac)

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

    /// A guest's end of a tap, as QEMU holds it.
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
            let standby = try Tap(MigrationGuest(0).standby)
            let primary = try Tap(MigrationGuest(0).primary)
            // From here on the bridges know the guest's place.
            try standby.send(type: 0x88b7)
            let watch = try PortWatch([MigrationLabTests.watched(0)], run: 70, runs: 3, capacity: capacity)
            return (Pair(standby, primary), Boxed(watch))
        }
        let places = [
            (source.namespace, source.peer), (target.namespace, target.peer), (hosts.fabric, hosts.fabricPeer),
        ]
        let start = Stopwatch.realTime + 50_000_000
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
        // Wait until all streams are running.
        usleep(300_000)
        let sent = streams.map { $0.value.stop() }
        #expect(watch.value.lastWord(guest: 0, port: 0) == 0)
        // First the frame that QEMU sends for the guest, then one from the guest.
        try standby.standby.send(type: 0x8035)
        usleep(50_000)
        #expect(watch.value.lastWord(guest: 0, port: 0) == 0)
        try standby.standby.send(type: 0x88b6)
        for _ in 0..<2000 where watch.value.lastWord(guest: 0, port: 0) == 0 { usleep(1000) }
        #expect(watch.value.lastWord(guest: 0, port: 0) > 0)
        #expect(watch.value.lastWord(guest: 0, port: 1) == 0)
        let record = watch.value.stop()
        #expect(record.drops == 0)
        for (stream, times) in sent.enumerated() {
            #expect(!times.isEmpty && !times.contains(0))
            #expect(record.served[0][stream] == Array(repeating: 1, count: times.count), "peer \(stream)")
        }
    }

    private static func watched(_ number: Int) -> PortWatch.Guest {
        let guest = MigrationGuest(number)
        return PortWatch.Guest(mac: Interface.octets(guest.mac), ports: [guest.standby, guest.primary])
    }

    @Test("a frame that leaves by another guest's port is cross-talk, and is not counted as served")
    func crossTalk() throws {
        let host = try MigrationHosts(guests: 2).hosts[0]
        let record = try host.namespace.run {
            let (first, second) = (MigrationGuest(0), MigrationGuest(1))
            let taps = try [first, second].map { try Tap($0.standby) }
            try Command.script(
                """
                bridge fdb add \(first.mac) dev \(second.standby) master static
                bridge fdb add \(second.mac) dev \(second.standby) master static
                """)
            let watch = try PortWatch((0..<2).map(MigrationLabTests.watched), run: 70, runs: 1, capacity: 1000)
            let streams = try [first, second].enumerated().map { number, guest in
                try FrameStream(
                    interface: MigrationHosts.far(host.peer), destination: Interface.octets(guest.mac),
                    source: Interface.octets(MigrationHosts.peerMACs[0]), run: 70 + UInt32(number), rate: 1000,
                    start: Stopwatch.realTime, capacity: 50)
            }
            usleep(300_000)
            streams.forEach { _ = $0.stop() }
            return withExtendedLifetime(taps) { watch.stop() }
        }
        #expect(record.strayed == [50, 0])
        #expect(record.served == [[[]], [Array(repeating: 1, count: 50)]])
    }

    @Test(
        "a guest with one port has one; without flooding what is for an address that no bridge knows leaves by no port")
    func onePort() throws {
        let hosts = try MigrationHosts(arePairs: false, floodsUnknown: false)
        let (host, guest) = (hosts.hosts[0], hosts.guests[0])
        #expect(guest.ports == ["tap0"])
        let record = try host.namespace.run {
            #expect(try Interface.index(of: guest.primary) == nil)
            let tap = try Tap(guest.standby)
            let watch = try PortWatch(
                [PortWatch.Guest(mac: MigrationLabTests.guest, ports: guest.ports)], run: 70, runs: 2, capacity: 1000)
            for run in UInt32(70)...71 {
                if run == 71 { try Command.script("bridge fdb add \(guest.mac) dev \(guest.standby) master static") }
                let stream = try FrameStream(
                    interface: MigrationHosts.far(host.peer), destination: MigrationLabTests.guest,
                    source: Interface.octets(MigrationHosts.peerMACs[0]), run: run, rate: 1000,
                    start: Stopwatch.realTime,
                    capacity: 50)
                usleep(200_000)
                _ = stream.stop()
            }
            return withExtendedLifetime(tap) { watch.stop() }
        }
        #expect(record.served == [[[], Array(repeating: 1, count: 50)]])
    }

    private struct Pair: Sendable {
        let standby: Tap
        let primary: Tap
        init(_ standby: Tap, _ primary: Tap) {
            self.standby = standby
            self.primary = primary
        }
    }

    /// Passed from one thread to another.
    private final class Boxed<T>: @unchecked Sendable {
        let value: T
        init(_ value: T) { self.value = value }
    }

    @Test("what a tap has no room for is counted")
    func drops() throws {
        let host = try MigrationHosts().hosts[0]
        let drops = try host.namespace.run {
            let guest = MigrationGuest(0)
            let tap = try Tap(guest.standby)
            let before = try Interface.transmitDrops(of: guest.standby)
            try Command.script("bridge fdb add \(guest.mac) dev \(guest.standby) master static")
            // There is no reader; the queue has room for 1000 frames.
            _ = try PacedSender(
                interface: MigrationHosts.far(host.peer), receivers: [], destinationMAC: MigrationLabTests.guest,
                sourceMAC: Interface.octets(MigrationHosts.peerMACs[0]), rate: 10_000
            ).send(seconds: 0.3)
            return try withExtendedLifetime(tap) { try Interface.transmitDrops(of: guest.standby) - before }
        }
        #expect(drops > 0)
    }
}
