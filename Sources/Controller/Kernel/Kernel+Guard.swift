import FDB
import Netlink
import Policy
import Switchdev
import System

/// Who may send from guests' addresses.
extension Kernel {
    /// Makes or removes the guard of a guest.
    mutating func apply(_ change: GuardChange) -> Redirection.Event {
        do throws(NetlinkError) {
            if change.isOn {
                try install(change.spec)
            } else {
                try socket.withPacketFilters { (socket) throws(NetlinkError) in
                    try SourceGuardTable.remove(change.spec, using: &socket)
                }
            }
            return .done
        } catch {
            // A gate is nothing that a guest can do without.
            if change.isOn, change.spec.gate == nil { guardRefusal = error.description }
            let aim =
                change.spec.gate != nil && change.isOn
                ? "make a gate in nftables" : "\(change.isOn ? "guard" : "stop guarding") the guest's addresses"
            return .failed(Redirection.Failure("cannot \(aim)", cause: KernelRefusal(error)))
        }
    }

    private mutating func install(_ spec: SourceGuard) throws(NetlinkError) {
        let spec = try withVLANs(spec)
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            try SourceGuardTable.install(spec, using: &socket)
        }
    }

    /// Shuts or opens a port to a guest's MACs; makes the table, where somebody has removed it.
    mutating func setGate(isShut: Bool, at port: Int32, of guest: GuestInterface) throws(NetlinkError) {
        let gate = SourceGuard.Gate(ports: [port], macs: guest.macs)
        let bridge = guest.bridge.index
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            if !isShut { return try SourceGuardTable.open(gate, onBridge: bridge, using: &socket) }
            do throws(NetlinkError) {
                try SourceGuardTable.shut(gate, onBridge: bridge, using: &socket)
            } catch {
                guard error.errno == .noEntry else { throw error }
            }
        }
        guard isShut, try readGate(gate, onBridge: bridge)[port] != gate.macs.count else { return }
        try install(SourceGuard(guest, links: Links.snapshot(using: &socket)))
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            try SourceGuardTable.shut(gate, onBridge: bridge, using: &socket)
        }
    }

    /// How far the ports of a guest are shut by its bridge's table.
    mutating func readGate(_ gate: SourceGuard.Gate, onBridge bridge: Int32) throws(NetlinkError) -> [Int32: Int] {
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            try SourceGuardTable.shut(of: gate, onBridge: bridge, using: &socket)
        }
    }

    private mutating func withVLANs(_ spec: SourceGuard) throws(NetlinkError) -> SourceGuard {
        if spec.pvids.isEmpty { return spec }
        var spec = spec
        let pvids = try PortVLANs.pvids(using: &socket)
        for port in spec.pvids.keys { spec.pvids[port] = pvids[port] ?? 0 }
        return spec
    }

    /// Makes the guard of a prepared guest again where it is not as intended. All interfaces are read only to make it.
    ///
    /// - Parameter near: the guest's bridge and ports, where they have just been read.
    /// - Returns: whether anything was missing.
    mutating func restoreGuard(of guest: GuestInterface, near: Observation? = nil) throws(ControllerError) -> Bool {
        guard guest.needsTable else { return false }
        let near = if let near { near } else { try observePorts(of: guest) }
        if try holdsGuard(of: guest, near: near.links) { return false }
        let links = try links()
        do throws(NetlinkError) {
            try install(SourceGuard(guest, links: links))
        } catch {
            throw ControllerError(.precondition, "cannot guard the addresses of guest \(guest.id)", cause: error)
        }
        guard guest.isGatedByTable else { return true }
        for (side, port) in guest.own where guest.isClosed(side) {
            do throws(NetlinkError) {
                try setGate(isShut: true, at: port.index, of: guest)
            } catch {
                throw ControllerError(.precondition, "cannot shut \(port.name)", cause: error)
            }
        }
        return true
    }

    /// Takes over what has changed of a bridge's and others' ports.
    ///
    /// - Returns: false where the table is missing, or for a bridge of another name or other VLANs.
    mutating func refreshGuard(_ guest: GuestInterface, _ links: Links) throws(ControllerError) -> Bool {
        try ControllerError.reading("the nftables table of \(guest.bridge.name)") { () throws(NetlinkError) in
            let spec = try withVLANs(SourceGuard(guest, links: links))
            return try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try SourceGuardTable.refresh(spec, using: &socket)
            }
        }
    }

    /// Whether a guest's guard is as intended, or there is no bridge for one.
    ///
    /// - Parameter links: the bridge and the guest's ports among them; who else may send is no part of a guest's own.
    mutating func holdsGuard(of guest: GuestInterface, near links: Links) throws(ControllerError) -> Bool {
        guard links[guest.bridge.index] != nil else { return true }
        let spec = SourceGuard(guest, links: links)
        return try ControllerError.reading("the nftables table of \(spec.bridge.name)") { () throws(NetlinkError) in
            let isMade = try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try SourceGuardTable.holds(spec, using: &socket)
            }
            guard isMade, guest.side == .remote, let gate = spec.gate else { return isMade }
            let shut = try readGate(gate, onBridge: spec.bridge.index)
            return gate.ports.allSatisfy { shut[$0] == gate.macs.count }
        }
    }

    /// Who has sent from a guest's addresses within the last hour, and was refused.
    mutating func refused(_ guest: GuestInterface) throws(ControllerError) -> [RefusedSource] {
        let bridge = guest.bridge.index
        let macs = Set(guest.addresses.map(\.mac))
        return try ControllerError.reading("the nftables table of \(guest.bridge.name)") { () throws(NetlinkError) in
            try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try SourceGuardTable.refused(onBridge: bridge, using: &socket)
            }
        }.filter { macs.contains($0.mac) }
    }
}
