package import FDB
package import Netlink
package import Policy
import Switchdev

/// What is heard of the kernel, and what is read beforehand for as long as nothing is heard of it.
extension Keeper {
    /// What a notification of a changed entry says about a guest.
    package mutating func hear(_ change: FDBMonitor.Change) -> Watch.Suspicion? {
        if !awaited.isEmpty { hearAwaited(change) }
        if !change.isRemoval, let bridge = change.entry.bridge,
            let record = watch.owner(of: change.entry.address, bridge: bridge)
        {
            hearClaim(change.entry, of: record)
            countMove(change.entry, of: record)
        }
        return watch.hear(change)
    }

    /// Keeps what is heard of an entry of a guest that is not prepared. A MAC has at most one entry for each VLAN.
    private mutating func hearAwaited(_ change: FDBMonitor.Change) {
        let address = change.entry.address
        guard awaited[address.mac] != nil else { return }
        awaited[address.mac]?[address] = .some(change.isRemoval ? nil : Entry(change.entry))
        linkNews.haveChanged = true
    }

    /// Counts that a guest's address is on another port than it was heard, or recorded, to be.
    private mutating func countMove(_ entry: Entry, of record: GuestRecord) {
        let old = wards[record.row]?.places.updateValue(entry.port, forKey: entry.address)
        guard (old ?? record.guest.port(of: record.entrySide)?.index) != entry.port else { return }
        counters.countMove(on: record.guest.bridge.name, Moves.Origin(entry))
    }

    /// Records whether a control plane made a guest's entry at its uplink.
    mutating func hearClaim(_ entry: Entry, of record: GuestRecord) {
        guard entry.port == record.guest.port(of: .remote)?.index else { return }
        if record.isClaim(entry) {
            wards[record.row]?.claimed.insert(entry.address)
        } else {
            wards[record.row]?.claimed.remove(entry.address)
        }
    }

    /// What a notification of a link says about guests.
    package mutating func hear(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> [Watch.Suspicion] {
        guard let change = try LinkChange(header, payload) else {
            return try hearNeighbour(header, payload).map { [$0] } ?? []
        }
        guardsAreOld = true
        let rows = watch.rows(at: change.index)
        if rows.isEmpty || change.isRemoval { linkNews.haveComeOrGone = true } else { linkNews.haveChanged = true }
        suspect(rows)
        for row in rows where wards[row]?.ready != nil { spoilReady(row) }
        let suspicions = try watch.hear(change) { () throws(NetlinkError) in try Link(decoding: payload) }
        guard watch.hasNeighbours(on: change.index) else { return suspicions }
        let users = try watch.hearNeighbours(change) { () throws(NetlinkError) in try Link(decoding: payload) }
        suspect(users.map(\.row))
        return suspicions + users
    }

    /// What a notification of a changed neighbour says about a guest: the group of bridge entries has those too.
    private func hearNeighbour(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> Watch.Suspicion? {
        guard header.type == .newNeighbour || header.type == .deleteNeighbour,
            let interface = IPNeighbour.interface(of: payload), watch.hasNeighbours(on: interface),
            let found = try IPNeighbour(decoding: payload)
        else { return nil }
        return watch.hear(found, isRemoval: header.type == .deleteNeighbour)
    }

    /// What a look may follow at once: a guest can take its carrier away and give it back, or send under a MAC that is fought over, as
    /// often as it likes.
    private static let flapLimits = RepairBudget.Limits(burst: 20, firstWait: 100_000_000, longestWait: 5_000_000_000)
    private static let fightLimits = RepairBudget.Limits(burst: 20, firstWait: 100_000_000, longestWait: 1_000_000_000)

    /// Decides whether a suspicion is a reason to look at a guest now, or when to look at it (CLOCK_MONOTONIC, nanoseconds). A guest
    /// that a verb is working on has to wait.
    package mutating func ask(for suspicion: Watch.Suspicion, now: Int64) -> RepairBudget.Verdict {
        if watch.records[suspicion.row]?.isUnfinished == true {
            return .wait(until: now + Keeper.unfinishedPause, isNews: false)
        }
        let isFought = wards[suspicion.row]?.isFought == true
        guard suspicion.cause == .port || isFought else { return .now }
        return wards[suspicion.row]?.looks.ask(at: now, isFought ? Keeper.fightLimits : Keeper.flapLimits) ?? .now
    }

    /// Hears of multicast groups from now on.
    ///
    /// - Parameter receiveBuffer: bytes to ask for.
    /// - Returns: a descriptor for poll(2).
    package mutating func watchGroups(receiveBuffer: Int32) throws(ControllerError) -> Int32 {
        try Keeper.hearing { () throws(NetlinkError) in
            let watch = try GroupWatch(receiveBuffer: receiveBuffer)
            let descriptor = watch.descriptor
            host.kernel.groupWatch = consume watch
            return descriptor
        }
    }

    /// Takes over what was announced of multicast groups. Those of a bridge that are no longer known are read again when a guest
    /// is made ready.
    package mutating func hearGroups() throws(ControllerError) {
        let isComplete = try Keeper.hearing { () throws(NetlinkError) in try host.kernel.groupWatch?.hear() ?? true }
        if !isComplete { spoilReady() }
    }

    private static func hearing<T>(_ body: () throws(NetlinkError) -> T) throws(ControllerError) -> T {
        do throws(NetlinkError) {
            return try body()
        } catch {
            throw ControllerError(.precondition, "cannot hear of multicast groups", cause: error)
        }
    }

    // MARK: - Ready

    /// Names the guests whose redirections follow QEMU's events: what they do by themselves is not drift, and what their next
    /// redirection has to know is read beforehand.
    package mutating func follow(_ rows: Set<Int64>) {
        for (row, ward) in wards where ward.isFollowed != rows.contains(row) {
            wards[row]?.isFollowed = !ward.isFollowed
            conditionsAreNew = true
            suspect([row])
            if ward.isFollowed { stopAsking(row) }
            if ward.isFollowed { wards[row]?.word = nil }
            spoilReady(row)
        }
    }

    /// Guests are followed whose ports were not read yet (``makeOneReady()``).
    package var isUnready: Bool { !unready.isEmpty }

    /// Reads what the next redirection of one followed guest has to know, so that it has only the entries to read.
    package mutating func makeOneReady() {
        guard let row = unready.popFirst(), let record = watch.records[row] else { return }
        // The filters of a NIC are read when they are needed: the kernel does not announce their changes.
        guard record.guest.nic == nil, let ports = try? host.kernel.observePorts(of: record.guest) else {
            wards[row]?.keepReady(nil, for: record)
            return
        }
        wards[row]?.keepReady(ports, for: record)
        if record.guest.side == .remote, record.guest.uplink != nil {
            let announcer = try? makeAnnouncer(of: record)
            wards[row]?.announcer = announcer
        }
        guard let bridge = ports.bridge, bridge.hasGroups, host.kernel.groupWatch?.keeps(bridge.index) != true else {
            return
        }
        // What fails here is found again, and reported, by the redirection.
        _ = try? host.kernel.groups(of: bridge.index, on: [])
    }

    /// Not every notification was heard: what was read before may be wrong.
    package mutating func spoilReady() {
        for (row, ward) in wards where ward.isFollowed { spoilReady(row) }
    }

    /// What was read for a guest may be wrong now.
    mutating func spoilReady(_ row: Int64) {
        wards[row]?.ready = nil
        wards[row]?.announcer = nil
        if wards[row]?.isFollowed == true { unready.insert(row) } else { unready.remove(row) }
    }

    /// Takes what was read for a guest's record; it is to be read again then.
    mutating func takeReady(_ record: GuestRecord) -> Observation? {
        guard let found = wards[record.row]?.ready else { return nil }
        let isCurrent = wards[record.row]?.readyRevision == record.revision
        spoilReady(record.row)
        return isCurrent ? found : nil
    }
}

extension Entry {
    /// The same entry whatever its age.
    fileprivate init(_ entry: Entry) {
        self.init(
            address: entry.address, port: entry.port, bridge: entry.bridge, state: entry.state, flags: entry.flags,
            extendedFlags: entry.extendedFlags)
    }
}
