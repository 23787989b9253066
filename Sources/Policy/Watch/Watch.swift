public import FDB
package import Switchdev

/// The state that decides, from the kernel's notifications alone, whether a prepared guest may have been changed from
/// outside; without I/O.
///
/// It only raises suspicion. Notifications lag behind the table and the journal, so the caller checks again under the
/// guest's lock before it acts (``Keeper/check(_:cause:)``).
public struct Watch: Sendable {
    /// The reason to check a guest.
    public enum Cause: String, Hashable, Sendable, CaseIterable {
        /// The entry of an address is on another port.
        case stolen
        /// An entry was removed.
        case removed
        /// An entry may age or roam, or has become local.
        case weakened
        /// A port changed: it is gone, left the bridge, or its learning or carrier changed.
        case port
        /// A static entry of an eswitch port has no OFFLOADED flag.
        case flagLost = "flag_lost"
        /// A neighbour that follows a guest is missing, or is another's.
        case neighbour
        /// Another process wrote the journal's record.
        case recorded
        /// A port appeared with the name of a lost primary.
        case primaryBack = "primary_back"
        /// A port of a guest that is on another host has received frames.
        case heard
        /// Every guest is checked: at the start, after lost notifications, and from time to time.
        case resync

        /// The cause does not show anything wrong by itself.
        package var isVague: Bool { [.recorded, .resync, .port, .primaryBack].contains(self) }
    }

    /// A guest to check.
    public struct Suspicion: Hashable, Sendable {
        /// The guest's row in the journal.
        public let row: Int64
        /// The reason.
        public let cause: Cause

        /// - Parameters:
        ///   - row: the guest's row in the journal.
        ///   - cause: the reason to check the guest.
        public init(row: Int64, cause: Cause) {
            self.row = row
            self.cause = cause
        }
    }

    private struct Key: Hashable {
        let bridge: Int32
        let address: Address
    }

    private struct NeighbourKey: Hashable {
        let interface: Int32
        let ip: IPAddress
    }

    /// The properties of a port that matter here.
    package struct PortFacts: Hashable {
        package var name = ""
        package var master: Int32?
        package var isUp = true
        package var hasCarrier = true
        package var learns: Bool?
        package var isTunnel = false
    }

    package private(set) var records: [Int64: GuestRecord] = [:]
    private var rows: [GuestID: Int64] = [:]
    private var owners: [Key: Int64] = [:]
    /// The guests by the ports that belong to them alone, and by the uplinks that many share.
    private var users: [Int32: Set<Int64>] = [:]
    /// The guests by their bridges.
    private var tenants: [Int32: Set<Int64>] = [:]
    private var facts: [Int32: PortFacts] = [:]
    /// The guests by the neighbours that follow them, and by the interfaces of those, with whether the interface was last seen up.
    private var neighbourOwners: [NeighbourKey: Int64] = [:]
    private var neighbourUsers: [Int32: (rows: Set<Int64>, isUp: Bool?)] = [:]
    /// The guests by the names of primaries that have disappeared.
    private var lost: [String: Int64] = [:]

    /// Makes a watch without guests.
    public init() {}

    /// The number of watched guests.
    public var count: Int { records.count }
    /// A watched guest by its name.
    package func record(named id: GuestID) -> GuestRecord? { rows[id].flatMap { records[$0] } }
    /// The guests that use an interface as a port or a bridge.
    package func rows(at index: Int32) -> Set<Int64> { users[index] ?? tenants[index] ?? [] }

    /// Starts to watch a guest, or replaces its record. What was heard of its ports and interfaces goes on to hold.
    package mutating func set(_ record: GuestRecord) {
        let old = records[record.row]?.guest
        // What a redirection writes is in no index.
        if rows[record.guest.id] == record.row, var moved = old {
            moved.side = record.guest.side
            if moved == record.guest {
                records[record.row] = record
                return
            }
        }
        let heard = (old?.ports ?? []).map { ($0.port.index, facts[$0.port.index]) }
        let interfaces = (old?.neighbourInterfaces ?? []).map { ($0.index, neighbourUsers[$0.index]?.isUp) }
        defer {
            for (index, fact) in heard where users[index] != nil { facts[index] = fact }
            for (index, isUp) in interfaces { neighbourUsers[index]?.isUp = isUp ?? nil }
        }
        remove(record.row)
        records[record.row] = record
        rows[record.guest.id] = record.row
        for address in record.guest.addresses {
            owners[Key(bridge: record.guest.bridge.index, address: address)] = record.row
        }
        for (_, port) in record.guest.ports { users[port.index, default: []].insert(record.row) }
        tenants[record.guest.bridge.index, default: []].insert(record.row)
        for neighbour in record.guest.neighbours ?? [] {
            let index = neighbour.interface.index
            neighbourOwners[NeighbourKey(interface: index, ip: neighbour.ip)] = record.row
            neighbourUsers[index, default: ([], nil)].rows.insert(record.row)
        }
    }

    /// Stops watching a guest.
    package mutating func remove(_ row: Int64) {
        guard let record = records.removeValue(forKey: row) else { return }
        if rows[record.guest.id] == row { rows[record.guest.id] = nil }
        tenants[record.guest.bridge.index]?.remove(row)
        if tenants[record.guest.bridge.index]?.isEmpty == true { tenants[record.guest.bridge.index] = nil }
        for neighbour in record.guest.neighbours ?? [] {
            let key = NeighbourKey(interface: neighbour.interface.index, ip: neighbour.ip)
            if neighbourOwners[key] == row { neighbourOwners[key] = nil }
            neighbourUsers[key.interface]?.rows.remove(row)
            if neighbourUsers[key.interface]?.rows.isEmpty == true { neighbourUsers[key.interface] = nil }
        }
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

    /// What a change of an entry shows about a guest; nil if it concerns no guest or matches the record.
    public func hear(_ change: FDBMonitor.Change) -> Suspicion? {
        guard let bridge = change.entry.bridge, let record = owner(of: change.entry.address, bridge: bridge) else {
            return nil
        }
        if change.isRemoval { return Suspicion(row: record.row, cause: .removed) }
        // A verb moves entries before its record says so.
        if record.isUnfinished, let goal = record.goal, record.fault(of: change.entry, on: goal) == nil { return nil }
        return record.fault(of: change.entry).map { Suspicion(row: record.row, cause: $0) }
    }

    /// Whether a guest has neighbours on an interface.
    package func hasNeighbours(on interface: Int32) -> Bool { neighbourUsers[interface] != nil }

    /// What a change of a neighbour shows about a guest; nil if it concerns none, or is as recorded.
    ///
    /// - Parameter isRemoval: it is gone.
    package func hear(_ found: IPNeighbour, isRemoval: Bool) -> Suspicion? {
        guard let row = neighbourOwners[NeighbourKey(interface: found.interface, ip: found.ip)],
            let guest = records[row]?.guest,
            let neighbour = guest.neighbours?.first(where: { $0.isKey(of: found) })
        else { return nil }
        return neighbour.isRight(isRemoval ? nil : found, at: guest.side) ? nil : Suspicion(row: row, cause: .neighbour)
    }

    /// What a link notification shows about neighbours: the guests to check when their interface comes up, which has lost them.
    package mutating func hearNeighbours<E: Error>(
        _ change: LinkChange, link: () throws(E) -> Link
    ) throws(E) -> [Suspicion] {
        guard let users = neighbourUsers[change.index], !change.isOfPort else { return [] }
        let isUp = if change.isRemoval { false } else { try link().isUp }
        neighbourUsers[change.index]?.isUp = isUp
        if users.isUp == isUp { return [] }
        return users.rows.sorted().map { Suspicion(row: $0, cause: .port) }
    }

    /// What a link notification shows about guests: the guests to check.
    ///
    /// - Parameters:
    ///   - change: the part that every notification has.
    ///   - link: decodes the interface, which few notifications need.
    /// - Throws: the errors that `link` throws.
    package mutating func hear<E: Error>(
        _ change: LinkChange, link: () throws(E) -> Link
    ) throws(E) -> [Suspicion] {
        let index = change.index
        guard let rows = users[index] else {
            if let rows = tenants[index], !change.isRemoval, !change.isOfPort {
                let name = try link().name
                return rows.filter { records[$0]?.guest.bridge.name != name }.sorted().map {
                    Suspicion(row: $0, cause: .port)
                }
            }
            return change.isRemoval || change.isOfPort || lost.isEmpty ? [] : newcomer(try link())
        }
        var isRenamed = false
        if change.isRemoval {
            facts[index] = PortFacts()
            for row in rows where !change.isOfPort {
                if let primary = records[row]?.guest.primary, primary.index == index { lost[primary.name] = row }
            }
        } else if change.isOfPort {
            // The port's settings are in another attribute there, and seldom change, so every guest with the port is checked.
            return rows.filter { records[$0]?.guest.uplink?.index != index }.map { Suspicion(row: $0, cause: .port) }
        } else {
            let link = try link()
            guard learn(link) else { return [] }
            isRenamed = rows.contains { records[$0]?.guest.name(ofPort: index) != link.name }
        }
        // An uplink is shared: only the guests behind it are affected, unless its name has changed.
        return rows.filter { row in
            guard let guest = records[row]?.guest else { return false }
            return isRenamed || guest.uplink?.index != index || guest.side == .remote
        }.sorted().map { Suspicion(row: $0, cause: .port) }
    }

    /// A port that has the name of a lost primary, or may be the same port in hardware.
    private func newcomer(_ link: Link) -> [Suspicion] {
        // Frames to a port that is not up are lost; a notification follows when it comes up.
        guard link.isUp else { return [] }
        return lost.filter { name, row in
            guard let guest = records[row]?.guest, guest.bridge.index == link.master else { return false }
            return link.isCalled(name) || (link.isEswitchPort && guest.primary?.devlink != nil)
        }.values.sorted().map { Suspicion(row: $0, cause: .primaryBack) }
    }

    /// A lost primary has come back, or is no longer awaited.
    package mutating func found(_ name: String) { lost[name] = nil }

    /// The carrier of a guest's primary, or nil if unknown.
    public func primaryCarrier(_ row: Int64) -> Bool? {
        records[row]?.guest.primary.flatMap { facts[$0.index] }.map { $0.hasCarrier && $0.isUp }
    }

    /// A port is a tunnel, as far as it was heard of.
    package func isTunnel(_ port: Int32) -> Bool { facts[port]?.isTunnel == true }

    /// Records the state of a port, and returns whether it changed.
    package mutating func learn(_ link: Link) -> Bool {
        guard users[link.index] != nil else { return false }
        let new = PortFacts(
            name: link.name, master: link.master, isUp: link.isUp, hasCarrier: link.hasCarrier,
            learns: link.bridgePort?.flags.contains(.learning), isTunnel: link.isTunnel)
        let old = facts.updateValue(new, forKey: link.index)
        return old != new
    }
}
