import FDB
import Switchdev

/// VLANs of the guest's ports.
extension Preflight {
    package mutating func checkVLANs() {
        guard let bridge = input.bridge, let settings = bridge.bridge else { return }
        guard settings.filtersVLANs else {
            for address in input.addresses where address.vlan != nil {
                add(
                    .vlanNotFiltered, .blocks, address.description, "it names a VLAN, but \(bridge.name) filters none",
                    evidence: ["\(bridge.name) vlan_filtering": "0"],
                    remedy: "give the MAC alone, or: ip link set \(bridge.name) type bridge vlan_filtering 1")
            }
            checkTwins(bridge, settings)
            return
        }
        guard let (primary, standby) = pair, let first = input.vlans[.primary], let second = input.vlans[.standby]
        else {
            return
        }
        for (side, port) in ports {
            guard let vlans = input.vlans[side] else { continue }
            for vlan in Set(input.addresses.compactMap(\.vlan)).subtracting(vlans.members).sorted() {
                add(
                    .vlanMissing, .blocks, port.name,
                    "VLAN \(vlan) of the guest's addresses is not on the port: its frames are dropped there",
                    evidence: ["\(port.name) VLANs": words(vlans.members)],
                    remedy: "bridge vlan add dev \(port.name) vid \(vlan)")
            }
        }
        checkPVID(primary, first, standby, second)
        guard !standbyIsUplink else { return }
        let evidence: KeyValuePairs = [
            "\(primary.name) VLANs": words(first.members), "\(standby.name) VLANs": words(second.members),
        ]
        // What the addresses need is said above, port by port.
        let lost = first.members.subtracting(second.members).subtracting(input.addresses.compactMap(\.vlan))
        if !lost.isEmpty {
            add(
                .vlanMembership, .loses, standby.name,
                "it lacks VLANs of \(primary.name), \(words(lost)): the guest's frames in them are dropped there",
                evidence: evidence, remedy: lost.sorted().map { "bridge vlan add dev \(standby.name) vid \($0)" }[0])
        }
        let leaked = second.members.subtracting(first.members).subtracting(input.addresses.compactMap(\.vlan))
        if !leaked.isEmpty {
            add(
                .vlanMembership, .leaks, standby.name,
                "it has VLANs that \(primary.name) has not, \(words(leaked)): the guest gets at them by its standby",
                evidence: evidence, remedy: leaked.sorted().map { "bridge vlan del dev \(standby.name) vid \($0)" }[0])
        }
        let common = first.members.intersection(second.members)
        let tagging = common.filter { first.untagged.contains($0) != second.untagged.contains($0) }
        if let vlan = tagging.min() {
            let (plain, tagged) = first.untagged.contains(vlan) ? (primary, standby) : (standby, primary)
            let untag = plain.index == primary.index ? " untagged" : ""
            add(
                .vlanTagging, .loses, standby.name,
                "frames of VLAN \(words(Set(tagging))) leave \(plain.name) without a tag and \(tagged.name) with one: the "
                    + "guest takes only one of the two",
                evidence: ["\(plain.name) VLAN \(vlan)": "untagged", "\(tagged.name) VLAN \(vlan)": "tagged"],
                remedy: "bridge vlan add dev \(standby.name) vid \(vlan)\(untag)" + (first.pvid == vlan ? " pvid" : ""))
        }
    }

    private mutating func checkPVID(_ primary: Link, _ first: PortVLANs, _ standby: Link, _ second: PortVLANs) {
        let bare = input.addresses.first { $0.vlan == nil }
        guard first.pvid != second.pvid || (bare != nil && first.pvid == nil) else { return }
        func word(_ pvid: VLANID?) -> String { pvid?.description ?? "none" }
        let subject = bare.map { " and address \($0) names no VLAN, so that prepare cannot choose one" } ?? ""
        add(
            .pvidDiffers, bare == nil ? .loses : .blocks, standby.name,
            "untagged frames of the guest are in VLAN \(word(first.pvid)) on \(primary.name) and in \(word(second.pvid)) on "
                + "\(standby.name)\(subject)",
            evidence: ["\(primary.name) PVID": word(first.pvid), "\(standby.name) PVID": word(second.pvid)],
            remedy: (first.pvid ?? second.pvid).map {
                "bridge vlan add dev \(first.pvid == nil ? primary.name : standby.name) vid \($0) pvid untagged"
            })
    }

    /// A bridge that does not filter VLANs makes an entry more for each VLAN of a port, in hardware too (`br_fdb_add`).
    private mutating func checkTwins(_ bridge: Link, _ settings: Bridge) {
        guard let switched = ports.first(where: \.link.isEswitchPort)?.link else { return }
        let sets = ports.compactMap { side, link in input.vlans[side].map { (link, $0.members) } }
        if let first = sets.first, let other = sets.first(where: { $0.1 != first.1 }) {
            add(
                .vlanTwins, .blocks, bridge.name,
                "VLANs are not filtered, but each entry is doubled for each VLAN of its port, and the ports differ: a move "
                    + "leaves the second entry, and its rule in \(switched.name)'s hardware, behind",
                evidence: ["\(first.0.name) VLANs": words(first.1), "\(other.0.name) VLANs": words(other.1)],
                remedy: "ip link set \(bridge.name) type bridge vlan_default_pvid 0")
        } else if settings.defaultPVID != 0 {
            add(
                .defaultPVID, .costs, bridge.name,
                "VLANs are not filtered but default_pvid is \(settings.defaultPVID): each entry is doubled for that VLAN, "
                    + "in \(switched.name)'s hardware too",
                evidence: ["\(bridge.name) vlan_default_pvid": "\(settings.defaultPVID)"],
                remedy: "ip link set \(bridge.name) type bridge vlan_default_pvid 0")
        }
    }

    private func words(_ vlans: Set<VLANID>) -> String {
        vlans.isEmpty ? "none" : vlans.sorted().map(\.description).joined(separator: " ")
    }
}
