import CNetlink

/// The spanning tree state of a bridge port (IFLA_BRPORT_STATE, linux/if_bridge.h).
public struct PortState: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt8

    /// - Parameter rawValue: the kernel's number.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The corresponding C constant is `BR_STATE_DISABLED`.
    public static let disabled = PortState(rawValue: UInt8(BR_STATE_DISABLED))
    /// The corresponding C constant is `BR_STATE_LISTENING`.
    public static let listening = PortState(rawValue: UInt8(BR_STATE_LISTENING))
    /// The corresponding C constant is `BR_STATE_LEARNING`.
    public static let learning = PortState(rawValue: UInt8(BR_STATE_LEARNING))
    /// The corresponding C constant is `BR_STATE_FORWARDING`.
    public static let forwarding = PortState(rawValue: UInt8(BR_STATE_FORWARDING))
    /// The corresponding C constant is `BR_STATE_BLOCKING`.
    public static let blocking = PortState(rawValue: UInt8(BR_STATE_BLOCKING))

    /// The kernel's word for the state.
    public var description: String {
        switch self {
        case .disabled: "disabled"
        case .listening: "listening"
        case .learning: "learning"
        case .forwarding: "forwarding"
        case .blocking: "blocking"
        default: "state \(rawValue)"
        }
    }
}
