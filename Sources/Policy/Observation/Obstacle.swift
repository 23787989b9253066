import Switchdev

extension Link {
    /// Why a port cannot deliver frames now; nil when it can.
    package var obstacle: String? {
        if !isUp { return "is down" }
        if !hasCarrier { return "has no carrier" }
        guard let state = bridgePort?.state else { return "is no bridge port" }
        return state == .forwarding ? nil : "is \(state)"
    }
}
