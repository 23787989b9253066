package import FDB
import Netlink
package import Policy
import Records
package import Switchdev

/// What was heard of links.
package struct LinkNews: Hashable, Sendable {
    /// One has gone, has left its bridge, or is none of a prepared guest's.
    package var haveComeOrGone = false
    /// One of a prepared guest's has changed, or an entry of a guest that is waited for.
    package var haveChanged = false
}

/// Guests that the configuration has prepared: what is so, and `prepare`.
extension Keeper {
    /// How a configured guest stands.
    package enum Standing: Sendable {
        /// An interface that it needs does not exist, or is not on its bridge, in words; `isOff` where the port is missing that the
        /// hypervisor makes with the machine.
        case waiting(String, isOff: Bool)
        /// Something is under way with it, or a bracket is open whose end the loss of a port has to wait for.
        case busy
        /// It has a record, and its ports.
        case asConfigured
        /// It has a record that says otherwise, in words.
        case otherwise([String])
        /// It is to be prepared, by this request.
        case due(PreparationRequest)
    }

    /// Keeps what is heard of entries with these MACs, of guests that are not prepared yet, and takes it for news
    /// (``takeLinkNews()``): it may show now where they are.
    package mutating func await(_ macs: Set<MACAddress>) {
        if awaited.isEmpty, macs.isEmpty { return }
        awaited = Dictionary(uniqueKeysWithValues: macs.map { ($0, awaited[$0] ?? [:]) })
    }

    /// What was heard last of the entries of a guest that is waited for.
    package func heard(of request: PreparationRequest) -> [Address: Entry?] {
        var heard: [Address: Entry?] = [:]
        for address in request.addresses { heard.merge(awaited[address.mac] ?? [:]) { $1 } }
        return heard
    }

    /// All interfaces, to be asked for many names.
    package mutating func namedLinks() throws(ControllerError) -> Links { try host.kernel.links().indexedByName }

    /// What was heard of links since the last call.
    package mutating func takeLinkNews() -> LinkNews {
        defer { linkNews = LinkNews() }
        return linkNews
    }

    /// A request with the names of netdevs; nil while a port that it names does not exist.
    package func named(_ wanted: PreparationRequest, _ links: Links) -> PreparationRequest? {
        try? Prepare(wanted).named(links)
    }

    /// Compares a guest of the configuration with the interfaces and its record.
    ///
    /// - Parameters:
    ///   - wanted: what its table says.
    ///   - request: the same with the names of netdevs (``named(_:_:)``).
    ///   - leavesPrimary: something else takes the port that comes for a lost primary.
    ///   - links: all interfaces.
    package func standing(
        of wanted: PreparationRequest, as request: PreparationRequest?, leavesPrimary: Bool, _ links: Links
    ) throws(ControllerError) -> Standing {
        let isOff = links[wanted.standby] == nil && links[wanted.bridge] != nil
        guard let request else { return .waiting(lack(of: wanted, links), isOff: isOff) }
        let record = watch.record(named: wanted.id)
        if let record, record.phase != .pinned, record.phase != .bracketed { return .busy }
        if let lack = request.lack(links) { return .waiting(lack, isOff: isOff) }
        guard let record else { return .due(wanted) }
        let guest = record.guest
        let hasBridge = links[guest.bridge.index] != nil
        let lost = guest.ports.filter { links[$0.port.index]?.master != guest.bridge.index }.map(\.side)
        // The hypervisor makes a paravirtual NIC's port anew each time it starts the guest: nothing of the record holds. The same
        // port means the same run, whatever its bridge is now, and the guest is still on the side that the record has.
        if links[guest.standby.index] == nil { return .due(wanted) }
        let mayWait = hasBridge && !lost.contains(guest.arrival)
        if !mayWait || (!lost.isEmpty && (lost != [.primary] || !leavesPrimary)) {
            return mayWait && record.phase == .bracketed
                ? .busy : .due(try wanted.replacing(side: wanted.kept(guest.side, of: guest)))
        }
        let differences = try Prepare(wanted).differences(request, from: guest, journal, links: links)
        return differences.isEmpty ? .asConfigured : .otherwise(differences)
    }

    private func lack(of wanted: PreparationRequest, _ links: Links) -> String {
        do throws(ControllerError) { return try Prepare(wanted).named(links).lack(links) ?? "" } catch {
            return error.message
        }
    }

    /// An earlier daemon of this boot has found that the guest was released by others, on ports that are still there.
    ///
    /// - Parameter condition: of code ``Condition/released``, with its ports and what its table asks for.
    package func wasReleased(_ id: GuestID, _ condition: Condition) -> Bool {
        let place = EarlierConditions.Place(guest: id.text, row: ConditionRecord.absent, source: .configuration)
        return earlierConditions.at(place).contains {
            // The remedy names what the table asks for; the words may be an earlier version's.
            $0.condition.isSame(as: condition) && $0.condition.remedy == condition.remedy
        }
    }

    /// Prepares a guest of the configuration, or plans it for one that is only observed.
    ///
    /// - Throws: ``ControllerError``; nothing was changed.
    package mutating func prepare(_ request: PreparationRequest) throws(ControllerError) -> Report {
        let isObserved = observed.contains(request.id)
        return try Prepare(request, options: isObserved ? options.onlyPlanning : options, replacesLost: true)
            .run(on: &host)
    }
}

extension PreparationRequest {
    /// Which of its interfaces do not exist, and which ports are not on its bridge, in words; nil where all are.
    fileprivate func lack(_ links: Links) -> String? {
        guard let bridge = links[self.bridge] else { return "there is no bridge \(self.bridge)" }
        var words: [String] = []
        for port in [primary, standby, uplink].compactMap({ $0 }) where links[port]?.master != bridge.index {
            let other = links[port]?.master.flatMap { links[$0]?.name }
            words.append(
                links[port] == nil
                    ? "there is no interface \(port)"
                    : "\(port) is no port of \(self.bridge)" + (other.map { ", but of \($0)" } ?? ""))
        }
        words += neighbours.filter { links[$0] == nil }.map { "there is no interface \($0)" }
        return words.isEmpty ? nil : words.joined(separator: "; ")
    }
}
