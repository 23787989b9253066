public import FDB
package import Switchdev

/// What a guardian of prepared guests has to know to tell, from the kernel's notifications alone, whether one of them may
/// have been changed from outside; no I/O.
///
/// It only raises suspicion. Notifications lag behind the table and the journal, so whoever acts looks again under the
/// guest's lock (``Keeper/check(_:cause:)``).
public struct Watch: Sendable {
    /// Why a guest is to be looked at.
    public enum Cause: String, Hashable, Sendable, CaseIterable {
        /// An address has its entry on another port.
        case stolen
        /// An entry was removed.
        case removed
        /// An entry may age or roam, or has become local.
        case weakened
        /// A port was changed: gone, out of the bridge, its learning or its carrier.
        case port
        /// A static entry of an eswitch port shows no OFFLOADED flag.
        case flagLost = "flag_lost"
        /// The journal's record was written by another process.
        case recorded
        /// A port has come under the name of a primary that was lost.
        case primaryBack = "primary_back"
        /// A process died in the middle of a verb.
        case unfinished
        /// Everything is looked at: at the start, after lost notifications, and from time to time.
        case resync

        /// Nothing wrong was seen yet.
        package var isVague: Bool { [.recorded, .resync, .port, .primaryBack].contains(self) }
    }

    /// A guest that is to be looked at.
    public struct Suspicion: Hashable, Sendable {
        /// The guest's row in the journal.
        public let row: Int64
        /// Why.
        public let cause: Cause

        /// - Parameters:
        ///   - row: the guest's row in the journal.
        ///   - cause: why it is to be looked at.
        public init(row: Int64, cause: Cause) {
            self.row = row
            self.cause = cause
        }
    }

    private struct Key: Hashable {
        let bridge: Int32
        let address: Address
    }

    /// What of a port matters here.
    package struct PortFacts: Hashable {
        package var master: Int32?
        package var isUp = true
        package var hasCarrier = true
        package var learns: Bool?
    }

    package private(set) var records: [Int64: GuestRecord] = [:]
    private var rows: [GuestID: Int64] = [:]
    private var owners: [Key: Int64] = [:]
    /// The guests by the ports that are theirs alone, and by the uplinks that many share.
    private var users: [Int32: Set<Int64>] = [:]
    /// The guests by their bridges.
    private var tenants: [Int32: Set<Int64>] = [:]
    private var facts: [Int32: PortFacts] = [:]
    /// Guests by the names of primaries that have vanished.
    private var lost: [String: Int64] = [:]

    /// A watch over nobody.
    public init() {}

    /// How many guests are watched.
    public var count: Int { records.count }
    /// The name of a guest that is watched.
    public func name(_ row: Int64) -> String? { records[row]?.guest.id.text }
    /// A guest that is watched, by its name.
    package func record(named id: GuestID) -> GuestRecord? { rows[id].flatMap { records[$0] } }
    /// The bridges that guests are on.
    package var bridges: Set<Int32> { Set(tenants.keys) }
    /// The guests that have an interface for a port or a bridge.
    package func rows(at index: Int32) -> Set<Int64> { users[index] ?? tenants[index] ?? [] }

    /// Watches a guest, or what has become of it.
    package mutating func set(_ record: GuestRecord) {
        remove(record.row)
        records[record.row] = record
        rows[record.guest.id] = record.row
        for address in record.guest.addresses {
            owners[Key(bridge: record.guest.bridge.index, address: address)] = record.row
        }
        for (_, port) in record.guest.ports { users[port.index, default: []].insert(record.row) }
        tenants[record.guest.bridge.index, default: []].insert(record.row)
    }

    /// Watches a guest no longer.
    package mutating func remove(_ row: Int64) {
        guard let record = records.removeValue(forKey: row) else { return }
        if rows[record.guest.id] == row { rows[record.guest.id] = nil }
        tenants[record.guest.bridge.index]?.remove(row)
        if tenants[record.guest.bridge.index]?.isEmpty == true { tenants[record.guest.bridge.index] = nil }
        for address in record.guest.addresses {
            let key = Key(bridge: record.guest.bridge.index, address: address)
            if owners[key] == row { owners[key] = nil }
        }
        for (_, port) in record.guest.ports {
            users[port.index]?.remove(row)
            if users[port.index]?.isEmpty == true {
                users[port.index] = nil
                facts[port.index] = nil
            }
        }
    }

    /// The guest that an entry belongs to.
    package func owner(of address: Address, bridge: Int32) -> GuestRecord? {
        owners[Key(bridge: bridge, address: address)].flatMap { records[$0] }
    }

    /// What a change of an entry says about a guest; nil when it is nobody's, or as it should be.
    public func hear(_ change: FDBMonitor.Change) -> Suspicion? {
        guard let bridge = change.entry.bridge, let record = owner(of: change.entry.address, bridge: bridge) else {
            return nil
        }
        if change.isRemoval { return Suspicion(row: record.row, cause: .removed) }
        return suspicion(change.entry, record)
    }

    /// What an entry says about its guest.
    package func suspicion(_ entry: Entry, _ record: GuestRecord) -> Suspicion? {
        let guest = record.guest
        guard let port = guest.port(of: record.entrySide) else { return nil }
        if entry.port != port.index { return Suspicion(row: record.row, cause: .stolen) }
        if !entry.isStatic || entry.isSticky != guest.isSticky {
            return Suspicion(row: record.row, cause: .weakened)
        }
        if port.isEswitchPort, record.proof == .proven, !entry.flags.contains(.offloaded) {
            return Suspicion(row: record.row, cause: .flagLost)
        }
        return nil
    }

    /// What a link notification says about guests: those to look at.
    ///
    /// - Parameters:
    ///   - change: what every notification says.
    ///   - link: decodes the interface, which few notifications need.
    /// - Throws: what `link` throws.
    package mutating func hear<E: Error>(
        _ change: LinkChange, link: () throws(E) -> Link
    ) throws(E) -> [Suspicion] {
        let index = change.index
        guard let rows = users[index] else {
            return change.isRemoval || change.isOfPort || lost.isEmpty ? [] : newcomer(try link())
        }
        if change.isRemoval {
            facts[index] = PortFacts()
            for row in rows where !change.isOfPort {
                if let primary = records[row]?.guest.primary, primary.index == index { lost[primary.name] = row }
            }
        } else if change.isOfPort {
            // The port's settings are in another attribute there, and change seldom: those who have the port look.
            return rows.filter { records[$0]?.guest.uplink?.index != index }.map { Suspicion(row: $0, cause: .port) }
        } else if !learn(try link()) {
            return []
        }
        // An uplink is everybody's: it concerns those who are behind it.
        return rows.filter { row in
            guard let guest = records[row]?.guest else { return false }
            return guest.uplink?.index != index || guest.side == .remote
        }.sorted().map { Suspicion(row: $0, cause: .port) }
    }

    /// A port that has the name of a primary which is gone.
    private func newcomer(_ link: Link) -> [Suspicion] {
        // What is sent to a port that is not up yet is lost; its coming up is told too.
        guard let row = lost[link.name], records[row]?.guest.bridge.index == link.master, link.isUp else { return [] }
        return [Suspicion(row: row, cause: .primaryBack)]
    }

    /// A vanished primary has come back, or is waited for no more.
    package mutating func found(_ name: String) { lost[name] = nil }

    /// The carrier of a guest's primary, where it is known.
    public func primaryCarrier(_ row: Int64) -> Bool? {
        records[row].flatMap { facts[$0.guest.primary.index] }.map { $0.hasCarrier && $0.isUp }
    }

    /// Notes how a port is, and tells whether that is news.
    package mutating func learn(_ link: Link) -> Bool {
        guard users[link.index] != nil else { return false }
        let new = PortFacts(
            master: link.master, isUp: link.isUp, hasCarrier: link.hasCarrier,
            learns: link.bridgePort?.flags.contains(.learning))
        let old = facts.updateValue(new, forKey: link.index)
        return old != new
    }
}
