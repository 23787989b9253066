package import FDB

/// Follows on which ports addresses are, and counts their moves; no I/O.
///
/// Times are of CLOCK_REALTIME, in nanoseconds since 1970.
package struct Moves {
    /// How an entry came to be.
    package enum Origin: String, Hashable, Sendable, CaseIterable, Encodable {
        /// By a frame.
        case learned
        /// By a program; it does not age.
        case `static`
        /// By a control plane or a driver (NTF_EXT_LEARNED).
        case externLearn = "extern_learn"
        /// The host's own: frames to it are delivered here.
        case local

        package init(_ entry: Entry) {
            self =
                entry.isLocal ? .local : entry.isStatic ? .static : entry.isControlPlanes ? .externLearn : .learned
        }
    }

    /// An address that was on one port and is on another.
    package struct Move: Hashable, Sendable {
        /// The bridge's interface index.
        package let bridge: Int32
        package let address: Address
        /// Interface indexes of the ports.
        package let from: Int32
        package let to: Int32
        /// How the entry on the new port, and the one on the old port, was made.
        package let origin: Origin
        package let originBefore: Origin
        /// When it was heard of.
        package let time: Int64
        /// How long it was on the old port.
        package let stay: Int64
        /// How long it had no entry in between; 0 where it moved in place.
        package let gap: Int64
        /// The move of this address on this bridge that it is, counted from 1.
        package let number: Int
        /// It has returned to a port that it had left not longer ago than ``Moves/flapWindow``.
        package let isFlap: Bool
        /// The new port had spoken with the address before, this long ago and for this long, and lost it again: a port that spoke before
        /// its guest was there.
        package let early: (ago: Int64, stay: Int64)?

        package static func == (one: Move, other: Move) -> Bool {
            one.address == other.address && one.bridge == other.bridge && one.number == other.number
        }

        package func hash(into hasher: inout Hasher) {
            hasher.combine(address)
            hasher.combine(number)
        }
    }

    /// What one notification means.
    package enum Event: Sendable {
        /// The address has moved.
        case moved(Move)
        /// A MAC that has an entry on one port has another one in another VLAN on a second port.
        case second(bridge: Int32, address: Address, port: Int32, origin: Origin, other: Address, otherPort: Int32)
    }

    /// What was counted of one address that has moved.
    package struct Count: Hashable, Sendable {
        package let bridge: Int32
        package let address: Address
        /// The port where it is now; nil when it has no entry.
        package let port: Int32?
        package let moves: Int
        package let flaps: Int
        /// The port where it is had spoken with it before it stayed there.
        package let wasEarly: Bool
    }

    /// A return within this time is a flap, in nanoseconds.
    package static let flapWindow: Int64 = 10_000_000_000
    /// So long it is remembered that a port has spoken with an address and lost it again, in nanoseconds.
    package static let memory: Int64 = 300_000_000_000
    /// So many addresses without an entry are remembered.
    package static let goneLimit = 65_536

    /// Notifications that were taken.
    package private(set) var changes = 0
    /// Moves by how the new entry was made.
    package private(set) var moves: [Origin: Int] = [:]
    package private(set) var flaps = 0
    /// MACs that came to a second port, in another VLAN.
    package private(set) var seconds = 0

    private struct Spot {
        let address: Address
        var port: Int32
        var origin: Origin
        var since: Int64
        /// When its entry went; nil while it has one.
        var gone: Int64?
        /// The port before, and when it left that.
        var before: (port: Int32, left: Int64)?
        /// A port that had it for a while, and lost it to the port before.
        var early: (port: Int32, left: Int64, stay: Int64)?
        var moves = 0
        var flaps = 0
    }

    private struct Key: Hashable {
        let bridge: Int32
        let mac: MACAddress
    }

    /// The entries of each MAC; most have one.
    private var spots: [Key: [Spot]] = [:]
    private var gone = 0

    package init() {}

    /// All moves.
    package var total: Int { moves.values.reduce(0, +) }

    /// Takes an entry that is known already.
    package mutating func know(_ entry: Entry, at now: Int64) {
        guard let bridge = entry.bridge, !entry.isLocal else { return }
        let key = Key(bridge: bridge, mac: entry.address.mac)
        guard spots[key]?.contains(where: { $0.address == entry.address }) != true else { return }
        spots[key, default: []].append(
            Spot(address: entry.address, port: entry.port, origin: Origin(entry), since: now))
    }

    /// Takes a notification.
    package mutating func take(_ entry: Entry, isRemoval: Bool, at now: Int64) -> Event? {
        changes += 1
        // The ports' own MACs come and go with the ports.
        guard let bridge = entry.bridge, !entry.isLocal else { return nil }
        let key = Key(bridge: bridge, mac: entry.address.mac)
        let place = spots[key]?.firstIndex { $0.address == entry.address }
        if isRemoval {
            guard let place, spots[key]?[place].port == entry.port, spots[key]?[place].gone == nil else { return nil }
            spots[key]?[place].gone = now
            gone += 1
            if gone > Moves.goneLimit { forgetGone() }
            return nil
        }
        let origin = Origin(entry)
        guard let place, var spot = spots[key]?[place] else {
            let other = spots[key]?.first { $0.port != entry.port && $0.gone == nil }
            spots[key, default: []].append(Spot(address: entry.address, port: entry.port, origin: origin, since: now))
            guard let other else { return nil }
            seconds += 1
            return .second(
                bridge: bridge, address: entry.address, port: entry.port, origin: origin, other: other.address,
                otherPort: other.port)
        }
        let gap = spot.gone.map { max(0, now - $0) } ?? 0
        if spot.gone != nil {
            spot.gone = nil
            gone -= 1
        }
        var event: Event?
        if spot.port == entry.port {
            spot.origin = origin
        } else {
            event = .moved(move(&spot, to: entry.port, origin, bridge, gap: gap, at: now))
        }
        spots[key]?[place] = spot
        return event
    }

    private mutating func move(
        _ spot: inout Spot, to port: Int32, _ origin: Origin, _ bridge: Int32, gap: Int64, at now: Int64
    ) -> Move {
        let stay = max(0, now - gap - spot.since)
        let isFlap = spot.before.map { $0.port == port && now - $0.left <= Moves.flapWindow } ?? false
        let early = spot.early.flatMap { early in
            early.port == port && now - early.left <= Moves.memory
                ? (ago: now - early.left + early.stay, stay: early.stay) : nil
        }
        spot.moves += 1
        moves[origin, default: 0] += 1
        if isFlap {
            spot.flaps += 1
            flaps += 1
            // A frame brought it there; what a program does is no port's word.
            if spot.origin == .learned, early == nil { spot.early = (spot.port, now, stay) }
        }
        let move = Move(
            bridge: bridge, address: spot.address, from: spot.port, to: port, origin: origin, originBefore: spot.origin,
            time: now, stay: stay, gap: gap, number: spot.moves, isFlap: isFlap, early: early)
        spot.before = (spot.port, now)
        (spot.port, spot.origin, spot.since) = (port, origin, now)
        return move
    }

    /// Compares with a table that was read, because notifications were lost.
    ///
    /// - Parameter entries: all of a bridge.
    /// - Returns: what must have happened; moves in between are not among it.
    package mutating func reread(_ entries: some Sequence<Entry>, bridge: Int32, at now: Int64) -> [Event] {
        var events: [Event] = []
        var found: Set<Address> = []
        let before = changes
        for entry in entries {
            found.insert(entry.address)
            if let event = take(entry, isRemoval: false, at: now) { events.append(event) }
        }
        for (key, known) in spots where key.bridge == bridge {
            for (place, spot) in known.enumerated() where spot.gone == nil && !found.contains(spot.address) {
                spots[key]?[place].gone = now
                gone += 1
            }
        }
        changes = before
        return events
    }

    /// A storm of random MACs must not fill the memory: of those without an entry the ones that never moved are forgotten, or all.
    private mutating func forgetGone() {
        for keepsMovers in [true, false] where gone > Moves.goneLimit / 2 {
            for (key, known) in spots {
                let rest = known.filter { $0.gone == nil || (keepsMovers && $0.moves > 0) }
                if rest.count != known.count {
                    gone -= known.count - rest.count
                    spots[key] = rest.isEmpty ? nil : rest
                }
            }
        }
    }

    /// Addresses that have moved, those that moved most first.
    package func busiest(_ most: Int) -> [Count] {
        let moved = spots.flatMap { key, spots in
            spots.filter { $0.moves > 0 }.map { spot in
                Count(
                    bridge: key.bridge, address: spot.address, port: spot.gone == nil ? spot.port : nil,
                    moves: spot.moves, flaps: spot.flaps, wasEarly: spot.early?.port == spot.port)
            }
        }
        return Array(
            moved.sorted { ($1.moves, $0.bridge, $0.address) < ($0.moves, $1.bridge, $1.address) }.prefix(most))
    }

    /// Addresses that are remembered.
    package var remembered: Int { spots.values.reduce(0) { $0 + $1.count } }

    /// Addresses that have moved.
    package var movers: Int { spots.values.reduce(0) { $0 + $1.count { $0.moves > 0 } } }
}
