import FDB
import Switchdev

/// Who has the guest's addresses.
package enum AddressRules {
    static let all = [
        otherGuest, sentinelMAC, ownMAC, localEntry, stickyEntry, otherVLAN, otherBridge, unknownSide,
    ]

    static let otherGuest = Rule(
        "other-guest", .blocks, refuses: .prepare, needs: .neighbours, shown: "here: an address of another guest",
        harm: "prepare is refused"
    ) { it, answer in
        for address in it.subject.addresses {
            guard let owner = it.observation.neighbours?.owners[address] else { continue }
            answer(
                address.description, "it belongs to guest \(owner), which is prepared", evidence: ["owner": owner],
                remedy:
                    "look at that guest: fdbsteer status \(owner); only if it is to lose the address: fdbsteer release \(owner)")
        }
    }

    static let sentinelMAC = Rule(
        "sentinel-mac", .blocks, refuses: .prepare, shown: "here: a MAC of that prefix", harm: "prepare is refused"
    ) { it, answer in
        for address in it.subject.addresses where Sentinel.isSentinel(address.mac) {
            answer(
                address.description, "it has the prefix 02:fd:b5, which fdbsteer keeps for its sentinels",
                remedy: "give the guest another MAC")
        }
    }

    static let ownMAC = Rule(
        "own-mac", .blocks, refuses: [.prepare, .anySide], shown: "here: the tap with the guest's MAC",
        harm: "frames to the guest go to the host"
    ) { it, answer in
        for address in it.subject.addresses {
            guard let own = it.owner(of: address.mac) else { continue }
            // In a VLAN that the port does not have the kernel keeps no entry of its MAC.
            let isLocal = it.observation.entry(address)?.isLocal == true
            answer(
                address.description,
                "it is the own MAC of \(own.name): the bridge hands its frames to this host, not to a port",
                evidence: ["\(own.name) address": address.mac.description],
                remedy: "ip link set \(own.name) address fe\(address.mac.description.dropFirst(2))",
                refuses: isLocal ? nil : .prepare)
        }
    }

    static let localEntry = Rule(
        "local-entry", .blocks, refuses: [.prepare, .anySide], needs: .entries, shown: "here: a permanent entry",
        harm: "frames to the guest go to the host"
    ) { it, answer in
        for entry in it.known where entry.isLocal && it.owner(of: entry.address.mac) == nil {
            let port = it.name(entry.port)
            answer(
                entry.address.description,
                "it has a local (permanent) entry on \(port)"
                    + (it.links[entry.port].flatMap(EntryOwner.init) == .cni ? ", a CNI plugin's port" : "")
                    + ": its frames go to this host",
                evidence: ["entry": "\(port) \(entry.words.joined(separator: " "))"], remedy: removal(entry, port))
        }
    }

    static let stickyEntry = Rule(
        "sticky-entry", .blocks, refuses: [.prepare, .byCommand], needs: .entries, shown: "here: a sticky entry",
        harm: "prepare is refused"
    ) { it, answer in
        let guest = it.subject.guest
        guard guest?.isSticky != true else { return }
        // On the port where a guest without a guard is pinned it is fdbsteerd's, made while others fought for it (docs/design.md).
        let own = guest.flatMap { $0.isGuarded ? nil : $0.port(of: $0.side)?.index }
        // What another guest has pinned is said of the address.
        let owners = it.observation.neighbours?.owners ?? [:]
        for entry in it.known
        where entry.isSticky && !entry.isLocal && !(entry.isStatic && entry.port == own) && owners[entry.address] == nil
        {
            let port = it.name(entry.port)
            // zebra writes a sticky route of another host so (docs/evpn.md).
            let isAdvertised = it.links[entry.port]?.isTunnel == true
            answer(
                entry.address.description,
                isAdvertised
                    ? "another host advertises it as sticky, by \(port): nobody can take it over"
                    : "it has a sticky entry on \(port) that fdbsteer did not make",
                evidence: ["entry": "\(port) \(entry.words.joined(separator: " "))"],
                remedy: isAdvertised
                    ? "vtysh -c \"show bgp l2vpn evpn route\" names the host that advertises it: take its sticky entry away there"
                    : it.subject.guest == nil
                        ? removal(entry, port)
                        : "bridge fdb replace \(key(entry, port)) master static; \(again)")
        }
    }

    private static func removal(_ entry: Entry, _ port: String) -> String {
        "bridge fdb del \(key(entry, port)) master; \(again)"
    }

    /// The kernel does not say who made an entry, but when.
    private static let again = "if a program makes it again, \"bridge monitor fdb\" shows when"

    private static func key(_ entry: Entry, _ port: String) -> String {
        "\(entry.address.mac) dev \(port)" + (entry.address.vlan.map { " vlan \($0)" } ?? "")
    }

    static let otherVLAN = Rule(
        "entry-on-other-vlan", .loses, needs: .sightings, shown: "VM: the guest learned in VLAN 30 too",
        harm: "frames in VLAN 30 go to the primary after the switch"
    ) { it, answer in
        guard let bridge = it.bridge, bridge.bridge?.filtersVLANs == true else { return }
        for entry in it.observation.sightings ?? [] where entry.bridge == bridge.index && !entry.isLocal {
            guard !it.subject.addresses.contains(entry.address),
                it.subject.addresses.contains(where: { $0.mac == entry.address.mac && $0.vlan != nil })
            else { continue }
            let port = it.name(entry.port)
            answer(
                entry.address.description,
                "the guest is seen in this VLAN too, on \(port), which is not among its addresses: frames of that VLAN "
                    + "stay there after a switch",
                evidence: ["entry": "\(port) \(entry.words.joined(separator: " "))"],
                remedy: "prepare it with --address \(entry.address) too")
        }
    }

    static let otherBridge = Rule(
        "entry-on-other-bridge", .note, needs: .sightings, shown: "here: a second bridge with the MAC",
        harm: "its frames stay where they were"
    ) { it, answer in
        guard let bridge = it.bridge else { return }
        for entry in it.observation.sightings ?? [] where entry.bridge != bridge.index && !entry.isLocal {
            let other = entry.bridge.map(it.name) ?? "none"
            let port = it.name(entry.port)
            answer(
                entry.address.description,
                "\(other) has an entry of this MAC too, on \(port): frames that come by \(other) are not redirected",
                evidence: ["\(other) entry": "\(port) \(entry.words.joined(separator: " "))"],
                remedy: "bridge fdb show br \(other)")
        }
    }

    static let unknownSide = Rule(
        "unknown-side", .note, refuses: .prepare, needs: .entries, shown: "here: no entry",
        harm: "prepare is refused without `--at`"
    ) { it, answer in
        // Entries on ports of another bridge are in another table.
        guard it.bridge != nil, !it.isSurvey, it.strangers.isEmpty, it.subject.side == nil, it.sideByEntries == nil
        else { return }
        let known = it.known
        var found = known.map { "\($0.address) on \(it.name($0.port))" }.joined(separator: ", ")
        if known.isEmpty { found = "no entry" }
        if Set(known.map(\.port)).count == 1 { found += ", which is none of the ports given" }
        answer(
            it.subject.addresses.first?.description ?? "",
            "the table does not tell where the guest is (\(found)): prepare must be told",
            remedy: "prepare ... --at \(it.subject.ownSides.map(\.rawValue).joined(separator: ", ")) or remote")
    }
}
