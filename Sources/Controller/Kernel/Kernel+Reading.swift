import FDB
import Netlink
import Policy
import Switchdev
import System

/// Reading, with an error that names what was read.
extension Kernel {
    /// Every interface of the network namespace.
    mutating func links() throws(ControllerError) -> Links {
        try ControllerError.reading("the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &socket)
        }
    }

    /// What devlink knows.
    func devlink() throws(ControllerError) -> Devlink {
        try ControllerError.reading("devlink") { () throws(NetlinkError) in try Devlink.snapshot() }
    }

    /// The VLANs of a port.
    mutating func vlans(of port: Int32, named name: String) throws(ControllerError) -> PortVLANs {
        try ControllerError.reading("the VLANs of \(name)") { () throws(NetlinkError) in
            try PortVLANs.read(port: port, using: &socket)
        }
    }

    /// The entries of some addresses, nil for each that has none; without its bridge there is none.
    mutating func entries(_ addresses: [Address], of guest: GuestInterface) throws(ControllerError) -> [Entry?] {
        try ControllerError.reading("the entries of guest \(guest.id)") { () throws(NetlinkError) in
            do throws(NetlinkError) {
                return try Table.read(addresses, bridge: guest.bridge.index, using: &socket)
            } catch {
                guard error.isWithoutBridge else { throw error }
                return [Entry?](repeating: nil, count: addresses.count)
            }
        }
    }

    /// A bridge's whole table.
    mutating func table(of bridge: Link) throws(ControllerError) -> Table {
        try ControllerError.reading("the table of \(bridge.name)") { () throws(NetlinkError) in
            try Table.snapshot(bridge: bridge.index, using: &socket)
        }
    }

    // MARK: - A guest

    /// Reads what a guest interface has: single gets only, whatever the size of the host.
    ///
    /// - Parameter showsUnseen: what takes a privilege that this process has not is no error, but unseen.
    mutating func observe(
        _ guest: GuestInterface, showsUnseen: Bool = false
    ) throws(ControllerError) -> Observation {
        var observation = try observePorts(of: guest)
        if observation.bridge != nil { try readEntries(of: guest, showsUnseen: showsUnseen, into: &observation) }
        return observation
    }

    /// Reads what a redirection to a side has to know.
    ///
    /// - Parameter ready: bridge and ports as they were read beforehand and are still; nil to read them.
    mutating func observe(
        _ record: GuestRecord, to side: Side, ready: Observation? = nil
    ) throws(ControllerError) -> Observation {
        var observation: Observation
        if let ready {
            observation = ready
            try readEntries(of: record.guest, into: &observation)
        } else {
            observation = try observe(record.guest)
        }
        try readGroups(into: &observation, of: record.guest, to: side, phase: record.phase)
        return observation
    }

    /// Reads the bridge and the ports of a guest interface by their interface indexes, without its entries.
    mutating func observePorts(of guest: GuestInterface) throws(ControllerError) -> Observation {
        let known = guest.ports
        let links = try ControllerError.reading("the bridge and its ports") { () throws(NetlinkError) in
            try Links.read([guest.bridge.index] + known.map(\.port.index), using: &socket)
        }
        let bridge = links[0].flatMap { $0.kind == "bridge" ? $0 : nil }
        var ports = BySide<Link>()
        for ((side, _), link) in zip(known, links.dropFirst()) { ports[side] = link }
        if let uplink = guest.uplink, uplink.index == guest.standby.index { ports[.remote] = ports[guest.arrival] }
        if guest.isLegacy { ports[.remote] = ports[.primary] }
        return Observation(bridge: bridge, ports: ports)
    }

    private mutating func readEntries(
        of guest: GuestInterface, showsUnseen: Bool = false, into observation: inout Observation
    ) throws(ControllerError) {
        let found = EntrySet(try entries(guest.addresses, of: guest))
        observation.entries = found
        if let neighbours = guest.neighbours { try readNeighbours(neighbours, into: &observation) }
        if let gate = SourceGuard.Gate(guest) {
            do throws(ControllerError) {
                observation.shut = try ControllerError.reading("the gate of guest \(guest.id)") {
                    () throws(NetlinkError) in try readGate(gate, onBridge: guest.bridge.index)
                }
            } catch {
                guard showsUnseen, error.cause?.meaning == .notPermitted else { throw error }
                observation.unseen.append(.init([], "the gate of guest \(guest.id): \(Kernel.unprivileged)"))
            }
        }
        if !guest.fromPVID.isEmpty { try readVLANs(of: guest, into: &observation) }
        let known = guest.ports.map(\.port.index) + [guest.bridge.index]
        var foreign: [Int32] = []
        for entry in found.values where !known.contains(entry.port) && !foreign.contains(entry.port) {
            foreign.append(entry.port)
        }
        guard !foreign.isEmpty else { return }
        observation.foreignPorts = try ControllerError.reading("the ports that have entries of guest \(guest.id)") {
            () throws(NetlinkError) in
            try Links.read(foreign.sorted(), using: &socket).compactMap { $0 }
        }
    }

    /// Reads the filters of a guest's NIC, when it is in legacy mode.
    mutating func readFilters(
        of guest: GuestInterface, into observation: inout Observation
    ) throws(ControllerError) {
        guard let nic = guest.nic, let mac = guest.addresses.first?.mac else { return }
        observation.filters = try ControllerError.reading("the filters of \(nic.pf.name)") { () throws(NetlinkError) in
            try NICFilters.read(mac, vf: nic.vf, of: nic.pf.index, uplink: guest.firstPort.index, using: &socket)
        }
    }

    /// Reads the VLANs of a guest's ports, where its addresses name one and the bridge filters them.
    mutating func readVLANs(of guest: GuestInterface, into observation: inout Observation) throws(ControllerError) {
        guard let bridge = observation.bridge, bridge.bridge?.filtersVLANs == true,
            guest.addresses.contains(where: { $0.vlan != nil })
        else { return }
        var read = BySide<PortVLANs>()
        for (side, _) in guest.ports {
            guard let port = observation.ports[side], port.master == bridge.index else { continue }
            read[side] = try vlans(of: port.index, named: port.name)
        }
        // One port may serve both sides.
        if guest.uplink?.index == guest.standby.index { read[.remote] = read[guest.arrival] }
        observation.vlans = read
    }

    /// Reads the entries that a plan has changed.
    mutating func reread(_ plan: Plan) -> Redirection.Event {
        let addresses = plan.changes.map(\.change.address)
        do throws(NetlinkError) {
            let found = try Table.read(addresses, bridge: plan.guest.bridge.index, using: &socket)
            return .read(EntrySet(found))
        } catch {
            if error.isWithoutBridge { return .read([:]) }
            return .failed(Redirection.Failure("cannot re-read the entries", cause: KernelRefusal(error)))
        }
    }

    /// Adds to refusals of entry changes why the kernel refused, where it has no text of its own: it takes no change of an entry
    /// in a VLAN that its port does not have, not even a deletion, and says only EINVAL (`br_fdb_add`, `br_fdb_delete`).
    mutating func explain(
        _ refusals: [Int: KernelRefusal], of changes: [PlannedChange], _ guest: GuestInterface
    ) -> [Int: KernelRefusal] {
        var read: [Int32: PortVLANs] = [:]
        return refusals.reduce(into: [:]) { explained, refused in
            let (index, refusal) = refused
            explained[index] = refusal
            let change = changes[index].change
            guard let vlan = change.address.vlan, refusal.errno == "EINVAL" else { return }
            for port in [change.port, change.oldPort ?? change.port] {
                guard let vlans = read[port] ?? (try? PortVLANs.read(port: port, using: &socket)) else { continue }
                read[port] = vlans
                if vlans.members.contains(vlan) { continue }
                let name = guest.name(ofPort: port)
                explained[index] = refusal.because(
                    "VLAN \(vlan) is not on \(name), and without it the kernel neither changes nor deletes an entry "
                        + "there; add it: bridge vlan add dev \(name) vid \(vlan)")
                return
            }
        }
    }

    // MARK: - Counters

    /// Reads the counters of a guest's ports; what cannot be read is left out, and is no reason to fail a redirection.
    mutating func count(_ moment: Evidence.Moment, of guest: GuestInterface, into evidence: inout Evidence) {
        guard let counters = try? PortCounters.read(guest.ports.map(\.port.index), using: &socket) else { return }
        for (index, counter) in counters.enumerated() where evidence.ports.indices.contains(index) {
            evidence.ports[index].counters[moment] = counter
        }
    }
}

extension NetlinkError {
    /// A get of an entry says that its bridge is gone: ENODEV, or EINVAL where another interface has its index (`rtnl_fdb_get`).
    fileprivate var isWithoutBridge: Bool { errno == .noDevice || errno == .invalid }
}
