package import FDB
import Netlink
package import Policy
import Records
package import Switchdev

/// What was heard of links.
package struct LinkNews: Hashable, Sendable {
    /// One has gone, has left its bridge, or is none of a prepared guest's; or a guest that is waited for has sent a frame.
    package var haveComeOrGone = false
    /// One of a prepared guest's has changed.
    package var haveChanged = false
}

/// Guests that the configuration has prepared: what is so, and `prepare`.
extension Keeper {
    /// How a configured guest stands.
    package enum Standing: Sendable {
        /// An interface that it needs does not exist, or is not on its bridge.
        case waiting
        /// Something is under way with it.
        case busy
        /// It has a record, and its ports.
        case asConfigured
        /// It has a record that says otherwise, in words.
        case otherwise([String])
        /// It is to be prepared, by this request.
        case due(PreparationRequest)
    }

    /// Takes an entry with one of these MACs, of guests that are not prepared yet, for news of links (``takeLinkNews()``): their
    /// ports may have come.
    package mutating func await(_ macs: Set<MACAddress>) { awaited = macs }

    /// All interfaces, to be asked for many names.
    package mutating func namedLinks() throws(ControllerError) -> Links { try host.kernel.links().indexedByName }

    /// What was heard of links since the last call.
    package mutating func takeLinkNews() -> LinkNews {
        defer { linkNews = LinkNews() }
        return linkNews
    }

    /// Compares a guest of the configuration with the interfaces and its record.
    ///
    /// - Parameters:
    ///   - leavesPrimary: something else takes the port that comes for a lost primary.
    ///   - links: all interfaces.
    package func standing(
        of wanted: PreparationRequest, leavesPrimary: Bool, _ links: Links
    ) throws(ControllerError) -> Standing {
        let prepare = Prepare(wanted)
        let request: PreparationRequest
        do throws(ControllerError) {
            request = try prepare.named(links)
        } catch {
            return .waiting
        }
        let record = watch.record(named: wanted.id)
        if let record, record.phase != .pinned, record.phase != .bracketed { return .busy }
        guard request.isComplete(links) else { return .waiting }
        guard let record else { return .due(wanted) }
        let guest = record.guest
        let differences = try prepare.differences(request, from: guest, journal, links: links)
        if !differences.isEmpty { return .otherwise(differences) }
        let lost = guest.ports.filter { links[$0.port.index]?.master != guest.bridge.index }.map(\.side)
        if links[guest.bridge.index] != nil, lost.isEmpty { return .asConfigured }
        // The hypervisor makes a paravirtual NIC's port anew each time it starts the guest. The same port means the same run,
        // and the guest is still on the side that the record has.
        if links[guest.bridge.index] != nil, !lost.contains(guest.arrival) {
            if lost == [.primary], leavesPrimary { return .asConfigured }
            return .due(try wanted.replacing(side: guest.side))
        }
        return .due(wanted)
    }

    /// An earlier daemon of this boot has found that the guest was released by others, on ports that are still there.
    ///
    /// - Parameter place: the subject of the condition ``Condition/released``.
    package func wasReleased(_ id: GuestID, at place: String) -> Bool {
        earlierConditions[EarlierCondition(guest: id.text, code: Condition.released, subject: place)] != nil
    }

    /// Prepares a guest of the configuration, or plans it for one that is only observed.
    ///
    /// - Throws: ``ControllerError``; nothing was changed.
    package mutating func prepare(_ request: PreparationRequest) throws(ControllerError) -> Report {
        let isObserved = observed.contains(request.id)
        return try Prepare(request, options: isObserved ? options.onlyPlanning : options).run(on: &host)
    }
}

extension PreparationRequest {
    /// Whether its interfaces exist, and its ports are on its bridge.
    fileprivate func isComplete(_ links: Links) -> Bool {
        guard let bridge = links[self.bridge] else { return false }
        let ports = [primary, standby, uplink].compactMap { $0 }
        return ports.allSatisfy { links[$0]?.master == bridge.index } && neighbours.allSatisfy { links[$0] != nil }
    }
}
