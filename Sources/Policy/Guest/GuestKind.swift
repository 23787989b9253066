/// What the guest does with a frame that reaches both of its NICs.
public enum GuestKind: String, Hashable, Sendable, CaseIterable, Codable {
    /// Linux net_failover: accepts frames from the standby only while no primary is registered (`net_failover_handle_frame`).
    case netFailover = "net_failover"
    /// A Linux bond of mode active-backup with `all_slaves_active` 0: accepts nothing from the inactive NIC
    /// (`bond_should_deliver_exact_match`). Bonds of other modes accept both copies and count as `unknown`.
    case bond
    /// A driver like hv_netvsc, which passes frames of both NICs to the network stack and leaves the choice to the host
    /// (`netvsc_vf_handle_frame`).
    case netvsc
    /// The kind was not declared.
    case unknown

    /// The guest accepts one of two copies of a frame.
    public var takesOneOfTwo: Bool { objection == nil }

    /// The reason why a second copy is harmful; nil if it is harmless.
    package var objection: String? {
        switch self {
        case .netFailover, .bond: nil
        case .netvsc: "takes frames from both NICs: each frame of a bracket would reach its network stack twice"
        case .unknown: "is of unknown kind: it may take each frame of a bracket twice"
        }
    }
}
