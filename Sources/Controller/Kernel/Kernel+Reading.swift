import FDB
import Netlink
import Policy
import Switchdev

extension Observation {
    /// Reads what a guest interface names: single gets only, whatever the size of the host.
    ///
    /// A port whose name and interface index no longer agree counts as gone.
    static func read(
        _ guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> Observation {
        var observation = try readPorts(guest, using: &socket)
        if observation.bridge != nil { try observation.readEntries(of: guest, using: &socket) }
        return observation
    }

    /// Reads the bridge and the ports that a guest interface names, without its entries.
    static func readPorts(
        _ guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> Observation {
        let named = guest.ports
        let links = try ControllerError.reading("the bridge and its ports") { () throws(NetlinkError) in
            try Links.read([guest.bridge.index] + named.map(\.port.index), using: &socket)
        }
        let bridge = links[0].flatMap { $0.name == guest.bridge.name && $0.kind == "bridge" ? $0 : nil }
        var ports = BySide<Link>()
        for ((side, identity), link) in zip(named, links.dropFirst()) {
            if let link, link.name == identity.name { ports[side] = link }
        }
        if let uplink = guest.uplink, uplink.index == guest.standby.index { ports[.remote] = ports[.standby] }
        if guest.nic != nil { ports[.remote] = ports[.primary] }
        return Observation(bridge: bridge, ports: ports)
    }

    mutating func readEntries(of guest: GuestInterface, using socket: inout CommandSocket) throws(ControllerError) {
        let found = try ControllerError.reading("the entries of guest \(guest.id)") { () throws(NetlinkError) in
            try Table.read(guest.addresses, bridge: guest.bridge.index, using: &socket)
        }
        let entries = EntrySet(found)
        self.entries = entries
        let known = guest.ports.map(\.port.index) + [guest.bridge.index]
        var foreign: [Int32] = []
        for entry in entries.values where !known.contains(entry.port) && !foreign.contains(entry.port) {
            foreign.append(entry.port)
        }
        guard !foreign.isEmpty else { return }
        foreignPorts = try ControllerError.reading("the ports that have entries of guest \(guest.id)") {
            () throws(NetlinkError) in
            try Links.read(foreign.sorted(), using: &socket).compactMap { $0 }
        }
    }
}

extension Observation {
    /// Reads the filters of a guest's NIC, when it is in legacy mode.
    mutating func readFilters(
        of guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) {
        guard let nic = guest.nic, let mac = guest.addresses.first?.mac else { return }
        filters = try ControllerError.reading("the filters of \(nic.pf.name)") { () throws(NetlinkError) in
            try NICFilters.read(mac, vf: nic.vf, of: nic.pf.index, uplink: guest.primary.index, using: &socket)
        }
    }
}

extension Host {
    /// Reads what a redirection to a side has to know; what was kept ready of it is not read again.
    mutating func observe(_ record: GuestRecord, to side: Side) throws(ControllerError) -> Observation {
        var observation: Observation
        if let ports = ready?.take(record) {
            observation = ports
            try observation.readEntries(of: record.guest, using: &socket)
        } else {
            observation = try Observation.read(record.guest, using: &socket)
        }
        try readGroups(into: &observation, of: record.guest, to: side, phase: record.phase)
        return observation
    }

    /// Reads what the next redirection of a guest has to know.
    mutating func makeReady(_ record: GuestRecord) {
        // The filters of a NIC are read when they are needed: nobody tells of their changes.
        guard record.guest.nic == nil, let ports = try? Observation.readPorts(record.guest, using: &socket) else {
            ready?.keep(nil, for: record)
            return
        }
        ready?.keep(ports, for: record)
        guard let bridge = ports.bridge, bridge.hasGroups, groupWatch?.keeps(bridge.index) != true else { return }
        // What fails here is found again, and told of, by the redirection.
        _ = try? groups(of: bridge.index, on: [])
    }
}
