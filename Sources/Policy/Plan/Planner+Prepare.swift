import FDB
import Switchdev

/// Decides from what was read what a verb will do, or why it must not; no I/O.
package struct Planner {
    package init() {}

    /// Plans the pinning of a guest where it is now.
    ///
    /// - Parameters:
    ///   - request: its addresses have their VLANs (``PreparationRequest/replacing(resolved:)``).
    ///   - observation: all that the rules ask for.
    ///   - neighbours: those that are to follow it.
    ///   - waived: findings that the caller accepts.
    package func prepare(
        _ request: PreparationRequest, _ observation: Observation, legacy: LegacyPreparation? = nil,
        neighbours: [GuestNeighbour] = [], waiving waived: Set<Finding.Code> = []
    ) throws(ControllerError) -> Plan {
        var subject = Subject(request)
        if subject.side == nil { subject.side = legacy?.side }
        let preflight = Preflight(subject, observation)
        let verdict = preflight.judge()
        try verdict.refuse(.prepare, waiving: waived)
        guard let side = subject.side ?? preflight.sideByEntries,
            var guest = guest(request, preflight, at: side, nic: legacy?.nic), let target = guest.port(of: side)
        else { throw ControllerError(.precondition, "side \(subject.side?.rawValue ?? "") has no port") }
        if request.isGated { try requireGate(guest, preflight) }
        if !neighbours.isEmpty { guest.neighbours = neighbours }
        let links = observation.links
        var steps = guest.own.filter { guest.isClosed($0.side) }.map { Step.setting($0.port, .locked(isOn: true)) }
        steps += guest.own.filter { $0.port.learningToRestore && !guest.learns($0.side) }
            .map { Step.setting($0.port, .learning(isOn: false)) }
        if let primary = guest.primary, primary.backupToClear {
            steps.append(.setting(primary, .backup(from: nil, to: guest.standby)))
        }
        let pins = request.addresses.compactMap {
            Plan.pin(
                $0, before: observation.entry($0), on: target, of: guest, links: links, renewing: true,
                suspicious: true)
        }
        if guest.isGuarded {
            steps.append(
                .sourceGuard(GuardChange(SourceGuard(guest, links: links), isOn: true)))
        }
        let filters = try FilterPlan(guest, to: side, filters: legacy?.filters)
        steps += filters.around(pins.isEmpty ? [] : [.entries(pins)])
        let following = NeighbourChange.following(guest, at: side, observation)
        if !following.isEmpty { steps.append(.neighbours(following)) }
        var plan = Plan(
            verb: .prepare, guest: guest, from: side, to: side, steps: steps,
            notes: (legacy?.notes ?? []) + NeighbourChange.notes(following), links: links)
        plan.foundNeighbours = observation.neighbourhood?.entries.filter { !$0.isOwn } ?? []
        plan.found = request.addresses.compactMap { observation.entry($0) }
        plan.findings = verdict.findings.filter { $0.severity != .note }
        return plan
    }

    /// Refuses a gate where it would lock out others, or that nobody would open.
    private func requireGate(_ guest: GuestInterface, _ preflight: Preflight) throws(ControllerError) {
        if guest.uplink == nil {
            throw ControllerError(
                .precondition, "guest \(guest.id) has no uplink: a gate is closed while a guest is on another host",
                remedy: "name the port towards other hosts by --uplink")
        }
        if guest.sharesPorts || guest.nic != nil {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) cannot have a gate: a port of it serves others, who would be locked out",
                remedy: "leave --gate out")
        }
        let locked = preflight.ownPorts.first { $0.bridgePort?.flags.contains(.locked) == true }
        if let locked {
            throw ControllerError(
                .precondition,
                "\(locked.name) is locked already, and whoever locked it would have to open it when the guest comes",
                remedy: "bridge link set dev \(locked.name) locked off, or leave --gate out")
        }
    }

    /// The guest as it is to be recorded. Ports that serve it alone stop learning; others go on, and its entries are sticky.
    private func guest(
        _ request: PreparationRequest, _ preflight: Preflight, at side: Side, nic: LegacyNIC?
    ) -> GuestInterface? {
        let isShared = preflight.subject.ownSides.contains { side in
            if case .shared = preflight.sharing(side) { true } else { false }
        }
        func identity(_ side: Side) -> PortIdentity? {
            guard let link = preflight.port(side) else { return nil }
            var identity = PortIdentity(link)
            let learns = link.bridgePort?.flags.contains(.learning) ?? false
            identity.gates = request.isGated && side != .remote
            identity.learningToRestore = side != .remote && !isShared && learns
            return identity
        }
        guard let bridge = preflight.bridge, let standby = identity(request.primary == nil ? .local : .standby) else {
            return nil
        }
        var primary: PortIdentity?
        if request.primary != nil {
            guard let port = preflight.port(.primary), var identity = identity(.primary) else { return nil }
            identity.backupToClear = !isShared && port.bridgePort?.backupPort == nil
            primary = identity
        }
        var guest = GuestInterface(
            id: request.id, bridge: PortIdentity(bridge), primary: primary, standby: standby, uplink: identity(.remote),
            addresses: request.addresses, side: side, isSticky: isShared && !preflight.hasTunnel)
        guest.sharesPorts = isShared
        guest.kind = request.kind ?? .unknown
        // Sticky entries do not roam.
        guest.isGuarded = request.isGuarded && !isShared
        guest.nic = nic
        return guest
    }
}
