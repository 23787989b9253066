public import FDB

/// The arguments of `preflight` for a guest that is not prepared: contradictions among them are findings, not errors.
public struct PreflightRequest: Hashable, Sendable {
    /// The bridge's interface name.
    public let bridge: String
    /// The port of the VF, named as in ``PreparationRequest``; nil for a guest with one port.
    public let primary: String?
    /// The port of the paravirtual NIC, or the one port.
    public let standby: String
    /// The port behind which a guest on another host is reached.
    public let uplink: String?
    /// Sorted, each once.
    public let addresses: [Address]
    /// Where the guest is, when the caller knows.
    public let side: Side?

    /// Makes a request from its parts.
    public init(
        bridge: String, primary: String?, standby: String, uplink: String?, addresses: [Address], side: Side? = nil
    ) {
        self.bridge = bridge
        self.primary = primary
        self.standby = standby
        self.uplink = uplink
        self.addresses = Set(addresses).sorted()
        self.side = side
    }
}
