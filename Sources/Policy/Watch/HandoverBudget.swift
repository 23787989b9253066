/// How often a guest has changed hosts lately. FRR takes an address for a duplicate that moves 5 times within 180 s
/// (`ZEBRA_DAD_MAX_MOVES`, `ZEBRA_DAD_TIME`; docs/evpn.md).
package struct HandoverBudget: Hashable, Sendable {
    /// FRR's window, in nanoseconds.
    package static let window: Int64 = 180_000_000_000
    /// The move that FRR takes for a duplicate's.
    package static let limit = 5
    /// From so many on the operator is warned: two more are one too many.
    package static let warning = 3

    private var times: [Int64] = []

    package init() {}

    /// Notes a move.
    ///
    /// - Parameter now: CLOCK_MONOTONIC, nanoseconds.
    package mutating func note(at now: Int64) { times = times.suffix(HandoverBudget.limit * 2) + [now] }

    /// How many moves are in the window.
    package func used(at now: Int64) -> Int { times.count { now - $0 < HandoverBudget.window } }

    /// When fewer moves are in the window; nil without any.
    package func due(at now: Int64) -> Int64? {
        times.first { now - $0 < HandoverBudget.window }.map { $0 + HandoverBudget.window }
    }

    /// What the operator should know; nil while there is enough left.
    package func condition(at now: Int64) -> Condition? {
        let used = used(at: now)
        guard used >= HandoverBudget.warning else { return nil }
        let isOver = used >= HandoverBudget.limit
        return Condition(
            Condition.handovers, isOver ? .problem : .warning, "",
            "it has changed hosts \(used) times within 180 s: "
                + (isOver
                    ? "FRR takes its addresses for duplicates by default, and may freeze them"
                    : "FRR takes the fifth for a duplicate by default"),
            remedy: isOver
                ? "FRR: show evpn mac vni all duplicate, then clear evpn dup-addr vni all"
                : "wait before it is migrated again, or raise FRR's limit: dup-addr-detection max-moves N time S")
    }
}
