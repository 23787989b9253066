import FDB
import Policy
import Records
import Switchdev

/// Says why a guest must not be prepared on a NIC in legacy mode; no I/O but sysfs.
struct LegacyCheck {
    let request: PreparationRequest
    let legacy: LegacyRequest
    let links: Links
    let devlink: Devlink
    let filters: NICFilters
    let verdict: StoredVerdict?
    let records: [GuestRecord]

    /// - Throws: ``ControllerError`` of code `precondition` that names what would block.
    func preparation() throws(ControllerError) -> LegacyPreparation {
        let (pf, device) = try NICLookup.physicalFunction(legacy.pf, links: links)
        _ = try NICLookup.function(legacy.vf, of: pf, device, role: "--vf")
        if devlink.modes[DevlinkHandle(bus: "pci", device: device.address)] == .switchdev {
            throw ControllerError(
                .precondition, "the eswitch of \(pf.name) is in mode switchdev: its filters steer nothing",
                remedy: "name the VF's representor by --primary instead of --pf and --vf")
        }
        if let other = records.first(where: { $0.guest.nic?.pf.index == pf.index && $0.guest.nic?.vf == legacy.vf }) {
            throw ControllerError(
                .precondition, "VF \(legacy.vf) of \(pf.name) belongs to guest \(other.guest.id)",
                remedy: "release \(other.guest.id) first, or name another VF")
        }
        guard let function = filters.function, let address = request.addresses.first else {
            throw ControllerError(.precondition, "\(pf.name) does not list VF \(legacy.vf)")
        }
        try check(function, address, pf)
        try checkUplink(pf, device)
        var notes = try judge(pf)
        if let primary = request.primary, primary != pf.name {
            notes.append(
                "\(primary) is a VF: some PF drivers keep a MAC that a VF has taken off its list (igb does), which "
                    + "nothing shows but the frames; \(pf.name) itself is the safer port")
        }
        let isOnVF = function.mac == address.mac
        return LegacyPreparation(
            nic: LegacyNIC(
                pf: PortIdentity(pf), vf: legacy.vf, hadEntry: filters.hasEntry, hadMAC: function.mac,
                order: verdict?.verdict.order ?? .makeBeforeBreak), filters: filters,
            side: isOnVF == filters.hasEntry ? nil : isOnVF ? .primary : .standby, notes: notes)
    }

    /// What of the VF's own settings would block.
    private func check(_ function: VirtualFunction, _ address: Address, _ pf: Link) throws(ControllerError) {
        let vf = "VF \(function.index) of \(pf.name)"
        if function.vlan != 0, function.vlan != address.vlan?.rawValue {
            throw ControllerError(
                .precondition,
                "\(vf) has VLAN \(function.vlan), and the address is \(address): its frames would be on another VLAN than "
                    + "the standby's",
                remedy: "name the address with /\(function.vlan), or: ip link set \(pf.name) vf "
                    + "\(function.index) vlan 0")
        }
        if function.linkState == .disable {
            throw ControllerError(
                .precondition, "\(vf) has link state disable: the guest's driver sees no carrier",
                remedy: "ip link set \(pf.name) vf \(function.index) state auto")
        }
        for link in links.all {
            for other in link.virtualFunctions where other.mac == address.mac {
                if link.index == pf.index, other.index == function.index { continue }
                throw ControllerError(
                    .precondition, "the MAC \(address.mac) is set for VF \(other.index) of \(link.name) too",
                    remedy: "clear it there: ip link set \(link.name) vf \(other.index) mac 00:00:00:00:00:00")
            }
        }
    }

    /// The port to the NIC is the PF's netdev or that of another VF, and that VF may do what a bridge's port does.
    private func checkUplink(_ pf: Link, _ device: PCIDevice) throws(ControllerError) {
        guard let uplink = request.primary.flatMap({ links[$0] }), uplink.index != pf.index else { return }
        guard let parent = uplink.parentDevice, let (physical, number) = PCIFunctions().virtualFunction(parent),
            physical == device.address
        else {
            throw ControllerError(
                .precondition, "--uplink: \(uplink.name) is neither \(pf.name) nor one of its VFs",
                remedy: "name the port of the bridge that goes to this NIC")
        }
        guard number != legacy.vf else {
            throw ControllerError(
                .precondition, "--uplink: \(uplink.name) is VF \(number) itself",
                remedy: "name another VF, or \(pf.name)")
        }
        guard let function = pf.virtualFunctions.first(where: { $0.index == number }) else { return }
        if function.checksSource == true {
            throw ControllerError(
                .precondition,
                "VF \(number) (\(uplink.name)) has spoof checking on: the NIC drops what the guest sends by its standby",
                remedy: "ip link set \(pf.name) vf \(number) spoofchk off")
        }
        if function.isTrusted == false {
            throw ControllerError(
                .precondition,
                "VF \(number) (\(uplink.name)) is not trusted: the NIC may refuse further MACs for it, and promiscuity",
                remedy: "ip link set \(pf.name) vf \(number) trust on")
        }
    }

    /// What the verdict about such NICs says.
    private func judge(_ pf: Link) throws(ControllerError) -> [String] {
        guard let verdict = verdict?.verdict else {
            return [
                "no NIC like \(pf.name) was probed: whether its VFs take frames early is not known (\"fdbsteer probe "
                    + "mac-filter\" finds out); filters are made before they are broken elsewhere"
            ]
        }
        guard verdict.usableForFailover == .no, !legacy.acceptsUnusable else { return verdict.words.suffix(1) }
        throw ControllerError(
            .precondition, "\(pf.name) was found not usable for failover: \(verdict.words.joined(separator: "; "))",
            remedy: "use another NIC, or accept it: --accept-unusable-nic")
    }
}
