public import FDB

/// A guest's NIC in legacy mode, where the filters of the NIC, not a bridge, decide whether the VF gets a frame.
public struct LegacyNIC: Hashable, Sendable {
    /// The physical function.
    public var pf: PortIdentity
    /// The number of the guest's VF.
    public let vf: UInt32
    /// The MAC was in the unicast list of the port to the NIC before the guest was prepared; `release` leaves it there.
    public let hadEntry: Bool
    /// The VF's MAC before the guest was prepared; restored if `prepare` fails.
    public let hadMAC: MACAddress
    /// The order of filter changes that is safe on this NIC.
    public let order: FilterOrder

    /// Makes a NIC from its fields.
    public init(pf: PortIdentity, vf: UInt32, hadEntry: Bool, hadMAC: MACAddress, order: FilterOrder) {
        self.pf = pf
        self.vf = vf
        self.hadEntry = hadEntry
        self.hadMAC = hadMAC
        self.order = order
    }
}

/// The arguments of `prepare` that name a NIC in legacy mode.
public struct LegacyRequest: Hashable, Sendable {
    /// The netdev of the physical function.
    public let pf: String
    /// The number of the guest's VF.
    public let vf: UInt32
    /// Accept a NIC whose verdict is that it cannot be used for failover.
    public let acceptsUnusable: Bool

    /// Makes a request from its fields.
    public init(pf: String, vf: UInt32, acceptsUnusable: Bool = false) {
        self.pf = pf
        self.vf = vf
        self.acceptsUnusable = acceptsUnusable
    }
}
