import FDB
import Netlink
import Policy
import Switchdev

/// What is listened to while it is not certain where a guest's addresses are: their frames by the guest's own ports and by the uplink,
/// and what their entries say. ``Trail`` judges it.
///
/// Packet sockets see the frames that reach the CPU, with their sources. What hardware forwards by itself shows in a port's counter
/// alone, which says that the guest speaks, not by which address.
final class Doubt {
    /// The signs, by the guest's MACs.
    private(set) var trails: [MACAddress: Trail] = [:]
    /// MACs whose entries were left where the record does not have them.
    private(set) var away: Set<MACAddress> = []
    /// MACs that are on another host while the guest is here.
    var elsewhere: Set<MACAddress> = []
    /// How often entries were put back.
    var restorations = 0
    /// The last sign of the guest's own ports, by any address, and the port's side.
    private(set) var spokeAt: Int64 = 0
    private(set) var spokeBy: Side?
    /// When the guest was last heard to probe an address (RFC 5227) by its own ports.
    private(set) var probedAt: Int64?
    let limits: Trail.Limits
    /// On CLOCK_MONOTONIC, in nanoseconds.
    let openedAt: Int64
    private let macs: Set<MACAddress>
    private let arrival: Side
    private let ears: [Ear]
    private let counted: [Int32]
    private var received: UInt64?

    private final class Ear {
        let side: Side
        let frames: GuestFrames

        init(_ side: Side, _ frames: consuming GuestFrames) {
            self.side = side
            self.frames = frames
        }
    }

    /// - Parameter listens: opens packet sockets; otherwise entries and counters are all that is heard.
    init(_ guest: GuestInterface, _ observation: Observation, listens: Bool, at now: Int64, limits: Trail.Limits) {
        macs = Set(guest.addresses.map(\.mac))
        arrival = guest.arrival
        self.limits = limits
        openedAt = now
        // The uplink first: of what came in since the last look, the guest's own frames count as the later ones.
        var ears: [Ear] = []
        var counted: [Int32] = []
        for (side, port) in guest.ports.reversed() {
            let isOwn = side != .remote && port.index != guest.port(of: .remote)?.index
            var frames: GuestFrames?
            if listens { frames = try? GuestFrames(from: macs, port: port.index, takesAnnouncements: true) }
            if isOwn, frames == nil || observation.ports[side]?.isEswitchPort == true { counted.append(port.index) }
            if let frames { ears.append(Ear(isOwn ? side : .remote, frames)) }
        }
        self.ears = ears
        // A port that serves others counts their frames too.
        self.counted = guest.sharesPorts ? [] : counted
    }

    var isListening: Bool { !ears.isEmpty }
    private func hears(_ side: Side) -> Bool { ears.contains { $0.side == side } }

    /// Reads the frames and counters that have changed since the last call.
    func listen(at now: Int64, using socket: inout CommandSocket) {
        for ear in ears {
            ear.frames.take { mac, kind in
                guard macs.contains(mac) else { return }
                if ear.side == .remote {
                    trails[mac, default: Trail()].heardAbroad(at: now)
                } else {
                    if kind == .probe { probedAt = now }
                    heard(mac, by: ear.side, at: now, announcements: kind == .announcement ? 1 : 0)
                }
            }
        }
        guard !counted.isEmpty, let counters = try? PortCounters.read(counted, using: &socket) else { return }
        let sum = counters.reduce(0) { $0 &+ ($1?.rxPackets ?? 0) }
        if let received, received != sum {
            for mac in Array(trails.keys) { heard(mac, by: spokeBy, at: now) }
            spokeAt = now
        }
        received = sum
    }

    private func heard(_ mac: MACAddress, by side: Side?, at now: Int64, announcements: Int = 0) {
        trails[mac, default: Trail()].heardAtHome(at: now, announcements: announcements, limits: limits)
        spokeAt = now
        if let side { spokeBy = side }
    }

    /// A MAC answered a question that was put by one of the guest's own ports.
    func answered(_ mac: MACAddress, by side: Side, at now: Int64) {
        guard macs.contains(mac) else { return }
        trails[mac, default: Trail()].answeredAtHome(at: now, limits: limits)
        spokeAt = now
        spokeBy = side
    }

    /// Takes what entries say: one that was not astray when they were last looked at has been moved since.
    func note(_ astray: [Drift.Stray], isHere: Bool, at now: Int64) {
        var news: Set<MACAddress> = []
        for stray in astray where !away.contains(stray.address.mac) { news.insert(stray.address.mac) }
        for stray in astray {
            let mac = stray.address.mac
            switch stray.origin {
            case .controlPlane: trails[mac, default: Trail()].claimedAbroad(at: now)
            case .frame where news.remove(mac) != nil:
                // A packet socket that was open has already counted the frame that moved the entry.
                let isNew = now == openedAt
                if isHere, isNew || !hears(.remote) { trails[mac, default: Trail()].heardAbroad(at: now) }
                if !isHere, isNew || !hears(arrival) { heard(mac, by: arrival, at: now) }
            default: break
            }
            away.insert(mac)
        }
    }

    /// Entries were put back, or are by themselves where the record has them.
    func restored(_ macs: some Sequence<MACAddress>) {
        for mac in macs {
            away.remove(mac)
            elsewhere.remove(mac)
            trails[mac]?.unclaim()
        }
    }

    /// No entry is astray.
    func settle() { restored(away) }

    /// When it ends unless there are more signs, on CLOCK_MONOTONIC in nanoseconds.
    func end(isHere: Bool) -> Int64 {
        let last = trails.values.map(\.last).max() ?? openedAt
        return last + (isHere ? limits.silence : 2 * limits.patience)
    }

    /// Nothing was heard of the guest at all.
    var isEmpty: Bool { trails.isEmpty }
}
