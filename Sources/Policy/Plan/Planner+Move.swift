import FDB
import Switchdev

extension Planner {
    /// Plans the move of a guest's addresses to a side.
    ///
    /// - Parameter isProven: the journal says that hardware followed when the guest came to its present side, so that an
    ///   OFFLOADED flag left on a software port is nothing to worry about.
    package func move(
        _ guest: GuestInterface, to side: Side, observation: Observation, isProven: Bool, verb: Plan.Verb = .switch
    ) throws(ControllerError) -> Plan {
        guard let target = guest.port(of: side) else {
            throw ControllerError(
                .precondition, "guest \(guest.id) has no uplink, so it has no side remote",
                remedy: "release it and prepare it with --uplink")
        }
        let findings = try judge(guest, to: side, observation, verb)
        let links = observation.links
        let pins = guest.addresses.compactMap { address -> PlannedChange? in
            let before = observation.entry(address)
            let isOurs = isProven && before?.port == guest.port(of: guest.side)?.index
            return Plan.pin(address, before: before, on: target, of: guest, links: links, suspicious: !isOurs)
        }
        let filters = try FilterPlan(guest, to: side, filters: observation.filters)
        let groups = GroupPlan(of: guest, to: side, pins: pins, table: observation.groups)
        var moved = guest
        moved.side = side
        // A release that did not end has put some of them back. For a redirection they are as they should be, but for the
        // standby of a guest that comes or goes.
        let settings =
            verb == .abort || verb == .repair || (guest.side == .remote) != (side == .remote)
            ? PortSetting.steps(moved, observation) : []
        let unpinned = pins.count { $0.before == nil }
        var plan = Plan(
            verb: verb, guest: moved, from: guest.side, to: side,
            steps: filters.around((groups?.steps ?? []) + (pins.isEmpty ? [] : [.entries(pins)])) + settings,
            notes: (unpinned == 0 ? [] : ["\(unpinned) of \(guest.addresses.count) addresses had lost their entry"])
                + (groups?.notes ?? []),
            links: links, groups: groups)
        plan.findings = findings
        return plan
    }

    /// Refuses a move that would not do what it is for.
    ///
    /// - Returns: what else who redirects should know.
    private func judge(
        _ guest: GuestInterface, to side: Side, _ observation: Observation, _ verb: Plan.Verb
    ) throws(ControllerError) -> [Finding] {
        if observation.isPlain(for: guest) { return [] }
        let verdict = Preflight(Subject(guest), observation).judge(by: verb == .switch ? Rule.all : Rule.ofRedirections)
        try verdict.refuse(
            verb == .repair ? .to(side) : [.to(side), .byCommand],
            whereabouts: Whereabouts(guest: guest, observation: observation))
        return verb == .switch ? verdict.findings.filter { $0.severity != .note } : []
    }

    /// Plans to give a guest's entries back to learning and ageing, and its ports their settings.
    ///
    /// What is gone, or was taken over by others, is left alone and noted.
    ///
    /// - Parameter isUnfinished: the guest's `prepare` did not come to its end.
    package func release(_ guest: GuestInterface, observation: Observation, isUnfinished: Bool = false) -> Plan {
        var notes: [String] = []
        var steps: [Step] = []
        if observation.bridge == nil { notes.append("bridge \(guest.bridge.name) no longer exists") }
        let given = guest.addresses.compactMap { address -> PlannedChange? in
            guard let entry = observation.entry(address) else {
                if observation.bridge != nil { notes.append("\(address) has no entry any more") }
                return nil
            }
            guard let side = guest.side(ofPort: entry.port), let port = guest.port(of: side), !entry.isLocal else {
                notes.append("\(address) is no longer on a port of this guest, left alone: \(entry)")
                return nil
            }
            if entry.isDynamic { return nil }
            guard observation.ports[side].map(\.obstacle) == .some(.none) else {
                // The kernel refuses dynamic entries on a port that does not forward (EPERM); delete ours instead.
                let change = EntryChange(address, .delete, port: entry.port)
                notes.append("\(address) is deleted: \(port.name) does not forward")
                return PlannedChange(
                    change: change, before: entry,
                    undo: EntryChange(address, .replace, port: entry.port, sticky: entry.isSticky), expected: nil)
            }
            return Plan.giveBack(entry, port: port, links: observation.links)
        }
        let deleted = given.count { $0.expected == nil && observation.links[$0.change.port]?.isEswitchPort == true }
        if deleted > 0 {
            notes.append(
                "\(deleted) of \(given.count) entries are deleted, so that hardware forgets them: the guest's next "
                    + "frame is learned and offloaded anew")
        }
        for (side, port) in guest.ports where port.learningToRestore || port.backupToClear {
            guard let link = observation.ports[side], let settings = link.bridgePort, link.master == guest.bridge.index
            else {
                notes.append("\(port.name) is no port of \(guest.bridge.name) any more: no settings to put back")
                continue
            }
            if port.learningToRestore, !settings.flags.contains(.learning) {
                steps.append(.setting(port, .learning(isOn: true)))
            }
            if port.backupToClear, settings.backupPort == guest.standby.index {
                steps.append(.setting(port, .backup(from: guest.standby, to: nil)))
            }
        }
        let filters = FilterPlan.release(guest, observation.filters, isUnfinished: isUnfinished)
        steps += filters.map(Step.filter)
        if guest.nic != nil, !isUnfinished { notes.append("the VF's MAC is left as it is") }
        // What is deleted is to be learned at once.
        if !given.isEmpty { steps.insert(.entries(given), at: deleted > 0 ? steps.endIndex : 0) }
        return Plan(
            verb: .release, guest: guest, from: guest.side, to: guest.side, steps: steps, notes: notes,
            links: observation.links)
    }
}
