package import Switchdev

/// Why a port cannot deliver frames now.
package enum Obstacle: Hashable, Sendable, CustomStringConvertible {
    case down
    case noCarrier
    case noPort
    case state(PortState)

    package var description: String {
        switch self {
        case .down: "is down"
        case .noCarrier: "has no carrier"
        case .noPort: "is no bridge port"
        case .state(let state): "is \(state)"
        }
    }
}

extension Link {
    /// Why the port cannot deliver frames now; nil when it can.
    package var obstacle: Obstacle? {
        if !isUp { return .down }
        if !hasCarrier { return .noCarrier }
        guard let state = bridgePort?.state else { return .noPort }
        return state == .forwarding ? nil : .state(state)
    }
}
