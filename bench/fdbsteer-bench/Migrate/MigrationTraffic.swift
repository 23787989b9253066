import Lab
import LossMeter
import System

/// Numbered frames from three peers to each guest, and the watches on the guests' taps; used on one thread.
final class MigrationTraffic {
    /// Peers: on host a, on host b, on the fabric.
    static let peers = 3
    /// The longest migration including the time around it, in seconds.
    private static let longest = 120
    /// The time from `begin` to the first frame, in nanoseconds.
    private static let lead: Int64 = 100_000_000

    /// The most frames from a peer to a guest.
    let capacity: Int
    /// The time when the first frame was due.
    private(set) var start: Int64 = 0
    private let hosts: MigrationHosts
    private let guests: [MigrationGuest]
    private let rate: Int
    private let first: UInt32
    private let watches: [String: SharedBox<PortWatch>]
    private var senders: [[SharedBox<FrameStream>]] = []
    private var transmitted: [[[Int64]]] = []
    private var watched: [String: PortWatch.Record] = [:]

    /// Never used by two threads at once.
    private final class SharedBox<T>: @unchecked Sendable {
        let value: T
        init(_ value: T) { self.value = value }
    }

    /// Starts to watch.
    ///
    /// - Parameter rate: frames a second from each peer to each guest.
    init(_ hosts: MigrationHosts, to guests: [MigrationGuest], rate: Int) throws {
        self.hosts = hosts
        self.guests = guests
        self.rate = rate
        capacity = rate * MigrationTraffic.longest
        let (first, capacity) = (UInt32.random(in: 0..<(.max / 2)), capacity)
        self.first = first
        let watched = guests.map {
            PortWatch.Guest(mac: Interface.octets($0.mac), ports: $0.ports)
        }
        watches = Dictionary(
            uniqueKeysWithValues: try hosts.hosts.map { host in
                let watch = try host.namespace.run {
                    SharedBox(
                        try PortWatch(watched, run: first, runs: MigrationTraffic.peers, capacity: capacity))
                }
                return (host.name, watch)
            })
    }

    /// The first of a guest's runs.
    func run(of guest: Int) -> UInt32 { first + UInt32(guest * MigrationTraffic.peers) }

    /// The time of a guest's last frame on the port of its VF, or on its only port, on a host.
    func lastWord(of guest: Int, on host: String) -> Int64 {
        watches[host]?.value.lastWord(guest: guest, port: guests[guest].ports.count - 1) ?? 0
    }

    /// Starts to send.
    func begin() throws {
        start = Stopwatch.realTime + MigrationTraffic.lead
        let places = hosts.hosts.map { ($0.namespace, $0.peer) } + [(hosts.fabric, hosts.fabricPeer)]
        senders = try guests.indices.map { guest in
            try places.enumerated().map { peer, place in
                let (mac, port, run, start) = (guests[guest].mac, place.1, run(of: guest), due(guest, 0))
                let (rate, capacity) = (rate, capacity)
                return try place.0.run {
                    SharedBox(
                        try FrameStream(
                            interface: MigrationHosts.far(port), destination: Interface.octets(mac),
                            source: Interface.octets(MigrationHosts.peerMACs[peer]), run: run + UInt32(peer),
                            rate: rate, start: start, capacity: capacity))
                }
            }
        }
    }

    /// The guests' frames are spread over time instead of sent all at the same moment.
    private func due(_ guest: Int, _ frame: Int) -> Int64 {
        let gap = 1_000_000_000 / Int64(rate)
        return start + gap * Int64(guest) / Int64(guests.count) + gap * Int64(frame)
    }

    /// Stops sending and, once the queued frames have reached the guests, stops watching.
    func end(settling: () -> Void) {
        transmitted = senders.map { $0.map { $0.value.stop() } }
        settling()
        watched = watches.mapValues { $0.value.stop() }
    }

    // MARK: - Afterwards

    /// Frames that the watches missed.
    var drops: Int { watched.values.reduce(0) { $0 + Int($1.drops) } }

    /// The largest delay of a guest's frames, in nanoseconds.
    func lag(of guest: Int) -> Int64 {
        transmitted[guest].flatMap { times in
            times.enumerated().map { $0.element - due(guest, $0.offset) }
        }.max() ?? 0
    }

    /// Frames of a guest that left through other guests' ports.
    func strayed(of guest: Int) -> Int { watched.values.reduce(0) { $0 + $1.strayed[guest] } }

    /// The frames that one peer sent to a guest, and the ports that they left through.
    ///
    /// - Parameter places: the guest's first host, then the other one if the guest moves there.
    func recording(of guest: Int, peer: Int, places: [String], count: GuestCount) -> MigrationRecording {
        let transmitted = transmitted[guest][peer]
        var served = [ServedPorts](repeating: [], count: transmitted.count)
        var departures: [MigrationRecording.Departure] = []
        for (place, host) in places.enumerated() {
            let bits = watched[host]?.served[guest][peer] ?? []
            for (frame, ports) in zip(served.indices, bits) {
                served[frame].formUnion(ServedPorts(rawValue: ports << UInt8(2 * place)))
            }
            for (port, times) in (watched[host]?.left[guest][peer] ?? []).enumerated() {
                for (frame, time) in zip(served.indices, times)
                where time >= transmitted[frame] + MigrationRecording.Departure.least && transmitted[frame] != 0 {
                    departures.append(.init(frame: frame, port: MigrationTraffic.port(port, at: place), time: time))
                }
            }
        }
        return MigrationRecording(
            transmitted: transmitted, served: served, marks: count.marks.map(GuestMarks.init(rawValue:)),
            accepted: count.times, places: count.places, departures: departures)
    }

    /// The questions to a guest and its answers.
    ///
    /// - Parameter places: as for ``recording(of:peer:places:count:)``.
    func signals(of guest: Int, places: [String]) -> [GuestSignal] {
        places.enumerated().flatMap { place, host in
            (watched[host]?.signals[guest] ?? []).map {
                GuestSignal(time: $0.time, port: MigrationTraffic.port($0.port, at: place), isAnswer: $0.isAnswer)
            }
        }
    }

    private static func port(_ port: Int, at place: Int) -> ServedPorts {
        ServedPorts(rawValue: 1 << UInt8(port + 2 * place))
    }
}
