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
        /// The same, but the target's standby goes on learning while the guest is remote, so that the guest's own first
        /// frame moves the target's entry.
        case learned([Step])
        /// fdbsteer's pins, but the target pins its standby from the beginning and the source keeps its own.
        case pinned
        /// The same by `bridge fdb replace ... static sticky`: pins that no frame moves.
        case sticky
        /// Nothing is pinned: the bridges learn from what the guest sends.
        case learning
    }

    let name: String
    let kind: Kind

    /// The order that loses least for every peer: the announcement takes microseconds, and moves the fabric's entry and the
    /// source's pin, which roams to the uplink that it arrives on; what remains is the target's switch.
    static let right: [Step] = [.announce, .target, .source]

    static let fdbsteer = HandoverMethod(name: "fdbsteer", kind: .steered(right))

    /// What is compared.
    static let compared = [
        fdbsteer, HandoverMethod(name: "fdbsteer, tap learns", kind: .learned(right)),
        HandoverMethod(name: "pinned, no remote", kind: .pinned),
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
