import FDB
import Switchdev

/// VLANs of the guest's ports.
package enum VLANRules {
    static let all = [
        vlanNotFiltered, vlanMissing, vlanMembership, vlanTagging, pvidDiffers, pvidChanged, vlanTwins, defaultPVID,
    ]

    static let vlanNotFiltered = Rule(
        "vlan-not-filtered", .blocks, refuses: .prepare, shown: "here: a VLAN on a bridge that filters none",
        harm: "prepare is refused"
    ) { it, answer in
        guard let bridge = it.bridge, bridge.bridge?.filtersVLANs == false else { return }
        for address in it.subject.addresses where address.vlan != nil {
            answer(
                address.description, "it names a VLAN, but \(bridge.name) filters none",
                evidence: ["\(bridge.name) vlan_filtering": "0"],
                remedy: "give the MAC alone, or: ip link set \(bridge.name) type bridge vlan_filtering 1")
        }
    }

    static let vlanMissing = Rule(
        "vlan-missing", .blocks, refuses: [.prepare, .intent], needs: .vlans,
        shown: "VM: VLAN of the address not on the standby",
        harm: "tagged frames that the guest sends"
    ) { it, answer in
        guard it.bridge?.bridge?.filtersVLANs == true else { return }
        for (side, port) in it.ports {
            let members = it.observation.vlans?[side]?.members ?? []
            for vlan in Set(it.subject.addresses.compactMap(\.vlan)).subtracting(members).sorted() {
                answer(
                    port.name,
                    "VLAN \(vlan) of the guest's addresses is not on the port: its frames are dropped there, "
                        + "and the kernel neither changes nor deletes its entries there",
                    evidence: ["\(port.name) VLANs": words(members)],
                    remedy: "bridge vlan add dev \(port.name) vid \(vlan)")
            }
        }
    }

    /// Primary and standby with their VLANs, on a bridge that filters VLANs.
    private static func filtered(
        _ it: Preflight
    ) -> (primary: Link, first: PortVLANs, standby: Link, second: PortVLANs)? {
        guard it.bridge?.bridge?.filtersVLANs == true, let (primary, standby) = it.pair,
            let first = it.observation.vlans?[.primary], let second = it.observation.vlans?[.standby]
        else { return nil }
        return (primary, first, standby, second)
    }

    static let vlanMembership = Rule(
        "vlan-membership", .loses, .leaks, needs: .vlans, shown: "VM: a VLAN on primary / standby alone",
        harm: "tagged frames / a VLAN that the guest had not"
    ) { it, answer in
        guard !it.standbyIsUplink, let (primary, first, standby, second) = filtered(it) else { return }
        let evidence: KeyValuePairs = [
            "\(primary.name) VLANs": words(first.members), "\(standby.name) VLANs": words(second.members),
        ]
        // What the addresses need is said port by port (``vlanMissing``).
        let needed = it.subject.addresses.compactMap(\.vlan)
        let lost = first.members.subtracting(second.members).subtracting(needed)
        if !lost.isEmpty {
            answer(
                standby.name,
                "it lacks VLANs of \(primary.name), \(words(lost)): the guest's frames in them are dropped there",
                .loses,
                evidence: evidence, remedy: command("add", lost, standby.name))
        }
        let leaked = second.members.subtracting(first.members).subtracting(needed)
        if !leaked.isEmpty {
            answer(
                standby.name,
                "it has VLANs that \(primary.name) has not, \(words(leaked)): the guest gets at them by its standby",
                .leaks, evidence: evidence, remedy: command("del", leaked, standby.name))
        }
    }

    static let vlanTagging = Rule(
        "vlan-tagging", .loses, needs: .vlans, shown: "VM: a VLAN untagged on the primary alone",
        harm: "frames come with a tag that the guest does not expect"
    ) { it, answer in
        guard !it.standbyIsUplink, let (primary, first, standby, second) = filtered(it) else { return }
        let common = first.members.intersection(second.members)
        let tagging = common.filter { first.untagged.contains($0) != second.untagged.contains($0) }
        guard let vlan = tagging.min() else { return }
        let (plain, tagged) = first.untagged.contains(vlan) ? (primary, standby) : (standby, primary)
        let untag = plain.index == primary.index ? " untagged" : ""
        answer(
            standby.name,
            "frames of VLAN \(words(Set(tagging))) leave \(plain.name) without a tag and \(tagged.name) with one: the "
                + "guest takes only one of the two",
            evidence: ["\(plain.name) VLAN \(vlan)": "untagged", "\(tagged.name) VLAN \(vlan)": "tagged"],
            remedy: "bridge vlan add dev \(standby.name) vid \(vlan)\(untag)" + (first.pvid == vlan ? " pvid" : ""))
    }

    static let pvidDiffers = Rule(
        "pvid-differs", .loses, .blocks, refuses: .prepare, needs: .vlans,
        shown: "VM: PVID 20 on the standby; it blocks when the address names no VLAN",
        harm: "untagged frames that the guest sends"
    ) { it, answer in
        let bare = it.subject.addresses.first { $0.vlan == nil }
        if let bare, it.bridge?.bridge?.filtersVLANs == true, let port = it.port(.local),
            let vlans = it.observation.vlans?[.local], vlans.pvid == nil
        {
            answer(
                port.name, "it has no PVID and address \(bare) names no VLAN, so that prepare cannot choose one",
                .blocks,
                evidence: ["\(port.name) PVID": "none"], remedy: "give MAC/VLAN")
        }
        guard let (primary, first, standby, second) = filtered(it) else { return }
        guard first.pvid != second.pvid || (bare != nil && first.pvid == nil) else { return }
        func word(_ pvid: VLANID?) -> String { pvid?.description ?? "none" }
        let consequence = bare.map { " and address \($0) names no VLAN, so that prepare cannot choose one" } ?? ""
        let command = (first.pvid ?? second.pvid).map {
            "bridge vlan add dev \(first.pvid == nil ? primary.name : standby.name) vid \($0) pvid untagged"
        }
        answer(
            standby.name,
            "untagged frames of the guest are in VLAN \(word(first.pvid)) on \(primary.name) and in \(word(second.pvid)) on "
                + "\(standby.name)\(consequence)", bare == nil ? .loses : .blocks,
            evidence: ["\(primary.name) PVID": word(first.pvid), "\(standby.name) PVID": word(second.pvid)],
            remedy: [bare == nil ? nil : "give MAC/VLAN", command].compactMap { $0 }.joined(separator: ", or: "),
            refuses: bare == nil ? [] : nil)
    }

    /// What was derived from the PVID holds for as long as the PVID does.
    package static let pvidChanged = Rule(
        "pvid-changed", .loses, refuses: .intent, needs: .vlans,
        shown: "VM: PVID 1 on all ports becomes 20 after prepare",
        harm: "the guest's frames are in a VLAN without an entry"
    ) { it, answer in
        guard it.bridge?.bridge?.filtersVLANs == true, let guest = it.subject.guest else { return }
        for (side, port) in it.ports where side != .remote {
            guard let vlans = it.observation.vlans?[side],
                let address = guest.fromPVID.first(where: { $0.vlan != vlans.pvid }), let vlan = address.vlan
            else { continue }
            let now = vlans.pvid?.description ?? "none"
            answer(
                port.name,
                "its PVID is \(now), and was \(vlan) when \(address) was prepared without a VLAN: the guest's untagged "
                    + "frames are in another VLAN than its entries",
                evidence: ["\(port.name) PVID": now, "recorded": "\(address)"],
                remedy: "prepare it again with its MAC, or: bridge vlan add dev \(port.name) vid \(vlan) pvid untagged")
        }
    }

    /// A bridge that does not filter VLANs makes an entry more for each VLAN of a port, in hardware too (`br_fdb_add`). Such
    /// entries move with the first one only where the ports have the same VLANs.
    private static func twins(_ it: Preflight) -> (Link, PortVLANs, Link, PortVLANs)? {
        let sets = it.ports.compactMap { side, link in it.observation.vlans?[side].map { (link, $0) } }
        guard let first = sets.first, let other = sets.first(where: { $0.1.members != first.1.members }) else {
            return nil
        }
        return (first.0, first.1, other.0, other.1)
    }

    static let vlanTwins = Rule(
        "vlan-twins", .blocks, refuses: .prepare, needs: .vlans, shown: "VM, model_eswitch: VLAN 1 not on the standby",
        harm: "prepare is refused"
    ) { it, answer in
        guard let bridge = it.bridge, bridge.bridge?.filtersVLANs == false, let switched = it.switchPort,
            let (first, members, other, others) = twins(it)
        else { return }
        answer(
            bridge.name,
            "VLANs are not filtered, but each entry is doubled for each VLAN of its port, and the ports differ: a move "
                + "leaves the second entry, and its rule in \(switched.name)'s hardware, behind",
            evidence: [
                "\(first.name) VLANs": words(members.members), "\(other.name) VLANs": words(others.members),
            ],
            remedy: "ip link set \(bridge.name) type bridge vlan_default_pvid 0, or give the ports the same VLANs")
    }

    static let defaultPVID = Rule(
        "default-pvid", .costs, shown: "VM, model_eswitch: vlan_default_pvid 1", harm: "one entry more for each address"
    ) { it, answer in
        guard let bridge = it.bridge, let settings = bridge.bridge, !settings.filtersVLANs, settings.defaultPVID != 0,
            let switched = it.switchPort, twins(it) == nil
        else { return }
        answer(
            bridge.name,
            "VLANs are not filtered but default_pvid is \(settings.defaultPVID): each entry is doubled for that VLAN, "
                + "in \(switched.name)'s hardware too",
            evidence: ["\(bridge.name) vlan_default_pvid": "\(settings.defaultPVID)"],
            remedy: "ip link set \(bridge.name) type bridge vlan_default_pvid 0")
    }

    /// VLANs as `bridge vlan` takes and prints them: `1 20 100-199`.
    private static func words(_ vlans: Set<VLANID>) -> String {
        vlans.isEmpty ? "none" : ranges(vlans).joined(separator: " ")
    }

    private static func ranges(_ vlans: Set<VLANID>) -> [String] {
        var ranges: [ClosedRange<UInt16>] = []
        for number in vlans.map(\.rawValue).sorted() {
            if let last = ranges.last, last.upperBound + 1 == number {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
    }

    /// The commands that add VLANs to a port, or take them away.
    private static func command(_ verb: String, _ vlans: Set<VLANID>, _ port: String) -> String {
        ranges(vlans).map { "bridge vlan \(verb) dev \(port) vid \($0)" }.joined(separator: "; ")
    }
}
