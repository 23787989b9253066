package import FDB
package import Switchdev

extension Plan {
    /// The primitive that changes an entry so that hardware follows (docs/design.md, "Which primitive moves an entry").
    ///
    /// - Parameters:
    ///   - before: the entry that was found, nil for none.
    ///   - fromEswitch: the port that has the entry reaches hardware.
    ///   - port: interface index of the port that gets it.
    package static func primitive(before: Entry?, fromEswitch: Bool, to port: Int32) -> EntryChange.Primitive {
        guard let before else { return .replace }
        // A driver deletes its learned entry, and with it what replaced it in place, seconds later.
        if fromEswitch, !before.isStatic { return .deleteCreate }
        // On the same port there is nobody to tell.
        if before.port == port { return .replace }
        // In place, the driver of the old port is told nothing, and the entry stays a control plane's.
        if fromEswitch { return .use }
        return before.flags.contains(.externallyLearned) ? .takeOver : .replace
    }

    /// Plans that an entry is static on a port afterwards.
    ///
    /// - Parameters:
    ///   - links: the ports that have a part in it.
    ///   - renewing: replace also a static entry that an eswitch port has already: only a fresh one can be proven.
    ///   - suspicious: hardware may hold a rule for an entry that software has on a software port: reseat it.
    /// - Returns: nil when the entry is so already.
    package static func pin(
        _ address: Address, before: Entry?, on port: PortIdentity, of guest: GuestInterface, links: Links,
        renewing: Bool = false, suspicious: Bool = false
    ) -> PlannedChange? {
        let expected = PlannedChange.Expectation(port: port.index, isStatic: true, isSticky: guest.isSticky)
        func planned(_ primitive: EntryChange.Primitive, by oldPort: Int32?) -> PlannedChange {
            PlannedChange(
                change: EntryChange(address, primitive, port: port.index, oldPort: oldPort, sticky: guest.isSticky),
                before: before, undo: restoration(of: before, address: address, from: port, links: links),
                expected: expected)
        }
        let isStale = before?.flags.contains(.offloaded) ?? false
        if suspicious, isStale, let before, !isEswitch(before.port, links), !port.isEswitchPort, !before.isSticky,
            let way = guest.eswitchPort
        {
            return planned(.reseat, by: way.index)
        }
        if expected.holds(for: before) {
            return renewing && port.isEswitchPort ? planned(.deleteCreate, by: port.index) : nil
        }
        let fromEswitch = before.map { isEswitch($0.port, links) } ?? false
        return planned(primitive(before: before, fromEswitch: fromEswitch, to: port.index), by: before?.port)
    }

    /// The change that puts an entry back as it was found, from the port that a plan moves it to.
    static func restoration(
        of before: Entry?, address: Address, from port: PortIdentity, links: Links
    ) -> EntryChange {
        guard let before else { return EntryChange(address, .delete, port: port.index) }
        guard before.isStatic else {
            // A change in place leaves the flag, one by NTF_USE or a deletion does not.
            let isExternal = before.isControlPlanes && !isEswitch(before.port, links)
            return EntryChange(
                address, isExternal ? .recreateExternal : port.isEswitchPort ? .recreateDynamic : .makeDynamic,
                port: before.port, oldPort: port.index)
        }
        let moved = Entry(address: address, port: port.index, bridge: before.bridge, state: .noARP)
        let primitive = primitive(before: moved, fromEswitch: port.isEswitchPort, to: before.port)
        return EntryChange(address, primitive, port: before.port, oldPort: port.index, sticky: before.isSticky)
    }

    static func isEswitch(_ port: Int32, _ links: Links) -> Bool { links.eswitchPorts.contains(port) }

    /// Whether hardware has a part in some changes. A switch without hardware has no time to look at each one, or to make a
    /// ``ProofTask``: its sets cost a process 0.3 million instructions, in which the Swift runtime looks for conformances.
    static func concernHardware(_ changes: [PlannedChange], _ links: Links) -> Bool {
        !links.eswitchPorts.isEmpty || changes.contains { $0.change.primitive == .reseat }
    }

    /// What must be shown for hardware to have followed the changes.
    package static func proof(of changes: [PlannedChange], guest: GuestInterface, links: Links) -> ProofTask {
        var task = ProofTask(bridge: guest.bridge.index)
        guard concernHardware(changes, links) else { return task }
        for planned in changes {
            let change = planned.change
            let target = isEswitch(change.port, links) && planned.expected?.isStatic == true
            var ports = Set<Int32>()
            if let before = planned.before, isEswitch(before.port, links) { ports.insert(before.port) }
            if target {
                // The flag stays on an entry that moves in place: on the new port it is no news.
                let isFresh = change.primitive == .deleteCreate || planned.before?.flags.contains(.offloaded) != true
                if isFresh { task.fresh.append(change.address) } else { task.flagged.append(change.address) }
                if !isFresh || !ports.isEmpty { ports.insert(change.port) }
            }
            if change.primitive == .reseat, let way = change.oldPort { ports.insert(way) }
            for port in ports {
                guard let spot = sentinelPort(for: port, guest: guest, links: links) else {
                    task.obstacles.append(
                        "\(change.address) was on \(links[port]?.name ?? "ifindex \(port)"), which is not this guest's, "
                            + "and the guest has no port of the same switch to prove by")
                    continue
                }
                task.barriers.insert(.init(port: spot.index, name: spot.name, vlan: change.address.vlan))
            }
        }
        task.obstacles = Array(Set(task.obstacles)).sorted()
        return task
    }

    /// The guest's port on which a sentinel tells about a port: that port, or one of the same switch. No sentinel goes
    /// to a port that the user did not name.
    private static func sentinelPort(for port: Int32, guest: GuestInterface, links: Links) -> Link? {
        let own = guest.ports.compactMap { links[$0.port.index] }.filter { $0.isEswitchPort && $0.bridgePort != nil }
        if let same = own.first(where: { $0.index == port }) { return same }
        guard let link = links[port] else { return nil }
        return own.first { $0.switchID == link.switchID && $0.parentDevice == link.parentDevice }
    }
}
