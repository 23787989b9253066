import FDB
package import Switchdev

extension Planner {
    /// Refuses a bracket where it would not do what it is for.
    package static func requireBracket(
        _ record: GuestRecord, to goal: Side, observation: Observation, options: VerbOptions
    ) throws(ControllerError) {
        let guest = record.guest
        if guest.primary == nil {
            throw ControllerError(
                .precondition, "guest \(guest.id) has one port: there is no other to copy its frames to",
                remedy: "use --strategy cut")
        }
        if guest.isGated, guest.side == .remote {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) is on another host and its gate is closed: what it sent by its primary would be dropped",
                remedy: "switch it to standby first, which opens the gate")
        }
        if goal == .remote || (guest.side == .remote && goal == .standby) {
            throw ControllerError(
                .precondition,
                "a bracket is for a guest that changes between primary and standby, not \(guest.side.rawValue) -> "
                    + goal.rawValue, remedy: "use --strategy cut")
        }
        if let objection = guest.kind.objection, !options.allowsDuplicates {
            throw ControllerError(
                .precondition, "guest \(guest.id) \(objection)",
                remedy: guest.kind == .unknown
                    ? "say what it is by \"prepare --kind\", use --strategy cut, or accept it by --allow-duplicates"
                    : "use --strategy cut, or accept it by --allow-duplicates")
        }
        if observation.ports[.standby]?.isEswitchPort == true {
            throw ControllerError(
                .precondition,
                "standby \(guest.standby.name) of guest \(guest.id) is a port of a switch: what hardware forwards there "
                    + "passes no software that could copy it", remedy: "use --strategy cut")
        }
        if guest.standby.index == guest.uplink?.index {
            throw ControllerError(
                .precondition,
                "standby \(guest.standby.name) of guest \(guest.id) is its uplink too: what comes from there is not sent "
                    + "back there, so that nothing could be copied", remedy: "use --strategy cut")
        }
        try Preflight(Subject(guest), observation).judge(
            by: [PresenceRules.bridgeDown, PresenceRules.noInterface, PresenceRules.portDown]
        ).refuse(.bracket)
    }

    /// Plans to open a bracket: the copy first, then what is not on the standby yet moves there.
    ///
    /// - Parameters:
    ///   - copy: makes the copy; nil for an open bracket, of which entries (``GuestRecord/servingSide(_:)``), groups and ports'
    ///     settings are looked at.
    package func openBracket(
        _ record: GuestRecord, to goal: Side, copy: CopyChange?, observation: Observation, notes: [String] = []
    ) throws(ControllerError) -> Plan {
        let guest = record.guest
        let side = copy == nil ? record.servingSide(observation) : .standby
        let base = try move(guest, to: side, observation: observation, isProven: record.proof == .proven)
        var joins: [Step] = []
        if goal == .primary,
            let groups = GroupPlan(of: guest, to: .primary, pins: [], table: observation.groups),
            !groups.additions.isEmpty
        {
            // Both NICs are served by the bridge itself: no copy of group frames is needed.
            joins = [.groups(groups.additions)]
        }
        let entries =
            goal == .primary ? base.steps.filter { !$0.changes.isEmpty } : base.steps.filter { $0 != .groups([]) }
        let steps = (copy.map { [Step.copy($0)] } ?? PortSetting.steps(guest, observation)) + joins + entries
        let isMove = steps.contains { !$0.changes.isEmpty }
        var plan = Plan(
            verb: .switch, guest: guest, from: guest.side, to: goal, steps: steps, notes: notes + base.notes,
            links: observation.links, strategy: .bracket,
            books: copy.map { .opening($0.bracket, record, to: goal, isMove: isMove) } ?? .nothing,
            servesBothPorts: copy != nil)
        if copy != nil { plan.findings = base.findings }
        return plan
    }

    /// Plans to close a bracket on a side: the entries go there, then the copy ends.
    package func closeBracket(
        _ record: GuestRecord, at side: Side, copy: CopyChange, observation: Observation, verb: Plan.Verb
    ) throws(ControllerError) -> Plan {
        let guest = record.guest
        let isProven = record.phase == .bracketed && record.proof == .proven
        var onStandby = guest
        onStandby.side = .standby
        let base = try move(onStandby, to: side, observation: observation, isProven: isProven, verb: verb)
        // A guest that comes from another host: its standby has learned until now.
        let settings = guest.side == .remote && side != .remote ? PortSetting.steps(base.guest, observation) : []
        return Plan(
            verb: verb, guest: base.guest, from: guest.side, to: side, steps: settings + base.steps + [.copy(copy)],
            notes: base.notes, links: observation.links, groups: base.groups, strategy: .bracket,
            books: .closing(copy.bracket, record, at: side, isMove: !base.changes.isEmpty))
    }

    /// How frames to a guest's addresses leave its standby, and whether they would leave the primary the same way.
    ///
    /// - Parameter vlans: of both ports, where the bridge filters VLANs.
    package static func matches(
        _ guest: GuestInterface, vlans: (standby: PortVLANs, primary: PortVLANs)?
    ) throws(ControllerError) -> [CopySpecification.Match] {
        var matches: [CopySpecification.Match] = []
        for address in guest.addresses {
            guard let vlans, let vlan = address.vlan else {
                matches.append(.init(mac: address.mac, tag: .any))
                continue
            }
            let isUntagged = vlans.standby.untagged.contains(vlan)
            guard vlans.primary.members.contains(vlan), vlans.primary.untagged.contains(vlan) == isUntagged else {
                throw ControllerError(
                    .precondition,
                    "VLAN \(vlan) leaves standby \(guest.standby.name) \(isUntagged ? "untagged" : "tagged") and primary "
                        + "\(guest.firstPort.name) not so: a copy has the tag of the frame that it is made of",
                    remedy: "give both ports the same VLANs, or use --strategy cut")
            }
            matches.append(.init(mac: address.mac, tag: isUntagged ? .untagged : .vlan(vlan)))
        }
        return matches
    }

    /// Group frames that the bridge floods to the standby and not to the primary.
    package static func groups(_ observation: Observation) -> CopySpecification.Groups {
        guard let standby = observation.ports[.standby]?.bridgePort?.flags,
            let primary = observation.ports[.primary]?.bridgePort?.flags
        else { return [] }
        var groups: CopySpecification.Groups = []
        if standby.contains(.broadcastFlood), !primary.contains(.broadcastFlood) { groups.insert(.broadcast) }
        // With snooping the bridge sends known groups to their members, which both ports are made.
        if observation.bridge?.bridge?.snoopsMulticast == false, standby.contains(.multicastFlood),
            !primary.contains(.multicastFlood)
        {
            groups.insert(.multicast)
        }
        return groups
    }
}
