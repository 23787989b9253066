/// A way to hand a guest over between two hosts of an EVPN fabric.
struct EVPNMethod: Hashable, Sendable {
    /// What is done once the guest runs on the target.
    enum Step: String, Sendable {
        /// QEMU announces the guest, behind the target's standby.
        case announce
        /// The target's `switch --to standby`.
        case target
        /// The source's `switch --to remote`.
        case source
    }

    /// Who keeps the guest's entries.
    enum Keeper: String, Sendable {
        /// Nobody: the bridges learn.
        case nobody = "learning"
        /// The commands, and nothing between them.
        case commands = "no daemon"
        /// fdbsteerd on both hosts.
        case daemons
    }

    let keeper: Keeper
    /// The standby's port has addresses of others too.
    var isShared = false
    /// In order.
    let steps: [Step]

    var name: String {
        keeper.rawValue + (isShared ? ", shared port" : "") + ": " + steps.map(\.rawValue).joined(separator: ", ")
    }
    /// Something brings the source's record to `remote`.
    var settlesSource: Bool { keeper == .daemons || keeper == .commands && steps.contains(.source) }
    /// The moves that bgpd counts at least: where the source withdraws its route first, the target's may be the first one that is known.
    var leastMobility: Int { steps.first == .source ? 0 : 1 }
    /// The same without daemons and with a port of the guest's own.
    var baseline: EVPNMethod { EVPNMethod(keeper: .commands, steps: steps) }

    private static let orders: [[Step]] = [[.target], [.target, .source], [.source, .target]]

    static let all =
        [EVPNMethod(keeper: .nobody, steps: [.announce])] + orders.map { EVPNMethod(keeper: .commands, steps: $0) }
        + orders.map { EVPNMethod(keeper: .daemons, steps: $0) } + [
            EVPNMethod(keeper: .daemons, steps: [.announce, .target, .source]),
            EVPNMethod(keeper: .daemons, steps: [.announce]),
            EVPNMethod(keeper: .daemons, isShared: true, steps: [.target]),
            EVPNMethod(keeper: .daemons, isShared: true, steps: [.target, .source]),
        ]
}
