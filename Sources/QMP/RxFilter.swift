public import JSON

/// What a guest wants to receive on one virtio NIC: an element of the reply to `query-rx-filter` (qapi/net.json).
public struct RxFilter: Hashable, Sendable {
    /// The NIC's device id.
    public let name: String
    /// The guest receives everything: its lists say nothing about its addresses.
    public let isPromiscuous: Bool
    /// The MAC that the guest gave the NIC, as QEMU writes it.
    public let mainMAC: String
    /// Further unicast MACs.
    public let unicast: [String]
    /// The guest has more unicast MACs than QEMU keeps.
    public let unicastOverflow: Bool
    /// The VLANs that the guest accepts: `none`, `normal` (those of the table) or `all`.
    public let vlanMode: String
    /// VLAN ids, including 0.
    public let vlans: [Int64]

    /// Decodes one element.
    ///
    /// - Returns: nil if a member that QEMU always sends is missing.
    public init?(_ content: JSON) {
        guard let name = content["name"]?.text, let mac = content["main-mac"]?.text else { return nil }
        self.name = name
        isPromiscuous = content["promiscuous"]?.bool ?? false
        mainMAC = mac
        unicast = content["unicast-table"]?.elements?.compactMap(\.text) ?? []
        unicastOverflow = content["unicast-overflow"]?.bool ?? false
        vlanMode = content["vlan"]?.text ?? "normal"
        vlans = content["vlan-table"]?.elements?.compactMap(\.integer) ?? []
    }
}
