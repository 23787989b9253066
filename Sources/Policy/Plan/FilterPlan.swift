public import FDB
package import Switchdev

/// A change of one filter.
public enum FilterChange: Hashable, Sendable {
    /// The VF's MAC is set, or cleared by all zeroes.
    case functionMAC(MACAddress, vf: UInt32, pf: PortIdentity)
    /// The MAC comes into the unicast list of the port to the NIC, or out of it.
    case entry(MACAddress, port: PortIdentity, isOn: Bool)

    /// It gives the MAC a place, rather than taking one away.
    package var makes: Bool {
        switch self {
        case .functionMAC(let mac, _, _): !mac.isZero
        case .entry(_, _, let isOn): isOn
        }
    }

    /// The message in words, and the command that sends the same.
    package var words: PlannedMessage {
        switch self {
        case .functionMAC(let mac, let vf, let pf):
            PlannedMessage(
                netlink: "RTM_SETLINK \(pf.name) IFLA_VF_MAC \(vf) \(mac)",
                bridgeCommand: "ip link set \(pf.name) vf \(vf) mac \(mac)")
        case .entry(let mac, let port, let isOn):
            PlannedMessage(
                netlink: "\(isOn ? "RTM_NEWNEIGH" : "RTM_DELNEIGH") \(mac) \(port.name) NTF_SELF",
                bridgeCommand: "bridge fdb \(isOn ? "add" : "del") \(mac) dev \(port.name) self")
        }
    }
}

/// A filter change of a plan, with what puts the filter back.
public struct PlannedFilter: Hashable, Sendable {
    /// The change.
    public let change: FilterChange
    /// Puts back what was found.
    public let undo: FilterChange
}

/// The filter changes that bring a guest to a side; no I/O.
package struct FilterPlan {
    package private(set) var makes: [Step] = []
    package private(set) var breaks: [Step] = []
    private let order: FilterOrder
    private let side: Side

    /// Plans from what the filters say now to what the side wants: the MAC on the VF for the primary, in the list of the port
    /// to the NIC for the standby, on neither for a guest on another host.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the VF is gone or is somebody else's.
    package init(_ guest: GuestInterface, to side: Side, filters: NICFilters?) throws(ControllerError) {
        order = guest.nic?.order ?? .makeBeforeBreak
        self.side = side
        guard let nic = guest.nic, let filters, let mac = guest.addresses.first?.mac else { return }
        guard let function = filters.function else {
            throw ControllerError(
                .precondition, "VF \(nic.vf) of \(nic.pf.name) of guest \(guest.id) no longer exists",
                remedy: "release the guest and prepare it anew with another VF")
        }
        let zero = MACAddress(value: 0)
        var changes: [PlannedFilter] = []
        if side == .primary, function.mac != mac {
            guard function.mac.isZero else {
                throw ControllerError(
                    .precondition,
                    "VF \(nic.vf) of \(nic.pf.name) has the MAC \(function.mac), not guest \(guest.id)'s",
                    remedy: "clear it when nobody uses it: ip link set \(nic.pf.name) vf \(nic.vf) mac \(zero)")
            }
            changes.append(FilterPlan.functionMAC(mac, was: function.mac, nic))
        }
        // Another MAC on the VF is another guest's by now: not ours to clear.
        if side != .primary, function.mac == mac { changes.append(FilterPlan.functionMAC(zero, was: mac, nic)) }
        if filters.hasEntry != (side == .standby) {
            changes.append(FilterPlan.entry(mac, guest.firstPort, isOn: side == .standby))
        }
        makes = changes.filter(\.change.makes).map(Step.filter)
        breaks = changes.filter { !$0.change.makes }.map(Step.filter)
    }

    /// The steps of the bridge with those of the filters about them.
    ///
    /// When the guest leaves its standby, the bridge's entry moves last: frames that the port to the NIC has taken already
    /// would be for the port that they came by, and dropped.
    package func around(_ steps: [Step]) -> [Step] {
        if side != .standby { return order == .makeBeforeBreak ? makes + breaks + steps : breaks + makes + steps }
        return order == .makeBeforeBreak ? makes + steps + breaks : breaks + steps + makes
    }

    /// What `release` takes back: the entry that was not there before; after a `prepare` that did not end, all.
    package static func release(_ guest: GuestInterface, _ filters: NICFilters?, isUnfinished: Bool) -> [PlannedFilter]
    {
        guard let nic = guest.nic, let filters, let mac = guest.addresses.first?.mac else { return [] }
        var changes: [PlannedFilter] = []
        if isUnfinished, let now = filters.function?.mac, now != nic.hadMAC, now == mac || now.isZero {
            changes.append(functionMAC(nic.hadMAC, was: now, nic))
        }
        if isUnfinished ? filters.hasEntry != nic.hadEntry : filters.hasEntry && !nic.hadEntry {
            changes.append(entry(mac, guest.firstPort, isOn: nic.hadEntry))
        }
        return changes.filter(\.change.makes) + changes.filter { !$0.change.makes }
    }

    /// What the filters say that they should not.
    package static func problems(_ guest: GuestInterface, _ filters: NICFilters?) -> [String] {
        guard let nic = guest.nic, let mac = guest.addresses.first?.mac else { return [] }
        guard let filters, let function = filters.function else {
            return ["VF \(nic.vf) of \(nic.pf.name) no longer exists"]
        }
        var problems: [String] = []
        if (function.mac == mac) != (guest.side == .primary) {
            problems.append(
                guest.side == .primary
                    ? "VF \(nic.vf) of \(nic.pf.name) has the MAC \(function.mac), not \(mac)"
                    : "VF \(nic.vf) of \(nic.pf.name) has the MAC \(mac), which belongs to \(guest.side.rawValue)")
        }
        if filters.hasEntry != (guest.side == .standby) {
            problems.append(
                "the unicast list of \(guest.firstPort.name) \(filters.hasEntry ? "has" : "lacks") \(mac), which is on "
                    + guest.side.rawValue)
        }
        return problems
    }

    private static func functionMAC(_ mac: MACAddress, was old: MACAddress, _ nic: LegacyNIC) -> PlannedFilter {
        PlannedFilter(
            change: .functionMAC(mac, vf: nic.vf, pf: nic.pf), undo: .functionMAC(old, vf: nic.vf, pf: nic.pf))
    }

    private static func entry(_ mac: MACAddress, _ port: PortIdentity, isOn: Bool) -> PlannedFilter {
        PlannedFilter(
            change: .entry(mac, port: port, isOn: isOn), undo: .entry(mac, port: port, isOn: !isOn))
    }
}
