/// What the guest does with a frame that reaches both of its NICs.
public enum GuestKind: String, Hashable, Sendable, CaseIterable, Codable {
    /// Linux net_failover: takes frames of the standby only while no primary is registered (`net_failover_handle_frame`).
    case netFailover = "net_failover"
    /// A Linux bond of mode active-backup with `all_slaves_active` 0: takes nothing from the NIC that is not active
    /// (`bond_should_deliver_exact_match`). Bonds of other modes take both: they are `unknown`.
    case bond
    /// Like hv_netvsc, which hands frames of both to the network stack and leaves the choice to the host
    /// (`netvsc_vf_handle_frame`).
    case netvsc
    /// Not declared.
    case unknown

    /// It takes one of two copies of a frame.
    public var takesOneOfTwo: Bool { objection == nil }

    /// Why a copy is not harmless; nil when it is.
    package var objection: String? {
        switch self {
        case .netFailover, .bond: nil
        case .netvsc: "takes frames from both NICs: each frame of a bracket would reach its network stack twice"
        case .unknown: "is of unknown kind: it may take each frame of a bracket twice"
        }
    }
}
