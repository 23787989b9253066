package import FDB
package import Switchdev

extension Planner {
    /// Gives each address its VLAN, or says why it has none.
    ///
    /// Without NDA_VLAN the kernel makes an entry for VLAN id 0 and one for each VLAN of the port (`br_fdb_add`), so on a
    /// bridge that filters VLANs every address has one: an untagged guest's is the PVID of its ports.
    ///
    /// - Parameters:
    ///   - addresses: as they were given.
    ///   - bridge: the bridge.
    ///   - ports: the guest's ports by side.
    ///   - vlans: their VLANs.
    package func resolve(
        _ addresses: [Address], bridge: Link, ports: [Side: Link], vlans: [Side: PortVLANs]
    ) throws(ControllerError) -> [Address] {
        guard bridge.bridge?.filtersVLANs == true else {
            if let address = addresses.first(where: { $0.vlan != nil }) {
                throw ControllerError(
                    .precondition, "address \(address) names a VLAN, but \(bridge.name) does not filter VLANs",
                    remedy: "give the MAC alone, or enable it: ip link set \(bridge.name) type bridge vlan_filtering 1")
            }
            try requireNoTwins(bridge: bridge, ports: ports, vlans: vlans)
            return addresses
        }
        var resolved: [Address] = []
        for address in addresses {
            guard address.vlan == nil else {
                resolved.append(address)
                continue
            }
            let pvid = try commonPVID(of: address, ports: ports, vlans: vlans)
            guard let tagged = try? Address(mac: address.mac, vlan: pvid) else { continue }
            resolved.append(tagged)
        }
        resolved.sort()
        for (first, second) in zip(resolved, resolved.dropFirst()) where first == second {
            throw ControllerError(
                .usage,
                "address \(first) is given twice: the MAC alone means the ports' PVID \(first.vlan?.rawValue ?? 0)",
                remedy: "name each address once")
        }
        for address in resolved {
            guard let vlan = address.vlan else { continue }
            for (side, port) in ports.sorted(by: { $0.key.rawValue < $1.key.rawValue })
            where vlans[side]?.members.contains(vlan) != true {
                throw ControllerError(
                    .precondition, "VLAN \(vlan) of address \(address) is not on \(side.rawValue) port \(port.name)",
                    remedy: "add it: bridge vlan add dev \(port.name) vid \(vlan)")
            }
        }
        return resolved
    }

    private func commonPVID(
        of address: Address, ports: [Side: Link], vlans: [Side: PortVLANs]
    ) throws(ControllerError) -> VLANID {
        let own = [Side.primary, .standby]
        let found = own.map { vlans[$0]?.pvid }
        guard let first = found[0], let second = found[1], first == second else {
            let words = zip(own, found).map { side, pvid in
                "\(side.rawValue) \(ports[side]?.name ?? "") has \(pvid.map { "PVID \($0)" } ?? "no PVID")"
            }
            throw ControllerError(
                .precondition,
                "address \(address) names no VLAN, and the ports do not agree on one: \(words.joined(separator: ", "))",
                remedy: "give MAC/VLAN, or give both ports the same PVID")
        }
        return first
    }

    /// A bridge that does not filter VLANs still makes an entry for each VLAN of a port (default_pvid gives it one), in
    /// hardware too. The twins move with the entry only where all ports have the same VLANs.
    private func requireNoTwins(
        bridge: Link, ports: [Side: Link], vlans: [Side: PortVLANs]
    ) throws(ControllerError) {
        guard ports.values.contains(where: \.isEswitchPort) else { return }
        let sets = ports.keys.sorted { $0.rawValue < $1.rawValue }.map { (side: $0, members: vlans[$0]?.members ?? []) }
        guard let first = sets.first, let other = sets.first(where: { $0.members != first.members }) else { return }
        func words(_ set: (side: Side, members: Set<VLANID>)) -> String {
            let numbers = set.members.sorted().map(\.description).joined(separator: ", ")
            return "\(ports[set.side]?.name ?? set.side.rawValue) has \(numbers.isEmpty ? "none" : numbers)"
        }
        throw ControllerError(
            .precondition,
            "\(bridge.name) does not filter VLANs, but makes a second entry for each VLAN of a port, and the ports differ "
                + "(\(words(first)), \(words(other))): a move would leave the second entry, and its rule in hardware, behind",
            remedy: "ip link set \(bridge.name) type bridge vlan_default_pvid 0, or give the ports the same VLANs")
    }
}
