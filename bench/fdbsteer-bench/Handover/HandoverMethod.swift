/// A way to hand a guest's address over from one host to the other.
struct HandoverMethod: Hashable, Sendable {
    /// A step after the guest runs on the target.
    enum Step: String, CaseIterable, Sendable {
        /// The target's `switch --to standby`.
        case target
        /// The guest's announcement, from behind the target's standby.
        case announce
        /// The source's `switch --to remote`.
        case source
    }

    /// The division of the work.
    enum Kind: Hashable, Sendable {
        /// fdbsteer on both hosts, with the side `remote`; steps in this order.
        case steered([Step])
        /// The same, but the target's standby keeps learning while the guest is remote, so the guest's own first frame moves
        /// the target's entry.
        case learned([Step])
        /// fdbsteer's pins, but the target pins its standby from the beginning and the source keeps its own pin.
        case pinned
        /// The same with `bridge fdb replace ... static sticky`: no frame moves these pins.
        case sticky
        /// No pins: the bridges learn from the frames that the guest sends.
        case learning
    }

    let name: String
    let kind: Kind

    /// The order that loses least for every peer. The announcement takes microseconds, and moves the fabric's entry and the
    /// source's pin, which roams to the uplink that it arrives on. Only the target's switch then remains.
    static let right: [Step] = [.announce, .target, .source]

    static let fdbsteer = HandoverMethod(name: "fdbsteer", kind: .steered(right))

    /// The compared methods.
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
