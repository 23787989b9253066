/// A way to hand a guest's address over from host to host.
struct HandoverMethod: Hashable, Sendable {
    /// What is to be done once the guest runs on the target.
    enum Step: String, CaseIterable, Sendable {
        /// The target's `switch --to standby`.
        case target
        /// The guest's announcement, from behind the target's standby.
        case announce
        /// The source's `switch --to remote`.
        case source
    }

    /// Who does what.
    enum Kind: Hashable, Sendable {
        /// fdbsteer on both hosts, with the side `remote`; steps in this order.
        case steered([Step])
        /// fdbsteer's pins, but the target pins its standby from the beginning and the source keeps its own.
        case pinned
        /// The same by `bridge fdb replace ... static sticky`: pins that no frame moves.
        case sticky
        /// Nothing is pinned: the bridges learn from what the guest sends.
        case learning
    }

    let name: String
    let kind: Kind

    /// The order that docs/handover.md recommends.
    static let right: [Step] = [.target, .announce, .source]

    static let fdbsteer = HandoverMethod(name: "fdbsteer", kind: .steered(right))

    /// What is compared.
    static let compared = [
        fdbsteer, HandoverMethod(name: "pinned, no remote", kind: .pinned),
        HandoverMethod(name: "sticky, no remote", kind: .sticky),
        HandoverMethod(name: "learning", kind: .learning),
    ]

    /// The other orders of fdbsteer's steps.
    static let orders: [HandoverMethod] = Step.allCases.flatMap { first in
        Step.allCases.filter { $0 != first }.compactMap { second in
            guard let third = Step.allCases.first(where: { $0 != first && $0 != second }) else { return nil }
            let order = [first, second, third]
            if order == right { return nil }
            return HandoverMethod(name: order.map(\.rawValue).joined(separator: ", "), kind: .steered(order))
        }
    }
}
