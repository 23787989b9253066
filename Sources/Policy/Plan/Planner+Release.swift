package import FDB
import Switchdev

extension Planner {
    /// Plans to give a guest's entries back as `prepare` found them, on the side where the guest is, and its ports their settings.
    ///
    /// What is gone, or was taken over by others, is left alone and noted. What an open bracket has on the standby is given back on the
    /// guest's side, where `abort` would bring it.
    ///
    /// - Parameters:
    ///   - found: the entries as `prepare` found them; nil for a record of a version that did not keep them.
    ///   - isBracketed: a bracket is open, or its opening or closing did not end.
    ///   - neighbours: the neighbours as `prepare` found them.
    ///   - isUnfinished: the guest's `prepare` did not come to its end.
    ///   - isAtRest: no verb was interrupted before.
    package func release(
        _ guest: GuestInterface, observation: Observation, found: EntrySet?, neighbours: [IPNeighbour] = [],
        isBracketed: Bool = false, isUnfinished: Bool = false, isAtRest: Bool = true
    ) -> Plan {
        var notes: [String] = []
        var steps: [Step] = []
        let home = isBracketed ? HomeComing(guest, observation, &notes) : nil
        if observation.bridge == nil { notes.append("bridge \(guest.bridge.name) no longer exists") }
        let given = guest.addresses.compactMap { address -> PlannedChange? in
            guard let entry = observation.entry(address) else {
                if observation.bridge != nil { notes.append("\(address) has no entry any more") }
                return nil
            }
            guard let side = guest.side(ofPort: entry.port), let port = guest.port(of: side), !entry.isLocal else {
                if let port = observation.roamed(entry, found: found) {
                    notes.append("\(address) was moved to \(port.name) by a frame, given back to learning there")
                    return Plan.giveBack(entry, as: port.isEswitchPort ? .learnedAnew : .learned)
                }
                notes.append("\(address) is no longer on a port of this guest, left alone: \(entry)")
                return nil
            }
            if let home, entry.port == home.origin, entry.isStatic {
                let (end, note) = GivingBack(guest, guest.side, home.port, observation).end(
                    of: home.moved(entry), found: found)
                if let note { notes.append("\(address) \(note)") }
                return Plan.giveBack(entry, as: end, on: home.port, links: observation.links)
            }
            let (end, note) = GivingBack(guest, side, port, observation).end(of: entry, found: found)
            if let note { notes.append("\(address) \(note)") }
            return Plan.giveBack(entry, as: end)
        }
        let deleted = given.count { $0.expected == nil && observation.links[$0.change.port]?.isEswitchPort == true }
        if deleted > 0 {
            notes.append(
                "\(deleted) of \(given.count) entries are deleted, so that hardware forgets them: the guest's next "
                    + "frame is learned and offloaded anew")
        }
        steps += PortSetting.restoration(guest, observation, isAtRest: isAtRest, &notes)
        let filters = FilterPlan.release(guest, observation.filters, isUnfinished: isUnfinished)
        steps += filters.map(Step.filter)
        if guest.nic != nil, !isUnfinished { notes.append("the VF's MAC is left as it is") }
        // What is deleted is to be learned at once.
        if !given.isEmpty { steps.insert(.entries(given), at: deleted > 0 ? steps.endIndex : 0) }
        let givenNeighbours = NeighbourChange.givingBack(guest, observation, found: neighbours, notes: &notes)
        if !givenNeighbours.isEmpty { steps.append(.neighbours(givenNeighbours)) }
        if guest.needsTable {
            steps.append(
                .sourceGuard(GuardChange(SourceGuard(guest, links: observation.links), isOn: false)))
        }
        return Plan(
            verb: .release, guest: guest, from: guest.side, to: guest.side, steps: steps, notes: notes,
            links: observation.links)
    }
}

/// Where entries go that a bracket has on the standby.
private struct HomeComing {
    /// The port on the guest's side.
    let port: PortIdentity
    /// Interface index of the standby.
    let origin: Int32

    /// - Returns: nil where the port of the guest's side delivers nothing: the entries are given back where they are, and a note says so.
    init?(_ guest: GuestInterface, _ observation: Observation, _ notes: inout [String]) {
        let origin = guest.standby.index
        guard let port = guest.port(of: guest.side), origin != port.index else { return nil }
        guard let link = observation.ports[guest.side], link.master == guest.bridge.index, link.obstacle == nil else {
            notes.append("\(port.name) delivers nothing: what is on \(guest.standby.name) is given back there")
            return nil
        }
        self.port = port
        self.origin = origin
    }

    /// An entry as it would be after the way back; a control plane's flag stays on one that moves in place.
    func moved(_ entry: Entry) -> Entry {
        Entry(
            address: entry.address, port: port.index, bridge: entry.bridge, state: .noARP,
            flags: entry.flags.intersection(.externallyLearned))
    }
}

extension Observation {
    /// The port of others that has a guest's pin: a frame moves one that is not sticky, and it stays static. Where no frame can have
    /// moved it, and where `prepare` found a static entry, it is not ours.
    fileprivate func roamed(_ entry: Entry, found: EntrySet?) -> Link? {
        guard let found, found[entry.address]?.isStatic != true, entry.isStatic, let port = links[entry.port] else {
            return nil
        }
        return EntryOrigin(entry, on: port) == .frame ? port : nil
    }
}

/// Decides what becomes of a released guest's entries on one port, the one where the guest is.
///
/// An entry goes back to what it was, as long as that reaches the guest: one that ages, or none, is right only where the bridge
/// would learn the guest anew, or floods frames for unknown addresses to it.
private struct GivingBack {
    /// What an entry is to be.
    enum End: Hashable {
        /// Static, and sticky or not.
        case fixed(sticky: Bool)
        /// Aged and moved by learning.
        case learned
        /// Aged by learning; deleted and made anew, so that hardware or NTF_EXT_LEARNED do not stay.
        case learnedAnew
        /// A control plane's.
        case external
        case deleted
    }

    private let side: Side
    private let port: PortIdentity
    private let forwards: Bool
    private let learns: Bool
    private let floods: Bool

    init(_ guest: GuestInterface, _ side: Side, _ port: PortIdentity, _ observation: Observation) {
        self.side = side
        self.port = port
        let flags = observation.ports[side]?.bridgePort?.flags ?? []
        forwards = observation.ports[side].map(\.obstacle) == .some(.none)
        // With an ageing time of 0 the bridge learns nothing (`br_fdb_update`).
        let ages = observation.bridge?.bridge.map { $0.ageingTime > 0 } ?? true
        learns = ages && (flags.contains(.learning) || port.learningToRestore)
        floods = flags.contains(.flood)
    }

    /// What an entry of the port is to be, and what the operator should know about it.
    func end(of entry: Entry, found: EntrySet?) -> (End, note: String?) {
        let before = found?[entry.address]
        let isWhereFound = before?.port == entry.port
        // A static entry that led to the guest on this host has no reason on the uplink, once the guest has gone there.
        if let before, before.isStatic, isWhereFound || side != .remote {
            let word = before.isSticky ? "static sticky" : "static"
            return (.fixed(sticky: before.isSticky), "stays \(word) on \(port.name): it was so before prepare")
        }
        // A control plane's entry says where it saw the guest. What a driver has learned, it learns anew.
        if let before, before.isControlPlanes, isWhereFound, !port.isEswitchPort {
            return (.external, "is a control plane's again on \(port.name) (extern_learn)")
        }
        // No frame moves an entry to an uplink that does not learn: the control plane has heard of the guest elsewhere since, and
        // would not make again what it believes to be there.
        if side == .remote, !learns, forwards, entry.flags.contains(.externallyLearned), !port.isEswitchPort {
            return (.external, "is left to the control plane that has it on \(port.name) (extern_learn)")
        }
        guard learns || floods else {
            return (
                .fixed(sticky: false),
                "stays static on \(port.name): the port learns no addresses and floods no unknown ones, so nobody would "
                    + "reach the guest once the entry had aged"
            )
        }
        if !learns, found != nil, before == nil {
            return (.deleted, "is deleted, as there was none before prepare: \(port.name) floods frames for it")
        }
        // The kernel refuses dynamic entries on a port that does not forward (EPERM).
        if !forwards { return (.deleted, "is deleted: \(port.name) does not forward") }
        // Drivers are not told of an entry that becomes dynamic: hardware would keep its rule for ever. Deleted, it is
        // learned and offloaded anew; where unknown addresses are not flooded, software keeps it until it ages.
        if port.isEswitchPort { return (floods ? .deleted : .learnedAnew, nil) }
        return (entry.flags.contains(.externallyLearned) ? .learnedAnew : .learned, nil)
    }
}

extension Plan {
    /// Plans what becomes of an entry at a release; nil when it is so already.
    ///
    /// - Parameters:
    ///   - home: where it goes; nil where it is.
    ///   - links: the ports that have a part in that.
    fileprivate static func giveBack(
        _ entry: Entry, as end: GivingBack.End, on home: PortIdentity? = nil, links: Links = Links([])
    ) -> PlannedChange? {
        let (address, port) = (entry.address, home?.index ?? entry.port)
        let change: EntryChange
        let expected: PlannedChange.Expectation?
        switch end {
        case .fixed(let sticky):
            let primitive = primitive(before: entry, fromEswitch: isEswitch(entry.port, links), to: port)
            change = EntryChange(
                address, home == nil ? .replace : primitive, port: port, oldPort: home == nil ? nil : entry.port,
                sticky: sticky)
            expected = .init(port: port, isStatic: true, isSticky: sticky)
        case .learned, .learnedAnew:
            // One that others have let age already is left to them.
            if entry.isDynamic { return nil }
            // Drivers are told of no move in place.
            let isFresh = end == .learnedAnew || (home != nil && isEswitch(entry.port, links))
            change = EntryChange(
                address, isFresh ? .recreateDynamic : .makeDynamic, port: port, oldPort: entry.port)
            expected = .init(port: port, isStatic: false, isSticky: false, isExternal: false)
        case .external:
            let isMarked = home == nil && entry.flags.contains(.externallyLearned)
            change = EntryChange(
                address, isMarked ? .makeExternal : .recreateExternal, port: port, oldPort: entry.port)
            expected = .init(port: port, isStatic: false, isSticky: false, isExternal: true)
        case .deleted:
            if entry.isDynamic { return nil }
            change = EntryChange(address, .delete, port: entry.port)
            expected = nil
        }
        if let expected, expected.holds(for: entry) { return nil }
        // What was deleted is nowhere, so nothing can be moved back from the port before.
        let undo =
            (expected == nil ? nil : home).map { restoration(of: entry, address: address, from: $0, links: links) }
            ?? EntryChange(address, .replace, port: expected == nil ? entry.port : port, sticky: entry.isSticky)
        return PlannedChange(change: change, before: entry, undo: undo, expected: expected)
    }
}
