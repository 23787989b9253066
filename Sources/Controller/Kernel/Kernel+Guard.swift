import FDB
import Netlink
import Policy
import Switchdev

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
            if change.isOn { guardRefusal = error.description }
            return .failed(
                Redirection.Failure(
                    "cannot \(change.isOn ? "guard" : "stop guarding") the guest's addresses",
                    cause: KernelRefusal(error)))
        }
    }

    private mutating func install(_ spec: SourceGuard) throws(NetlinkError) {
        let spec = try withVLANs(spec)
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            try SourceGuardTable.install(spec, using: &socket)
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
        guard guest.isGuarded else { return false }
        let near = if let near { near } else { try observePorts(of: guest) }
        if try holdsGuard(of: guest, near: near.links) { return false }
        let links = try links()
        do throws(NetlinkError) {
            try install(SourceGuard(guest, links: links))
        } catch {
            throw ControllerError(.precondition, "cannot guard the addresses of guest \(guest.id)", cause: error)
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
            try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try SourceGuardTable.holds(spec, using: &socket)
            }
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
