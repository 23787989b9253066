package import FDB
import Switchdev

extension Planner {
    /// Plans the move of a guest's addresses to a side.
    ///
    /// - Parameters:
    ///   - isProven: the journal says that hardware followed when the guest came to its present side, so that an OFFLOADED
    ///     flag left on a software port is nothing to worry about.
    ///   - renewing: makes entries anew that an eswitch port has already, so that they can be proven.
    ///   - spared: addresses whose entries stay as they are.
    ///   - contradicts: replaces also neighbours that a control plane has made.
    ///   - isAtRest: no verb was interrupted before.
    package func move(
        _ guest: GuestInterface, to side: Side, observation: Observation, isProven: Bool, verb: Plan.Verb = .switch,
        renewing: Bool = false, sparing spared: Set<Address>? = nil, contradicts: Bool = true, isAtRest: Bool = true
    ) throws(ControllerError) -> Plan {
        guard let target = guest.port(of: side) else {
            throw side == .remote
                ? ControllerError(
                    .precondition, "guest \(guest.id) has no uplink, so it has no side remote",
                    remedy: "release it and prepare it with --uplink")
                : ControllerError(
                    .precondition,
                    "guest \(guest.id) has \(guest.primary == nil ? "one port" : "a primary and a standby"), and no side "
                        + side.rawValue,
                    remedy: "its sides are \(guest.own.map(\.side.rawValue).joined(separator: ", ")) and remote")
        }
        let findings = try judge(guest, to: side, observation, verb)
        let links = observation.links
        let pins = guest.addresses.compactMap { address -> PlannedChange? in
            if spared?.contains(address) == true { return nil }
            let before = observation.entry(address)
            let isOurs = isProven && before?.port == guest.port(of: guest.side)?.index
            return Plan.pin(
                address, before: before, on: target, of: guest, links: links, renewing: renewing, suspicious: !isOurs)
        }
        let filters = try FilterPlan(guest, to: side, filters: observation.filters)
        let groups = GroupPlan(of: guest, to: side, pins: pins, table: observation.groups)
        var moved = guest
        moved.side = side
        // A release that did not end has put some of them back. For a redirection they are as they should be, but for the
        // standby of a guest that comes or goes, and for a gate, which a switch that was killed may have left either way.
        let settings =
            verb != .switch || guest.isGated || (guest.side == .remote) != (side == .remote)
            ? PortSetting.steps(moved, observation, isAtRest: isAtRest && guest.side != .remote) : []
        if guest.isGated { moved.noteLocks(from: guest.side, observation, isAtRest: isAtRest) }
        // Ports are shut before the entries leave them and opened after the entries have come.
        let closing = settings.filter(\.closesGate)
        var steps =
            closing + filters.around((groups?.steps ?? []) + (pins.isEmpty ? [] : [.entries(pins)]))
            + settings.filter { !$0.closesGate }
        var notes = groups?.notes ?? []
        if guest.neighbours != nil {
            let neighbours = NeighbourChange.following(guest, at: side, observation, contradicts: contradicts)
            if !neighbours.isEmpty { steps.append(.neighbours(neighbours)) }
            notes += NeighbourChange.notes(neighbours, verb)
        }
        let unpinned = pins.count { $0.before == nil }
        var plan = Plan(
            verb: verb, guest: moved, from: guest.side, to: side, steps: steps,
            notes: (unpinned == 0 ? [] : ["\(unpinned) of \(guest.addresses.count) addresses had lost their entry"])
                + notes
                + (verb == .reconcile ? PortSetting.words(settings) : []), links: links, groups: groups)
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
}

extension Step {
    /// It shuts a port.
    fileprivate var closesGate: Bool {
        if case .setting(_, .gate(isShut: true, _)) = self { true } else { false }
    }
}
