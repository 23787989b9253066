public import FDB

/// One entry change of a plan, with what was there before and how to put it back.
public struct PlannedChange: Hashable, Sendable {
    /// The change.
    public let change: EntryChange
    /// The entry that was found, nil for none.
    public let before: Entry?
    /// Puts back what was found.
    public let undo: EntryChange
    /// What a re-read must show afterwards; nil: no entry.
    public let expected: Expectation?

    /// Whether an entry, nil for none, is what the change leads to.
    public func holds(for entry: Entry?) -> Bool {
        expected.map { $0.holds(for: entry) } ?? (entry == nil)
    }

    /// What an entry must look like after a change.
    public struct Expectation: Hashable, Sendable {
        /// Interface index of the port.
        public let port: Int32
        /// Static and forwarding; otherwise it may age.
        public let isStatic: Bool
        /// Refuses to roam.
        public let isSticky: Bool

        /// Whether an entry, nil for none, is as expected.
        public func holds(for entry: Entry?) -> Bool {
            guard let entry else { return false }
            return entry.port == port && entry.isStatic == isStatic && !entry.isLocal && entry.isSticky == isSticky
        }
    }
}

/// One step of a plan.
public enum Step: Hashable, Sendable {
    /// Switches learning on a port, when `isOn` differs from what it was.
    case learning(PortIdentity, isOn: Bool)
    /// Entry changes, sent together.
    case entries([PlannedChange])
}

/// What a verb will do: decided from what was read, before anything is changed.
public struct Plan: Hashable, Sendable {
    /// The verbs that change something.
    public enum Verb: String, Hashable, Sendable, Codable {
        case prepare, `switch`, release, abort
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
    public let steps: [Step]
    /// What the operator should know, though it is no reason to refuse.
    public let notes: [String]

    /// All entry changes.
    public var changes: [PlannedChange] {
        steps.flatMap { step -> [PlannedChange] in
            if case .entries(let changes) = step { changes } else { [] }
        }
    }

    /// Nothing would be changed.
    public var isEmpty: Bool { steps.isEmpty }
}

extension Plan {
    /// The primitive that moves an entry between two ports so that hardware follows (docs/design.md, table 1).
    ///
    /// - Parameters:
    ///   - before: the entry that was found, nil for none.
    ///   - fromEswitch: the port that has the entry reaches hardware.
    ///   - toEswitch: the port that gets it does.
    static func primitive(before: Entry?, fromEswitch: Bool, to port: Int32, toEswitch: Bool) -> EntryChange.Primitive {
        guard let before else { return .replace }
        if before.port == port {
            // A learned entry that is replaced in place can be deleted by its driver seconds later.
            return fromEswitch && !before.isStatic ? .deleteCreate : .replace
        }
        switch (fromEswitch, toEswitch) {
        case (false, _): return .replace
        case (true, _): return before.isStatic ? .use : .deleteCreate
        }
    }

    /// Plans that an entry is static on a port afterwards.
    static func pin(
        _ address: Address, before: Entry?, on port: PortIdentity, sticky: Bool, isEswitch: (Int32) -> Bool
    ) -> PlannedChange? {
        let expected = PlannedChange.Expectation(port: port.index, isStatic: true, isSticky: sticky)
        if expected.holds(for: before) { return nil }
        let fromEswitch = before.map { isEswitch($0.port) } ?? false
        let primitive = primitive(
            before: before, fromEswitch: fromEswitch, to: port.index, toEswitch: port.isEswitchPort)
        return PlannedChange(
            change: EntryChange(address, primitive, port: port.index, oldPort: before?.port, sticky: sticky),
            before: before,
            undo: restoration(of: before, address: address, from: port, isEswitch: isEswitch),
            expected: expected)
    }

    /// Plans that a static entry may age and roam afterwards, on the port that it is on.
    static func giveBack(_ entry: Entry, port: PortIdentity, isEswitch: (Int32) -> Bool) -> PlannedChange {
        PlannedChange(
            change: EntryChange(entry.address, .makeDynamic, port: entry.port),
            before: entry,
            undo: restoration(of: entry, address: entry.address, from: port, isEswitch: isEswitch),
            expected: .init(port: entry.port, isStatic: false, isSticky: false))
    }

    /// The change that puts an entry back as it was found, from the port that a plan moves it to.
    private static func restoration(
        of before: Entry?, address: Address, from port: PortIdentity, isEswitch: (Int32) -> Bool
    ) -> EntryChange {
        guard let before else { return EntryChange(address, .delete, port: port.index) }
        guard before.isStatic else { return EntryChange(address, .makeDynamic, port: before.port) }
        let moved = Entry(address: address, port: port.index, bridge: before.bridge, state: .noARP)
        let primitive = primitive(
            before: moved, fromEswitch: port.isEswitchPort, to: before.port, toEswitch: isEswitch(before.port))
        return EntryChange(address, primitive, port: before.port, oldPort: port.index, sticky: before.isSticky)
    }
}
