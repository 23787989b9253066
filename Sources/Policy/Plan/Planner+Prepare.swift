package import FDB
package import Switchdev

/// Decides from what was read what a verb will do, or why it must not; no I/O.
package struct Planner {
    /// Interface indexes of ports that other guests use, with those guests' names.
    package var otherGuests: [Int32: String] = [:]
    /// Names of the guests that own an address on the bridge.
    package var owners: [Address: String] = [:]
    /// The drivers of eswitch ports, by interface index.
    package var drivers: [Int32: Driver] = [:]

    /// - Parameters:
    ///   - records: the other guests.
    ///   - bridge: the bridge's name. Uplinks are everybody's.
    package init(beside records: [GuestRecord] = [], on bridge: String = "") {
        for record in records {
            for (_, port) in record.guest.ports where port.index != record.guest.uplink?.index {
                otherGuests[port.index] = record.guest.id.text
            }
            guard record.guest.bridge.name == bridge else { continue }
            for address in record.guest.addresses { owners[address] = record.guest.id.text }
        }
    }

    /// Plans the pinning of a guest where it is now.
    ///
    /// - Parameters:
    ///   - request: its addresses have their VLANs (``resolve(_:bridge:ports:vlans:)``).
    ///   - bridge: the bridge.
    ///   - ports: the guest's ports by side.
    ///   - table: the whole table of the bridge, which shows who else lives behind a port.
    ///   - links: the interfaces of the namespace.
    package func prepare(
        _ request: PreparationRequest, bridge: Link, ports: [Side: Link], links: Links, table: Table,
        legacy: LegacyPreparation? = nil
    ) throws(ControllerError) -> Plan {
        try Planner.requireAgeing(bridge, hasSwitch: ports.values.contains(where: \.isEswitchPort))
        for address in request.addresses {
            try checkOwnership(of: address, bridge: bridge, links: links, entry: table[address])
        }
        let side: Side
        if let said = request.side ?? legacy?.side {
            side = said
        } else {
            side = try locate(request.addresses, ports: ports, links: links, table: table)
        }

        var notes: [String] = []
        var shared = Set<Side>()
        for side in [Side.primary, .standby] {
            guard let port = ports[side], let reason = sharing(port, side, request, ports, table) else { continue }
            shared.insert(side)
            notes.append(
                "\(port.name) serves others too (\(reason)): its learning stays on, and the entries are pinned sticky")
        }
        if let reason = shared.isEmpty
            ? nil : [ports[.primary], ports[.standby]].compactMap({ $0 }).first(where: \.isEswitchPort)
        {
            throw ControllerError(
                .precondition,
                "\(notes.joined(separator: "; ")), but sticky entries of the eswitch port \(reason.name) cannot be moved "
                    + "so that hardware follows",
                remedy: "give this guest a primary and a standby port of its own")
        }
        for (side, port) in ports.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            if let obstacle = port.obstacle {
                notes.append(
                    "\(side.rawValue) \(port.name) \(obstacle): frames sent there are dropped until that changes")
            }
        }

        if let cost = try standbyCost(request, ports) { notes.append(cost) }

        func identity(_ side: Side) -> PortIdentity? {
            guard let link = ports[side] else { return nil }
            var identity = PortIdentity(link)
            let learns = link.bridgePort?.flags.contains(.learning) ?? false
            identity.learningToRestore = side != .remote && shared.isEmpty && learns
            return identity
        }
        guard var primary = identity(.primary), let standby = identity(.standby) else {
            throw ControllerError(.precondition, "primary or standby is missing")
        }
        primary.backupToClear =
            shared.isEmpty && primary.index != standby.index && ports[.primary]?.bridgePort?.backupPort == nil
        var guest = GuestInterface(
            id: request.id, bridge: PortIdentity(bridge), primary: primary, standby: standby, uplink: identity(.remote),
            addresses: request.addresses, side: side, isSticky: !shared.isEmpty)
        guest.kind = request.kind ?? .unknown
        guest.nic = legacy?.nic
        guard let target = guest.port(of: side) else {
            throw ControllerError(.precondition, "side \(side.rawValue) has no port", remedy: "name it by --uplink")
        }
        var steps = [(Side.primary, primary), (.standby, standby)].filter { $1.learningToRestore && !guest.learns($0) }
            .map { Step.setting($0.1, .learning(isOn: false)) }
        if primary.backupToClear { steps.append(.setting(primary, .backup(from: nil, to: standby))) }
        let pins = request.addresses.compactMap {
            Plan.pin($0, before: table[$0], on: target, of: guest, links: links, renewing: true, suspicious: true)
        }
        let filters = try FilterPlan(guest, to: side, filters: legacy?.filters)
        steps += filters.around(pins.isEmpty ? [] : [.entries(pins)])
        notes += legacy?.notes ?? []
        return Plan(verb: .prepare, guest: guest, from: side, to: side, steps: steps, notes: notes, links: links)
    }

    /// What a software standby beside an eswitch port costs or leaks; a leak that was not allowed is refused.
    private func standbyCost(_ request: PreparationRequest, _ ports: [Side: Link]) throws(ControllerError) -> String? {
        guard let primary = ports[.primary], let standby = ports[.standby], primary.isEswitchPort,
            !standby.isEswitchPort
        else { return nil }
        let driver = drivers[primary.index] ?? Driver(name: "unknown")
        let words = driver.standbyCost(port: primary.name, standby: standby.name)
        if driver.miss == .floods, !request.allowsLeak {
            throw ControllerError(
                .precondition, words,
                remedy: "use a standby on a port of the same switch, or allow it: --leak allow, or FDBSTEER_LEAK=allow")
        }
        return words
    }

    /// The ports of a guest, each a port of the bridge.
    package func ports(of request: PreparationRequest, bridge: Link, links: Links) throws(ControllerError) -> [Side:
        Link]
    {
        var ports: [Side: Link] = [:]
        ports[.primary] = try port(request.primary, "primary", of: bridge, links: links)
        ports[.standby] = try port(request.standby, "standby", of: bridge, links: links)
        if let uplink = request.uplink { ports[.remote] = try port(uplink, "uplink", of: bridge, links: links) }
        return ports
    }

    // MARK: - What must be so

    package func bridge(_ name: String, links: Links) throws(ControllerError) -> Link {
        guard let link = links[name] else {
            throw ControllerError(
                .precondition, "there is no interface \(name)",
                remedy: links.bridges.isEmpty
                    ? "this network namespace has no bridge"
                    : "the bridges here are \(links.bridges.map(\.name).joined(separator: ", "))")
        }
        guard link.kind == "bridge", link.bridge != nil else {
            throw ControllerError(
                .precondition, "\(name) is no Linux bridge (it is \(link.kind ?? "a hardware interface"))",
                remedy: "name the bridge that the ports belong to")
        }
        return link
    }

    private func port(_ name: String, _ role: String, of bridge: Link, links: Links) throws(ControllerError) -> Link {
        guard let link = links[name] else {
            let ports = links.ports(of: bridge.index).map(\.name).joined(separator: ", ")
            throw ControllerError(
                .precondition, "\(role): there is no interface \(name)",
                remedy: ports.isEmpty ? "\(bridge.name) has no ports" : "the ports of \(bridge.name) are \(ports)")
        }
        guard link.master == bridge.index, link.bridgePort != nil else {
            let where_ = link.master.flatMap { links[$0]?.name }.map { "it belongs to \($0)" } ?? "it has no master"
            throw ControllerError(
                .precondition, "\(role): \(name) is no port of \(bridge.name); \(where_)",
                remedy: "name a port of \(bridge.name), or add it: ip link set \(name) master \(bridge.name)")
        }
        return link
    }

    private func checkOwnership(
        of address: Address, bridge: Link, links: Links, entry: Entry?
    ) throws(ControllerError) {
        if let owner = owners[address] {
            throw ControllerError(
                .precondition, "address \(address) on \(bridge.name) belongs to guest \(owner)",
                remedy: "release \(owner) first, or name another address")
        }
        if Sentinel.isSentinel(address.mac) {
            throw ControllerError(
                .precondition, "address \(address) has the prefix 02:fd:b5, which fdbsteer keeps for its own sentinels",
                remedy: "give the guest another MAC")
        }
        // The bridge borrows the MAC of a port: name the port first.
        if let own = (links.ports(of: bridge.index) + [bridge]).first(where: { $0.mac == address.mac }) {
            throw ControllerError(
                .precondition, "address \(address) is the own MAC of \(own.name): the bridge keeps it as a local entry",
                remedy: "give \(own.name) another MAC (libvirt gives taps fe:xx:...), or name the guest's MAC")
        }
        guard let entry else { return }
        let port = links[entry.port]?.name ?? "ifindex \(entry.port)"
        if entry.isLocal {
            throw ControllerError(
                .precondition,
                "address \(address) has a local (permanent) entry on \(port): its frames go to this host",
                remedy: "find who made it; bridge fdb del \(address.mac) dev \(port) master removes it")
        }
        if entry.isSticky {
            throw ControllerError(
                .precondition, "address \(address) has a sticky entry on \(port) that fdbsteer did not make",
                remedy: "find its owner; bridge fdb del \(address.mac) dev \(port) master removes it")
        }
    }

    /// Where the guest is by the entries that it has; addresses without one follow the others.
    private func locate(
        _ addresses: [Address], ports: [Side: Link], links: Links, table: Table
    ) throws(ControllerError) -> Side {
        let known = addresses.compactMap { table[$0] }
        guard let first = known.first else {
            throw ControllerError(
                .precondition, "no entry tells where the guest is: none of its addresses is in the table",
                remedy: "say it by --at primary, standby or remote")
        }
        if let other = known.first(where: { $0.port != first.port }) {
            func place(_ entry: Entry) -> String { "\(entry.address) on \(links[entry.port]?.name ?? "\(entry.port)")" }
            throw ControllerError(
                .precondition, "the guest's addresses are on different ports: \(place(first)), \(place(other))",
                remedy: "say where the guest is by --at primary, standby or remote")
        }
        guard let side = Side.allCases.first(where: { ports[$0]?.index == first.port }) else {
            throw ControllerError(
                .precondition,
                "address \(first.address) is on \(links[first.port]?.name ?? "ifindex \(first.port)"), "
                    + "which is none of the ports given",
                remedy: "name the right ports, or say where the guest is by --at primary, standby or remote")
        }
        return side
    }

    /// Why a port serves others than this guest; nil when it does not.
    private func sharing(
        _ port: Link, _ side: Side, _ request: PreparationRequest, _ ports: [Side: Link], _ table: Table
    ) -> String? {
        if let other = otherGuests[port.index] { return "guest \(other) uses it" }
        if side == .primary, request.legacy != nil { return "it is the NIC's" }
        if side == .standby, ports[.remote]?.index == port.index { return "it is the uplink" }
        let own = Set(request.addresses.map(\.mac))
        let others = table.entries.values.filter {
            $0.port == port.index && !$0.isLocal && !own.contains($0.address.mac)
        }
        guard let first = others.map(\.address).min() else { return nil }
        return others.count == 1 ? "\(first) lives behind it" : "\(first) and \(others.count - 1) more live behind it"
    }

}
