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
        try requireNoGateOfOthers(guest, observation)
        if request.isGated { try requireGate(guest, preflight) }
        if !neighbours.isEmpty { guest.neighbours = neighbours }
        let links = observation.links
        var steps = gateSteps(guest, links)
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
        if guest.isGuarded, !guest.isGatedByTable {
            steps.append(
                .sourceGuard(GuardChange(SourceGuard(guest, links: links), isOn: true)))
        }
        let filters = try FilterPlan(guest, to: side, filters: legacy?.filters)
        steps += filters.around(pins.isEmpty ? [] : [.entries(pins)])
        let following = NeighbourChange.following(guest, at: side, observation)
        if !following.isEmpty { steps.append(.neighbours(following)) }
        steps += lockTrial(guest)
        var plan = Plan(
            verb: .prepare, guest: guest, from: side, to: side, steps: steps,
            notes: (legacy?.notes ?? []) + foundPinned(request, observation) + NeighbourChange.notes(following),
            links: links)
        plan.foundNeighbours = observation.neighbourhood?.entries.filter { !$0.isOwn } ?? []
        plan.found = request.addresses.compactMap { observation.entry($0) }
        plan.findings = verdict.findings.filter { $0.severity != .note }
        return plan
    }

    /// Says which addresses somebody has pinned already, whom no port's name tells (``OwnerRules``): no record of this state folder has
    /// them, so it may be fdbsteer with another one, whose guest this is then.
    private func foundPinned(_ request: PreparationRequest, _ observation: Observation) -> [String] {
        let pinned = request.addresses.compactMap { observation.entry($0) }.filter { entry in
            entry.isStatic && !entry.flags.contains(.externallyLearned)
                && observation.links[entry.port].flatMap(EntryOwner.init) == nil
        }
        guard let first = pinned.first else { return [] }
        let others = pinned.count == 1 ? "" : " and \(pinned.count - 1) more"
        return [
            "\(first.address)\(others) had a static entry on \(observation.name(first.port) ?? "ifindex \(first.port)") already, "
                + "which this state folder knows nothing of: another program made it, or fdbsteer with another --state; taken over, "
                + "and static again after a release"
        ]
    }

    /// The steps that shut a guest's ports, where it is on another host, before anything else; a table is made first.
    private func gateSteps(_ guest: GuestInterface, _ links: Links) -> [Step] {
        let shut = guest.own.compactMap { side, port in
            port.gate.flatMap { guest.isClosed(side) ? Step.setting(port, .gate(isShut: true, by: $0)) : nil }
        }
        guard guest.isGatedByTable else { return shut }
        return [.sourceGuard(GuardChange(SourceGuard(guest, links: links), isOn: true))] + shut
    }

    /// The steps that find out, for a guest that is here, whether the driver of a port of a switch takes the lock, so that no later
    /// switch fails for it. The guest's entries are on the port by then: its frames pass.
    private func lockTrial(_ guest: GuestInterface) -> [Step] {
        guest.own.filter { guest.side != .remote && $0.port.gate == .lock && $0.port.isEswitchPort }.flatMap {
            _, port in
            [true, false].map { Step.setting(port, .gate(isShut: $0, by: .lock)) }
        }
    }

    /// Refuses a port at which another guest has a gate: that shuts it whenever the other is away.
    private func requireNoGateOfOthers(
        _ guest: GuestInterface, _ observation: Observation
    ) throws(ControllerError) {
        for (_, port) in guest.own {
            guard let other = observation.neighbours?.gates[port.index] else { continue }
            throw ControllerError(
                .precondition,
                "\(port.name) has the gate of guest \(other), which shuts it while that guest is on another host: guest "
                    + "\(guest.id) cannot use it too",
                remedy:
                    "give guest \(guest.id) a port of its own, or release guest \(other) and prepare it without --gate")
        }
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
        if guest.isGatedByTable, let reason = preflight.observation.filtering?.guarding {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) cannot have a gate: a port of it takes no lock, and this kernel cannot shut it by nftables: "
                    + reason,
                remedy: "modprobe nf_tables_bridge, or a kernel with CONFIG_NF_TABLES_BRIDGE; or leave --gate out")
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
        // Where one port cannot be locked, all are shut by the table: one look tells how things are.
        let lacksLock = preflight.ownPorts.contains { $0.bridgePort?.lacksLock == true }
        let gate = lacksLock ? Gate.table : request.gate
        func identity(_ side: Side) -> PortIdentity? {
            guard let link = preflight.port(side) else { return nil }
            var identity = PortIdentity(link)
            let learns = link.bridgePort?.flags.contains(.learning) ?? false
            identity.gate = request.isGated && side != .remote ? gate : nil
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
        guest.replay = request.replay
        // Sticky entries do not roam.
        guest.isGuarded = request.isGuarded && !isShared
        guest.nic = nic
        return guest
    }
}
