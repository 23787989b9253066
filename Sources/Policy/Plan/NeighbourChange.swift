public import FDB
import Switchdev

/// A change of a neighbour that follows a guest.
public struct NeighbourChange: Hashable, Sendable {
    /// The neighbour.
    public let neighbour: GuestNeighbour
    /// What the kernel had; nil for none.
    public let before: IPNeighbour?
    /// What it is to have; nil for none.
    public let after: IPNeighbour?

    /// Makes one from its parts.
    package init(_ neighbour: GuestNeighbour, before: IPNeighbour?, after: IPNeighbour?) {
        self.neighbour = neighbour
        self.before = before
        self.after = after
    }

    /// The change that restores the earlier state.
    package var undo: NeighbourChange { NeighbourChange(neighbour, before: after, after: before?.restorable) }

    /// The messages. What was not fdbsteer's is made anew: in place it would keep fdbsteer's protocol, which says whose it is.
    package var requests: [IPNeighbourRequest] {
        let delete = IPNeighbourRequest.delete(neighbour.ip, interface: neighbour.interface.index)
        guard let after else { return [delete] }
        return before == nil || after.isOwn ? [.set(after)] : [delete, .set(after)]
    }
}

extension IPNeighbour {
    /// What user space can make of it again: what the kernel was about to find out, it finds out anew; nil for what it did not know.
    fileprivate var restorable: IPNeighbour? {
        guard mac != nil else { return nil }
        return isStatic || isControlPlanes
            ? self
            : IPNeighbour(ip: ip, interface: interface, mac: mac, state: .stale, flags: flags, protocol: `protocol`)
    }
}

extension NeighbourChange {
    /// What is to be done about a guest's neighbours once its entries are on a side.
    ///
    /// While the guest is here each of them is fdbsteer's, whoever had it before: one that is only added is refused where a control
    /// plane has one. While it is on another host only fdbsteer's are taken away. Nothing is done on an interface that is down, which
    /// keeps none (`neigh_ifdown`), or gone.
    ///
    /// - Parameter contradicts: replaces also those that a control plane has made.
    package static func following(
        _ guest: GuestInterface, at side: Side, _ observation: Observation, contradicts: Bool = true
    ) -> [NeighbourChange] {
        guard let neighbours = guest.neighbours, let seen = observation.neighbourhood else { return [] }
        return neighbours.compactMap { neighbour in
            guard seen.link(neighbour)?.isUp == true else { return nil }
            let found = seen.entry(neighbour)
            if neighbour.isRight(found, at: side) || (found?.isControlPlanes == true && !contradicts) { return nil }
            return NeighbourChange(neighbour, before: found, after: side == .remote ? nil : neighbour.intended)
        }
    }

    /// What is to be done about a guest's neighbours at its release: fdbsteer's become what `prepare` found.
    ///
    /// - Parameter earlier: what `prepare` found.
    package static func givingBack(
        _ guest: GuestInterface, _ observation: Observation, found earlier: [IPNeighbour], notes: inout [String]
    ) -> [NeighbourChange] {
        guard let neighbours = guest.neighbours, let seen = observation.neighbourhood else { return [] }
        var changes: [NeighbourChange] = []
        for neighbour in neighbours where seen.link(neighbour)?.isUp == true {
            let place = "the neighbour \(neighbour.ip) on \(neighbour.interface.name)"
            guard let found = seen.entry(neighbour) else { continue }
            guard found.isOwn else {
                if guest.side != .remote {
                    notes.append("\(place) is not fdbsteer's any more, left alone: \(found.words)")
                }
                continue
            }
            let before = earlier.first(where: neighbour.isKey)
            // Whoever had it behind a tunnel was wrong as long as the guest is here.
            let after = before?.isControlPlanes == true || guest.side == .remote ? nil : before?.restorable
            if after?.isStatic == true { notes.append("\(place) is static again: it was so before prepare") }
            changes.append(NeighbourChange(neighbour, before: found, after: after))
        }
        return changes
    }

    /// What the operator should know: those that were others', and for `reconcile`, whose answer lists what it did, the others too.
    package static func notes(_ changes: [NeighbourChange], _ verb: Plan.Verb = .switch) -> [String] {
        changes.compactMap { change in
            let place = "the neighbour \(change.neighbour.ip) on \(change.neighbour.interface.name)"
            guard let before = change.before, !before.isOwn, before.isStatic || before.isControlPlanes else {
                return verb == .reconcile ? "\(change.after == nil ? "remove" : "make") \(place)" : nil
            }
            return
                "\(place) was \(before.isControlPlanes ? "a control plane's" : "another's") (\(before.words)), and is replaced"
        }
    }
}
