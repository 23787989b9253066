import FDB
import Switchdev

/// Who else has the ports, and the MACs.
extension Preflight {
    package mutating func checkSharing() {
        for (side, link) in ports where side != .remote {
            let flags = link.bridgePort?.flags ?? []
            if let guest = input.prepared, !guest.isSticky, flags.contains(.learning), !guest.learns(side),
                !standbyIsUplink
            {
                add(
                    .learningOn, .loses, link.name,
                    "learning is on: a late frame of the guest there moves its entries, and its frames go after it",
                    evidence: ["\(link.name) learning": "on"], remedy: "bridge link set dev \(link.name) learning off")
            }
            guard let reason = sharing(link, side) else { continue }
            let switched = pair.map { [$0.primary, $0.standby] }?.first(where: \.isEswitchPort)
            if let switched {
                add(
                    .sharedPort, .blocks, link.name,
                    "\(reason), so that its learning must stay on and the entries be sticky, but sticky entries of "
                        + "\(switched.name) cannot be moved so that hardware follows",
                    evidence: ["\(link.name) serves": reason],
                    remedy: "give this guest a primary and a standby port of its own")
            } else {
                add(
                    .sharedPort, .costs, link.name,
                    "\(reason), so that its learning stays on and the guest's entries are sticky",
                    evidence: ["\(link.name) serves": reason, "\(link.name) learning": flags.word(.learning)],
                    remedy: "bridge fdb show br \(input.bridgeName) brport \(link.name)")
            }
        }
    }

    /// As ``Planner`` decides it.
    private func sharing(_ link: Link, _ side: Side) -> String? {
        if let other = input.otherGuests[link.index] { return "guest \(other) uses it" }
        if side == .standby, standbyIsUplink { return "it is the uplink" }
        guard let table = input.table else { return nil }
        let own = Set(input.addresses.map(\.mac))
        let others = table.entries.values.filter {
            $0.port == link.index && !$0.isLocal && !own.contains($0.address.mac)
        }
        guard let first = others.map(\.address).min() else { return nil }
        return others.count == 1 ? "\(first) lives behind it" : "\(first) and \(others.count - 1) more live behind it"
    }

    package mutating func checkAddresses() {
        for address in input.addresses { check(address) }
        for entry in input.sightings { checkSighting(entry) }
        guard let table = input.table, input.prepared == nil, !input.saysSide else { return }
        let known = input.addresses.compactMap { table[$0] }
        let places = Set(known.map(\.port))
        let own = Set(ports.map(\.link.index))
        if places.count != 1 || !places.isSubset(of: own) {
            let found = known.map { "\($0.address) on \(name($0.port))" }.joined(separator: ", ")
            add(
                .unknownSide, .note, input.addresses.first?.description ?? "",
                "the table does not tell where the guest is (\(known.isEmpty ? "no entry" : found)): prepare must be told",
                remedy: "prepare ... --at primary, standby or remote")
        }
    }

    private mutating func check(_ address: Address) {
        let subject = address.description
        if let owner = input.owners[address] {
            add(
                .otherGuest, .blocks, subject, "it belongs to guest \(owner)", evidence: ["owner": owner],
                remedy: "fdbsteer release \(owner)")
        }
        if Sentinel.isSentinel(address.mac) {
            add(
                .sentinelMAC, .blocks, subject, "it has the prefix 02:fd:b5, which fdbsteer keeps for its sentinels",
                remedy: "give the guest another MAC")
        }
        if let bridge = input.bridge,
            let own = (input.links.ports(of: bridge.index) + [bridge]).first(where: { $0.mac == address.mac })
        {
            add(
                .ownMAC, .blocks, subject,
                "it is the own MAC of \(own.name): the bridge hands its frames to this host, not to a port",
                evidence: ["\(own.name) address": address.mac.description],
                remedy: "ip link set \(own.name) address fe\(address.mac.description.dropFirst(2))")
            return
        }
        guard let entry = input.table?[address] else { return }
        let port = name(entry.port)
        let removal = "find who made it, then: bridge fdb del \(address.mac) dev \(port) master"
        if entry.isLocal {
            add(
                .localEntry, .blocks, subject,
                "it has a local (permanent) entry on \(port): its frames go to this host",
                evidence: ["entry": "\(port) \(entry.words.joined(separator: " "))"], remedy: removal)
        } else if entry.isSticky, input.prepared?.isSticky != true {
            add(
                .stickyEntry, .blocks, subject, "it has a sticky entry on \(port) that fdbsteer did not make",
                evidence: ["entry": "\(port) \(entry.words.joined(separator: " "))"], remedy: removal)
        }
    }

    /// An entry of a guest's MAC that is none of its addresses.
    private mutating func checkSighting(_ entry: Entry) {
        guard let bridge = input.bridge, !entry.isLocal else { return }
        if entry.bridge != bridge.index {
            let other = entry.bridge.map(name) ?? "none"
            add(
                .otherBridge, .note, entry.address.description,
                "\(other) has an entry of this MAC too, on \(name(entry.port)): frames that come by \(other) are not "
                    + "redirected",
                evidence: ["\(other) entry": "\(name(entry.port)) \(entry.words.joined(separator: " "))"],
                remedy: "bridge fdb show br \(other)")
        } else if !input.addresses.contains(entry.address), bridge.bridge?.filtersVLANs == true,
            input.addresses.contains(where: { $0.mac == entry.address.mac && $0.vlan != nil })
        {
            add(
                .otherVLAN, .loses, entry.address.description,
                "the guest is seen in this VLAN too, on \(name(entry.port)), which is not among its addresses: frames of "
                    + "that VLAN stay there after a switch",
                evidence: ["entry": "\(name(entry.port)) \(entry.words.joined(separator: " "))"],
                remedy: "prepare it with --address \(entry.address) too")
        }
    }
}
