public import FDB
import Switchdev

/// What a plan does about a guest's multicast groups, decided from what was read before anything is changed.
public struct GroupPlan: Hashable, Sendable {
    /// Which memberships go where; decides again after the addresses have moved.
    public let move: GroupMove
    /// What the new port joins before the addresses move.
    public let additions: [GroupRequest]
    /// What the old ports leave afterwards, as far as it is known beforehand.
    public let removals: [GroupRequest]
    /// What the operator should know.
    public let notes: [String]
    /// Entries move too: memberships are then looked at afterwards in any case.
    private let isWithEntries: Bool

    /// Decides; nil where the bridge does not snoop, or the guest leaves no port with memberships of its own.
    ///
    /// - Parameters:
    ///   - guest: as it is now.
    ///   - side: where it goes.
    ///   - pins: the changes of its entries.
    ///   - table: the bridge's groups, nil where they were not read.
    package init?(of guest: GuestInterface, to side: Side, pins: [PlannedChange], table: GroupTable?) {
        guard let table, let move = GroupMove(of: guest, to: side, from: Set(pins.compactMap { $0.before?.port }))
        else { return nil }
        self.move = move
        additions = move.additions(table)
        removals = move.removals(table, copied: Set(additions.map(\.key)))
        notes = move.notes(table)
        isWithEntries = !pins.isEmpty
        if pins.isEmpty, additions.isEmpty, removals.isEmpty { return nil }
    }

    /// What goes before the step of the entries; an empty step where only memberships are left on an old port.
    package var steps: [Step] { additions.isEmpty && isWithEntries ? [] : [.groups(additions)] }

}

extension Link {
    /// A bridge with memberships that mean something: it is up and snoops.
    package var hasGroups: Bool { isUp && bridge?.snoopsMulticast == true }
}
