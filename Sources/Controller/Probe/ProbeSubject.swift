import FDB
import Netlink
import Policy
import Records
import Switchdev

/// The NIC, the VFs and the ports of a probe, once nothing speaks against it.
struct ProbeSubject {
    let pf: Link
    let nic: NICIdentity
    let from: Link
    let driver: String
    let snapshot: NICSnapshot
}

/// Everything that is read before a probe, to say why it must not be; no I/O but sysfs.
struct ProbeCheck {
    let request: ProbeRequest
    let links: Links
    let devlink: Devlink
    /// Interfaces that have the MAC in their unicast lists.
    let holders: Set<Int32>
    /// Entries of the MAC on bridges.
    let sightings: [Entry]
    /// Who owns the MAC among prepared guests.
    let owner: String?
    /// Prepared guests by the VFs of the PF that are theirs.
    let guests: [UInt32: String]

    /// The drivers of VFs by those of their PFs, where the names differ.
    static let functionDrivers = [
        "igb": "igbvf", "ixgbe": "ixgbevf", "i40e": "iavf", "ice": "iavf", "cxgb4": "cxgb4vf",
    ]

    /// - Throws: ``ControllerError`` of code `precondition` with the first reason against the probe.
    func subject() throws(ControllerError) -> ProbeSubject {
        let (pf, device) = try physicalFunction()
        let from = try sender(device)
        let function = try self.function(request.vf, of: pf, device, role: "--vf")
        if let name = function.interface, let link = links[name], link.isUp || link.master != nil {
            throw inUse(function, "its interface \(name) is \(link.isUp ? "up" : "in a bridge or bond")")
        }
        if let guest = guests[request.vf] { throw inUse(function, "it is the VF of guest \(guest)") }
        guard let listed = pf.virtualFunctions.first(where: { $0.index == request.vf }) else {
            throw ControllerError(.precondition, "\(pf.name) does not list VF \(request.vf)")
        }
        guard listed.vlan == 0 else {
            throw ControllerError(
                .precondition, "VF \(request.vf) of \(pf.name) has VLAN \(listed.vlan) of its own, which filters too",
                remedy: "ip link set \(pf.name) vf \(request.vf) vlan 0")
        }
        try checkMAC(function, pf: pf)
        var sibling: NICSnapshot.Function?
        if let number = request.sibling { sibling = try self.function(number, of: pf, device, role: "--sibling-vf") }
        let driver =
            request.driver ?? function.driver ?? sibling?.driver
            ?? device.driver.map { ProbeCheck.functionDrivers[$0] ?? $0 } ?? ""
        guard device.hasDriver(driver) else {
            throw ControllerError(
                .precondition, "the driver \(driver) of the VFs of \(pf.name) is not loaded",
                remedy: "modprobe \(driver), or name another one by --driver")
        }
        return ProbeSubject(
            pf: pf, nic: NICIdentity(interface: pf.name, device: device, devlink: devlink), from: from, driver: driver,
            snapshot: NICSnapshot(
                pf: pf.name, pfIndex: pf.index, address: request.address, function: function, sibling: sibling))
    }

    // MARK: - The NIC

    private func physicalFunction() throws(ControllerError) -> (Link, PCIDevice) {
        let (pf, device) = try NICLookup.physicalFunction(request.pf, links: links)
        let handle = DevlinkHandle(bus: "pci", device: device.address)
        if devlink.modes[handle] == .switchdev {
            throw ControllerError(
                .precondition,
                "the eswitch of \(pf.name) is in mode switchdev: bridge entries steer its frames, not MAC filters",
                remedy: "nothing is to be probed; \"fdbsteer preflight\" is for this mode")
        }
        guard pf.isUp, pf.hasCarrier else {
            throw ControllerError(
                .precondition, "\(pf.name) \(pf.isUp ? "has no carrier" : "is down"): nothing can arrive",
                remedy: "ip link set \(pf.name) up")
        }
        guard pf.promiscuity == 0 else {
            let why = pf.master.flatMap { links[$0]?.name }.map { "it is a port of \($0)" } ?? "somebody captures on it"
            throw ControllerError(
                .precondition,
                "\(pf.name) is promiscuous (\(why)): it would take frames that its filters do not let through",
                remedy: "probe a NIC of the same kind that is in no bridge, or take it out for the time of the probe")
        }
        return (pf, device)
    }

    private func sender(_ device: PCIDevice) throws(ControllerError) -> Link {
        let others = links.all.filter { !$0.isCalled(request.pf) && $0.isUp && $0.hasCarrier && $0.name != "lo" }
        let remedy =
            others.isEmpty
            ? "this host has no second port that is up; cable one to the same network, or use another host's"
            : "name one that is on the same network: \(others.map(\.name).joined(separator: ", "))"
        guard let from = links[request.from] else {
            throw ControllerError(
                .precondition, "--from: there is no interface \(request.from) to send from", remedy: remedy)
        }
        if let parent = from.parentDevice,
            parent == device.address
                || PCIFunctions().virtualFunction(parent)?
                    .physicalFunction == device.address
        {
            throw ControllerError(
                .precondition, "--from: \(from.name) belongs to the NIC itself: its frames do not come in by the wire",
                remedy: remedy)
        }
        guard from.isUp, from.hasCarrier, let mac = from.mac, !mac.isZero else {
            throw ControllerError(
                .precondition, "--from: \(from.name) \(from.isUp ? "has no carrier or no MAC" : "is down")",
                remedy: "ip link set \(from.name) up, or: \(remedy)")
        }
        return from
    }

    private func function(
        _ number: UInt32, of pf: Link, _ device: PCIDevice, role: String
    ) throws(ControllerError) -> NICSnapshot.Function {
        let function = try NICLookup.function(number, of: pf, device, role: role)
        let interfaces = function.interfaces
        let link = interfaces.first.flatMap { links[$0] }
        let snapshot = NICSnapshot.Function(
            number: number, device: function.address,
            mac: pf.virtualFunctions.first { $0.index == number }?.mac ?? MACAddress(value: 0), driver: function.driver,
            override: function.driverOverride, interface: interfaces.first, isUp: link?.isUp ?? false)
        if let driver = function.driver, interfaces.isEmpty {
            let isVFIO = driver.hasPrefix("vfio")
            throw inUse(
                snapshot,
                isVFIO
                    ? "it is bound to \(driver): a guest may have it"
                    : "driver \(driver) has it, and its interface is not in this network namespace")
        }
        return snapshot
    }

    private func inUse(_ function: NICSnapshot.Function, _ reason: String) -> ControllerError {
        ControllerError(
            .precondition, "VF \(function.number) (\(function.device)) is in use: \(reason); nothing was changed",
            remedy: "name a VF that nobody uses, or unbind this one first")
    }

    // MARK: - The MAC

    private func checkMAC(_ function: NICSnapshot.Function, pf: Link) throws(ControllerError) {
        let mac = request.address.mac
        if let owner { throw taken("it belongs to guest \(owner)") }
        if let link = links.all.first(where: { $0.mac == mac && $0.name != function.interface }) {
            throw taken("it is the MAC of \(link.name)")
        }
        for link in links.all {
            for vf in link.virtualFunctions where vf.mac == mac {
                if link.index == pf.index, vf.index == function.number { continue }
                throw taken("it is set for VF \(vf.index) of \(link.name)")
            }
        }
        if let holder = holders.sorted().first {
            throw taken("it is in the unicast list of \(links[holder]?.name ?? "ifindex \(holder)")")
        }
        if let entry = sightings.first {
            let bridge = entry.bridge.flatMap { links[$0]?.name } ?? "a bridge"
            throw taken("\(bridge) has an entry for it on \(links[entry.port]?.name ?? "ifindex \(entry.port)")")
        }
    }

    private func taken(_ reason: String) -> ControllerError {
        ControllerError(
            .precondition,
            "the MAC \(request.address.mac) is used on this host already: \(reason); nothing was changed",
            remedy: "name one that nobody uses, for example 02:00:00:fd:b5:01")
    }
}

/// Finds physical and virtual functions by what a user calls them.
enum NICLookup {
    /// - Throws: ``ControllerError`` of code `precondition` for an interface that is missing or has no VFs.
    static func physicalFunction(_ name: String, links: Links) throws(ControllerError) -> (Link, PCIDevice) {
        guard let pf = links[name] else {
            throw ControllerError(
                .precondition, "--pf: there is no interface \(name)",
                remedy: "name the interface of the physical function")
        }
        let device = pf.parentDevice.flatMap { PCIDevice($0) }
        if let parent = pf.parentDevice, let (physical, number) = PCIFunctions().virtualFunction(parent) {
            throw ControllerError(
                .precondition, "--pf: \(name) is VF \(number) of \(physical) itself",
                remedy: "name the interface of the physical function")
        }
        guard let device, let total = device.totalFunctions, total > 0 else {
            throw ControllerError(
                .precondition,
                "--pf: \(name) has no SR-IOV (\(device?.driver ?? pf.kind ?? "no PCI device")): a NIC without VFs has no "
                    + "filters to move", remedy: "name the interface of a physical function with VFs")
        }
        guard !pf.virtualFunctions.isEmpty else {
            throw ControllerError(
                .precondition, "--pf: \(name) has no VFs now, of \(total) that it may have",
                remedy: "echo 2 > /sys/class/net/\(name)/device/sriov_numvfs")
        }
        return (pf, device)
    }

    /// - Throws: ``ControllerError`` of code `precondition` for a number that the PF does not have.
    static func function(
        _ number: UInt32, of pf: Link, _ device: PCIDevice, role: String
    ) throws(ControllerError) -> PCIDevice {
        guard pf.virtualFunctions.contains(where: { $0.index == number }),
            let address = UInt16(exactly: number).flatMap({ PCIFunctions().address(ofVF: $0, of: device.address) }),
            let function = PCIDevice(address)
        else {
            let numbers = pf.virtualFunctions.map { String($0.index) }.joined(separator: ", ")
            throw ControllerError(
                .precondition, "\(role): \(pf.name) has no VF \(number)", remedy: "its VFs are \(numbers)")
        }
        return function
    }
}
