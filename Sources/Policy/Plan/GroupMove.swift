public import FDB
import Switchdev

/// What becomes of a guest's multicast group memberships when its addresses move; a value without I/O.
///
/// A bridge that snoops sends the frames of a group only to the ports that joined it, so memberships left on the old port
/// keep multicast from the guest, and with it IPv6 neighbour discovery, whose solicited-node groups are snooped too. So
/// each is copied to the new port before the addresses move, and both ports are served meanwhile. Afterwards the old port
/// is read again: what joined since is copied, then what is the guest's is removed, where the old port serves this guest
/// alone. On a port that others share nothing is removed: it ages.
///
/// Copies are temporary: they age like the original, and the guest's reports refresh them on the new port. Permanent
/// memberships, which nobody's reports would renew, are copied as permanent ones that are marked as fdbsteer's (kernel
/// 6.3 and later); only such marked ones are removed when the guest moves on, others stay as they are.
public struct GroupMove: Hashable, Sendable {
    /// A port that the guest leaves.
    public struct OldPort: Hashable, Sendable {
        /// Interface index.
        public let index: Int32
        /// Its name.
        public let name: String
        /// Everything behind it is the guest's.
        public let isGuestsAlone: Bool
    }

    /// Interface index of the bridge.
    public let bridge: Int32
    /// The ports that the guest leaves.
    public let oldPorts: [OldPort]
    /// Interface index of the port that it comes to.
    public let target: Int32
    /// The target leads to other hosts: what is permanent stays here, and a router behind it gets all groups anyway.
    public let isRemote: Bool

    /// Makes a move from its parts.
    public init(bridge: Int32, oldPorts: [OldPort], target: Int32, isRemote: Bool) {
        self.bridge = bridge
        self.oldPorts = oldPorts
        self.target = target
        self.isRemote = isRemote
    }

    /// The move of a guest to a side; nil when it leaves no port that has memberships of its own.
    ///
    /// Memberships on the uplink are those of everyone out there: a guest that arrives announces its own
    /// (`netdev_notify_peers` makes Linux send its reports again).
    ///
    /// - Parameters:
    ///   - guest: as it is now.
    ///   - side: where it goes.
    ///   - ports: interface indexes of the ports that have entries of its addresses.
    package init?(of guest: GuestInterface, to side: Side, from ports: Set<Int32>) {
        guard let target = guest.port(of: side) else { return nil }
        let old = guest.own.compactMap { place, port -> OldPort? in
            guard port.index != target.index else { return nil }
            let isAlone = !guest.sharesPorts && port.index != guest.uplink?.index
            guard isAlone || guest.side == place || ports.contains(port.index) else { return nil }
            return OldPort(index: port.index, name: port.name, isGuestsAlone: isAlone)
        }
        if old.isEmpty { return nil }
        self.init(bridge: guest.bridge.index, oldPorts: old, target: target.index, isRemote: side == .remote)
    }

    /// What lets the new port join every group that an old one is in.
    ///
    /// - Parameters:
    ///   - table: the groups of the old ports and the new one.
    ///   - isRenewing: what the new port has already is made as young as what the old ones have.
    public func additions(_ table: GroupTable, isRenewing: Bool = true) -> [GroupRequest] {
        let memberships = memberships(table)
        if memberships.isEmpty { return [] }
        var requests: [GroupKey: GroupRequest] = [:]
        for (key, entries) in Dictionary(grouping: memberships, by: \.key) {
            requests[key] = copy(of: entries, table, isRenewing: isRenewing)
        }
        // In the order of the table, so that the same table gives the same requests.
        var seen = Set<GroupKey>()
        return table.entries.compactMap { seen.insert($0.key).inserted ? requests[$0.key] : nil }
    }

    /// What removes the guest's memberships from the old ports that serve it alone, once the new port has them.
    ///
    /// - Parameters:
    ///   - table: read after the copies were made.
    ///   - copied: what the new port joined since the table was read.
    public func removals(_ table: GroupTable, copied: Set<GroupKey> = []) -> [GroupRequest] {
        memberships(table).compactMap { entry in
            guard oldPorts.contains(where: { $0.index == entry.port && $0.isGuestsAlone }) else { return nil }
            if entry.isPermanent, entry.protocol != .fdbsteer { return nil }
            guard isRemote || copied.contains(entry.key) || table.entry(entry.key, on: target) != nil else {
                return nil
            }
            return .leave(entry.key, port: entry.port, bridge: bridge)
        }
    }

    /// How many memberships of old ports the new port is in, or gets without joining.
    public func moved(_ table: GroupTable, copied: Set<GroupKey> = []) -> Int {
        Set(memberships(table).map(\.key)).count { key in
            copied.contains(key) || table.entry(key, on: target) != nil || table.isRouter(target, for: key)
        }
    }

    /// What the operator should know, from what was read before anything changed.
    public func notes(_ table: GroupTable) -> [String] {
        oldPorts.flatMap { port -> [String] in
            let entries = memberships(table).filter { $0.port == port.index }
            let kept = entries.count { $0.isPermanent && $0.protocol != .fdbsteer }
            var notes: [String] = []
            if !port.isGuestsAlone, entries.count > kept {
                notes.append(
                    "\(port.name) serves others too: \(GroupMove.words(entries.count - kept)) left there to age")
            }
            if kept > 0 {
                notes.append(
                    "\(kept) permanent of the group memberships of \(port.name) "
                        + (isRemote ? "stay there" : "stay there beside their copies"))
            }
            if table.routers.contains(where: { $0.port == port.index }) {
                notes.append(
                    "\(port.name) is a multicast router port: a router or querier in the guest is found on the new port "
                        + "by its next query")
            }
            return notes
        }
    }

    /// `1 group membership`, `5 group memberships`.
    package static func words(_ count: Int) -> String {
        count == 1 ? "1 group membership" : "\(count) group memberships"
    }

    /// The memberships of the old ports, without those that the kernel makes and removes by itself with others.
    private func memberships(_ table: GroupTable) -> [GroupEntry] {
        table.entries.filter { entry in
            guard oldPorts.contains(where: { $0.index == entry.port }), !entry.isHost, !entry.isDerived else {
                return false
            }
            guard let source = entry.key.source else { return true }
            let parent = table.entry(entry.key.anySource, on: entry.port)
            return parent?.sources.contains(source) != true
        }
    }

    /// What lets the new port join a group as the old ones did; nil when there is no need, or no way.
    private func copy(of entries: [GroupEntry], _ table: GroupTable, isRenewing: Bool) -> GroupRequest? {
        guard let first = entries.first else { return nil }
        let isPermanent = entries.contains { $0.isPermanent }
        if isRemote, isPermanent || table.isRouter(target, for: first.key) { return nil }
        var wanted = entries.dropFirst().reduce(Filter(first)) { $0.union(Filter($1)) }
        var isRenewal = false
        if let there = table.entry(first.key, on: target) {
            // A permanent one of others is theirs to set.
            guard !there.isPermanent, !isPermanent else { return nil }
            wanted = wanted.union(Filter(there))
            // What the port has already may be older, and so go before the guest's next report, or have other sources.
            let isOlder = !table.hasTimers || entries.contains { there.timer < $0.timer }
            isRenewal = wanted != Filter(there) || isRenewing && isOlder
            guard isRenewal else { return nil }
        }
        // A source list that has run empty is about to go, and the kernel does not take one.
        if wanted.isEmpty { return nil }
        let isPlain = first.key.source != nil || wanted == .everything
        return .join(
            first.key, port: target, bridge: bridge, state: isPermanent ? .permanent : .temporary,
            renewing: isRenewal, mode: isPlain ? nil : wanted.mode, sources: isPlain ? [] : wanted.sources.sorted(),
            protocol: isPermanent ? .fdbsteer : nil)
    }

    /// The sources that a membership takes.
    private struct Filter: Hashable {
        let mode: GroupFilterMode
        let sources: Set<IPAddress>

        static let everything = Filter(mode: .exclude, sources: [])

        init(mode: GroupFilterMode, sources: Set<IPAddress>) {
            self.mode = mode
            self.sources = sources
        }

        /// An (S,G) has one source by its key, and a list of its own means nothing.
        init(_ entry: GroupEntry) {
            guard entry.key.source == nil, let mode = entry.mode else {
                self = .everything
                return
            }
            self.init(mode: mode, sources: Set(entry.sources))
        }

        /// Takes nothing.
        var isEmpty: Bool { mode == .include && sources.isEmpty }

        /// What either takes.
        func union(_ other: Filter) -> Filter {
            switch (mode == .include, other.mode == .include) {
            case (true, true): Filter(mode: .include, sources: sources.union(other.sources))
            case (false, false): Filter(mode: .exclude, sources: sources.intersection(other.sources))
            case (true, false): Filter(mode: .exclude, sources: other.sources.subtracting(sources))
            case (false, true): Filter(mode: .exclude, sources: sources.subtracting(other.sources))
            }
        }
    }
}
