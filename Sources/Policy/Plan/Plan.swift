public import FDB
public import Switchdev

/// One entry change of a plan, with what was there before and how to put it back.
public struct PlannedChange: Hashable, Sendable {
    /// The change.
    public let change: EntryChange
    /// The entry that was found, nil for none.
    public let before: Entry?
    /// Puts back what was found.
    public let undo: EntryChange
    /// What a re-read must show afterwards; nil: no entry, or one that was learned meanwhile.
    public let expected: Expectation?

    /// Whether an entry, nil for none, is what the change leads to.
    public func holds(for entry: Entry?) -> Bool {
        expected.map { $0.holds(for: entry) } ?? (entry?.isDynamic ?? true)
    }

    /// What an entry must look like after a change.
    public struct Expectation: Hashable, Sendable {
        /// Interface index of the port.
        public let port: Int32
        /// Static and forwarding; otherwise it may age.
        public let isStatic: Bool
        /// Refuses to roam.
        public let isSticky: Bool
        /// It is a control plane's (NTF_EXT_LEARNED), or nobody's but the bridge's; nil where that does not matter.
        let isExternal: Bool?

        /// Makes one from its parts.
        package init(port: Int32, isStatic: Bool, isSticky: Bool, isExternal: Bool? = nil) {
            self.port = port
            self.isStatic = isStatic
            self.isSticky = isSticky
            self.isExternal = isExternal
        }

        /// Whether an entry, nil for none, is as expected.
        public func holds(for entry: Entry?) -> Bool {
            guard let entry else { return false }
            return entry.port == port && entry.isStatic == isStatic && !entry.isLocal && entry.isSticky == isSticky
                && (isExternal == nil || isExternal == entry.flags.contains(.externallyLearned))
        }
    }
}

/// One step of a plan.
public enum Step: Hashable, Sendable {
    /// Changes a setting of a port, which was another.
    case setting(PortIdentity, PortSetting)
    /// Entry changes, sent together.
    case entries([PlannedChange])
    /// A filter of a NIC in legacy mode.
    case filter(PlannedFilter)
    /// Multicast groups that the new port joins, sent together.
    case groups([GroupRequest])
    /// A bracket's copy is made or removed.
    case copy(CopyChange)
    /// Who may send from the guest's addresses.
    case sourceGuard(GuardChange)
    /// Neighbours that follow the guest, changed together, after its entries.
    case neighbours([NeighbourChange])

    /// What it does to a bracket.
    package var bracketChange: BracketChange? {
        if case .copy(let copy) = self { copy.isOn ? .opens : .closes } else { nil }
    }
    /// Its change of a NIC's filter.
    package var filter: PlannedFilter? { if case .filter(let filter) = self { filter } else { nil } }
    /// Whether what it changes matters to no other step: settings and entries, not filters and copies, which a frame passes
    /// as well.
    package var isIndependent: Bool {
        switch self {
        case .setting, .entries, .groups, .sourceGuard, .neighbours: true
        case .filter, .copy: false
        }
    }
    /// Its entry changes.
    package var changes: [PlannedChange] { if case .entries(let changes) = self { changes } else { [] } }
}

/// What a verb will do: decided from what was read, before anything is changed.
public struct Plan: Hashable, Sendable {
    /// The verbs that change something.
    public enum Verb: String, Hashable, Sendable, Codable, CaseIterable {
        case prepare, `switch`, release, abort
        /// Ends what a dead process left, and brings entries and ports' settings to what the record says.
        case reconcile
        /// Puts entries back where the journal says: what is under way in it is nothing that another process must end.
        case repair
    }

    /// What must be shown before everything holds.
    public enum Proof: Hashable, Sendable {
        /// Nothing: only software has a part in it.
        case none
        /// That hardware has followed.
        case hardware(ProofTask)
        /// That frames follow the filters of a NIC in legacy mode: its counters show it.
        case filters
    }

    /// What was asked for.
    public let verb: Verb
    /// The guest interface as it will be afterwards.
    public let guest: GuestInterface
    /// The side before.
    public let from: Side
    /// The side afterwards.
    public let to: Side
    /// In order; empty when everything is already so.
    public internal(set) var steps: [Step]
    /// What the operator should know, though it is no reason to refuse.
    public let notes: [String]
    /// The entries of the guest's addresses before its `prepare`: what `release` gives back.
    public var found: [Entry] = []
    /// The same of the neighbours that follow it: those that were not fdbsteer's.
    public var foundNeighbours: [IPNeighbour] = []
    /// What preflight found, but for notes.
    public var findings: [Finding] = []
    /// How it moves the guest's frames.
    public let strategy: Strategy
    /// What it tells the journal.
    public let books: Books
    /// Both ports are to send afterwards: their counters say nothing about a move.
    public let servesBothPorts: Bool
    /// What must be shown before everything holds.
    public let proof: Proof
    /// The ports, of the guest and others, whose entries reach hardware.
    public let eswitchPorts: Set<Int32>
    /// The guest's multicast groups; nil where the bridge does not snoop, or they stay where they are.
    public let groups: GroupPlan?

    /// Makes a plan from its parts; what has to be proven follows from the changes.
    ///
    /// - Parameters:
    ///   - links: the ports that the changes and the guest name.
    ///   - books: what it tells the journal; nil for what a plan without a bracket tells.
    package init(
        verb: Verb, guest: GuestInterface, from: Side, to: Side, steps: [Step], notes: [String],
        links: Links = Links([]), groups: GroupPlan? = nil, strategy: Strategy = .cut, books: Books? = nil,
        servesBothPorts: Bool = false
    ) {
        self.verb = verb
        self.guest = guest
        self.from = from
        self.to = to
        self.steps = steps
        self.notes = notes
        self.groups = groups
        self.strategy = strategy
        self.books = books ?? .cut(verb, from: from, to: to)
        self.servesBothPorts = servesBothPorts
        if steps.contains(where: { $0.filter != nil }) {
            proof = .filters
        } else if case let changes = Plan.changes(of: steps), Plan.concernHardware(changes, links) {
            let task = Plan.proof(of: changes, guest: guest, links: links)
            proof = task.isEmpty ? .none : .hardware(task)
        } else {
            proof = .none
        }
        eswitchPorts = Set(links.eswitchPorts)
    }

    /// All entry changes.
    public var changes: [PlannedChange] { Plan.changes(of: steps) }

    /// Most plans have one step of entries: its array is not copied.
    private static func changes(of steps: [Step]) -> [PlannedChange] {
        var all: [PlannedChange] = []
        for case .entries(let changes) in steps { all = all.isEmpty ? changes : all + changes }
        return all
    }

    /// Nothing would be changed.
    public var isEmpty: Bool { steps.isEmpty }
    /// Nothing is left to do but to take our own tables away.
    package var givesNothingBack: Bool {
        steps.allSatisfy { if case .sourceGuard = $0 { true } else { false } }
    }
}

extension Plan {
    /// The same plan with the end of a copy after its other steps.
    package func ending(_ copy: CopyChange) -> Plan {
        var plan = self
        plan.steps.append(.copy(copy))
        return plan
    }
}
