/// The memberships of a bridge's ports, kept by applying the kernel's notifications (``GroupWatch``).
///
/// State that the kernel does not announce is never cached (br_mdb.c and br_multicast.c in net/bridge):
///
/// - A source of a list expired, an (S,G) exists because of others (`MDB_PG_FLAGS_STAR_EXCL`), or the host is in an
///   (S,G). A port with sources is therefore read each time, and the host's memberships are not kept.
/// - Which member of a port left (`multicast_to_unicast`). A port that may have two members in one group is read each time.
/// - A report refreshed a membership: see ``GroupTable/hasTimers``.
/// - For which protocol a port became a router or is no longer one. A port counts as a router until the timers that were
///   read have run out or a removal is announced; a new router port is read.
struct KeptGroups {
    let bridge: Int32
    /// Sorted by interface index.
    private var ports: [Port] = []
    private let routers: [RouterPort]
    /// When they were read (CLOCK_MONOTONIC, nanoseconds).
    private let readAt: Int64

    init(bridge: Int32, entries: [GroupEntry], routers: [RouterPort], readAt: Int64) {
        self.bridge = bridge
        self.routers = routers
        self.readAt = readAt
        for entry in entries where !entry.isHost {
            if !ports[place(of: entry.port)].add(entry) { ports[place(of: entry.port)].isShared = true }
        }
    }

    /// Applies a change.
    ///
    /// - Returns: false if the change does not say enough: the groups must be read again.
    mutating func apply(_ change: GroupChange) -> Bool {
        switch change.subject {
        case .router(let router):
            // Index 0 is the bridge itself.
            return router.port == 0
        case .entry(let entry):
            if entry.isHost { return true }
            let place = place(of: entry.port)
            ports[place].take(entry, isRemoval: change.isRemoval)
            if ports[place].isEmpty { ports.remove(at: place) }
            return true
        }
    }

    /// The memberships of some ports; nil if one of them must be read.
    func table(of wanted: [Int32], at now: Int64) -> GroupTable? {
        let those = routers.filter { wanted.contains($0.port) }
        let age = now - readAt
        guard those.allSatisfy({ $0.lifetime.map { age < Int64($0) * 10_000_000 } ?? true }) else { return nil }
        var entries: [GroupEntry] = []
        for (place, port) in wanted.enumerated() where !wanted[..<place].contains(port) {
            let found = self.place(for: port)
            guard found < ports.count, ports[found].index == port else { continue }
            guard ports[found].isCertain else { return nil }
            entries += ports[found].entries
        }
        return GroupTable(bridge: bridge, entries: entries, routers: those, hasTimers: false)
    }

    /// The position of a port, or the position where it belongs.
    private func place(for port: Int32) -> Int {
        var (low, high) = (0, ports.count)
        while low < high {
            let middle = (low + high) / 2
            if ports[middle].index < port { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The position of a port, which is added if it is missing.
    private mutating func place(of port: Int32) -> Int {
        let place = place(for: port)
        if place == ports.count || ports[place].index != port { ports.insert(Port(index: port), at: place) }
        return place
    }

    /// The memberships of one port.
    private struct Port {
        let index: Int32
        private(set) var entries: [GroupEntry] = []
        /// Two members may be in one group; notifications do not say which one they concern.
        var isShared = false
        /// The position of each membership, if there are so many that a search would take long.
        private var places: [GroupKey: Int]?

        init(index: Int32) { self.index = index }

        var isEmpty: Bool { entries.isEmpty && !isShared }
        var isCertain: Bool { !isShared && entries.allSatisfy(\.isPlain) }

        /// Adds a membership; returns false if there is already one in this group.
        mutating func add(_ entry: GroupEntry) -> Bool {
            if place(of: entry.key) != nil { return false }
            entries.append(entry)
            if places != nil {
                places?[entry.key] = entries.count - 1
            } else if entries.count > GroupTable.searchLimit {
                places = Dictionary(entries.enumerated().map { ($1.key, $0) }) { $1 }
            }
            return true
        }

        mutating func take(_ entry: GroupEntry, isRemoval: Bool) {
            if isShared { return }
            guard let place = place(of: entry.key) else {
                if !isRemoval { _ = add(entry) }
                return
            }
            if isRemoval { return remove(at: place) }
            // A request never makes a second member (`br_mdb_add_group_star_g`). A report does, or it adds sources to a
            // membership that it has just made without any.
            let isByReport = entry.protocol == nil || entry.protocol == .kernel
            if isByReport, !entries[place].isNew || entry.isNew { isShared = true }
            entries[place] = entry
        }

        private func place(of key: GroupKey) -> Int? {
            guard let places else { return entries.firstIndex { $0.key == key } }
            return places[key]
        }

        private mutating func remove(at place: Int) {
            places?[entries[place].key] = nil
            let last = entries.removeLast()
            guard place < entries.count else { return }
            entries[place] = last
            places?[last.key] = place
        }
    }
}

extension GroupEntry {
    /// The kernel announces everything that changes it.
    fileprivate var isPlain: Bool { key.source == nil && sources.isEmpty && mode != .include }
    /// The form in which reports of IGMPv3 and MLDv2 make it, before they say which sources are wanted.
    fileprivate var isNew: Bool { mode == .include && sources.isEmpty }
}
