public import FDB

/// The arguments of `prepare`, after the checks that do not need the kernel.
public struct PreparationRequest: Hashable, Sendable {
    /// The guest interface's name.
    public let id: GuestID
    /// The bridge's interface name.
    public let bridge: String
    /// The port of the VF: an interface name, the driver's name of the port (`pf0vf3`), or the VF (`pci/0000:03:00.5`); nil for a
    /// guest with one port.
    public let primary: String?
    /// The port of the paravirtual NIC; of a guest with one port, that port, named as ``primary`` is.
    public let standby: String
    /// The port that leads to the guest while it is on another host.
    public let uplink: String?
    /// The addresses, sorted.
    public let addresses: [Address]
    /// The side that the guest is on, if the caller knows it.
    public let side: Side?
    /// The NIC in legacy mode whose filters move too; ``primary`` is then the bridge port that leads to it.
    public let legacy: LegacyRequest?
    /// Accept a standby whose frames the switch floods to other ports.
    public let allowsLeak: Bool
    /// What the guest does with a frame that reaches both of its NICs, if the caller declares it.
    public let kind: GuestKind?
    /// The guest's IP addresses, at which it can be asked.
    public let ips: [AnnouncementRequest.Owned]

    /// Its addresses are guarded against other ports, where the kernel can.
    public var isGuarded = true
    /// Its ports are shut while it is on another host (``GuestInterface/isGated``).
    public var isGated = false
    /// By which means, where they have the choice.
    package var gate = Gate.lock
    /// Interfaces on which neighbours of the IP addresses follow the guest.
    public var neighbours: [String] = []
    /// Whether what it misses while it migrates is kept and sent again; nil: as the daemon's configuration says.
    public var replay: ReplayMode?

    /// - Throws: ``ControllerError`` of code `usage` for arguments that contradict each other.
    public init(
        id: GuestID, bridge: String, primary: String?, standby: String, uplink: String?, addresses: [Address],
        side: Side?, allowsLeak: Bool = false, kind: GuestKind? = nil, legacy: LegacyRequest? = nil,
        ips: [AnnouncementRequest.Owned] = []
    ) throws(ControllerError) {
        if primary == standby {
            throw ControllerError(
                .usage, "primary and standby are the same port, \(standby)",
                remedy:
                    "name the VF's representor as primary and the tap (or other paravirtual port) as standby, or a guest's "
                    + "only port by --port")
        }
        if let uplink, uplink == primary || uplink == standby {
            let role = uplink == primary ? "primary" : primary == nil ? "port" : "standby"
            throw ControllerError(
                .usage, "\(role) and uplink are the same port, \(uplink)",
                remedy: "name the port towards the physical network as uplink")
        }
        let roles = [(primary, "primary"), (standby, primary == nil ? "port" : "standby"), (uplink, "uplink")]
        for (name, role) in roles where name == bridge {
            throw ControllerError(
                .usage, "\(role) is the bridge \(bridge) itself", remedy: "name one of the bridge's ports")
        }
        if addresses.isEmpty {
            throw ControllerError(.usage, "no address is given", remedy: "name the guest's MAC by --address")
        }
        let sorted = addresses.sorted()
        for (first, second) in zip(sorted, sorted.dropFirst()) where first == second {
            throw ControllerError(.usage, "address \(first) is given twice", remedy: "name each address once")
        }
        if legacy != nil, addresses.count > 1 {
            throw ControllerError(
                .usage, "a VF in legacy mode has one MAC, and \(addresses.count) addresses are given",
                remedy: "name the guest's own MAC; its further MACs cannot be moved on this NIC")
        }
        if let side, side != .remote, (side == .local) != (primary == nil) {
            throw ControllerError(
                .usage,
                "a guest with \(primary == nil ? "one port" : "a primary and a standby") has no side \(side.rawValue)",
                remedy: "write --at \(primary == nil ? "local" : "primary, standby") or remote")
        }
        if primary == nil, let kind, kind != .unknown {
            throw ControllerError(
                .usage, "a guest with one port joins no two NICs: it is of no kind", remedy: "leave --kind out")
        }
        if side == .remote, uplink == nil, legacy == nil {
            throw ControllerError(
                .usage, "--at remote needs --uplink", remedy: "name the port behind which the guest is reached")
        }
        if ips.count > PreparationRequest.mostIPs {
            throw ControllerError(
                .usage, "\(ips.count) IP addresses are given, and \(PreparationRequest.mostIPs) are the most",
                remedy: "one of each family is enough to ask the guest")
        }
        for (index, owned) in ips.enumerated() {
            // Which VLAN a bare MAC means is known later.
            if let address = owned.address, !addresses.contains(where: { $0.mac == address.mac }) {
                throw ControllerError(
                    .usage, "--ip \(owned): \(address) is no address of the guest", remedy: "name one by --address")
            }
            if ips[..<index].contains(where: { $0.ip == owned.ip }) {
                throw ControllerError(.usage, "--ip \(owned.ip) is given twice", remedy: "name each IP address once")
            }
        }
        self.ips = ips
        self.id = id
        self.bridge = bridge
        self.primary = primary
        self.standby = standby
        self.uplink = uplink
        self.addresses = sorted
        self.side = side
        self.allowsLeak = allowsLeak
        self.kind = kind
        self.legacy = legacy
    }

    /// The same request with other port names, or other addresses.
    package func replacing(
        bridge: String? = nil, primary: String? = nil, standby: String? = nil, uplink: String? = nil,
        addresses: [Address]? = nil, side: Side? = nil, kind: GuestKind? = nil,
        ips: [AnnouncementRequest.Owned]? = nil, neighbours: [String]? = nil
    ) throws(ControllerError) -> PreparationRequest {
        var request = try PreparationRequest(
            id: id, bridge: bridge ?? self.bridge, primary: primary ?? self.primary, standby: standby ?? self.standby,
            uplink: uplink ?? self.uplink, addresses: addresses ?? self.addresses, side: side ?? self.side,
            allowsLeak: allowsLeak, kind: kind ?? self.kind, legacy: legacy, ips: ips ?? self.ips)
        (request.isGuarded, request.isGated, request.gate) = (isGuarded, isGated, gate)
        request.neighbours = neighbours ?? self.neighbours
        request.replay = replay
        return request
    }

    /// The most IP addresses of a record: what a guest's announcements have.
    private static let mostIPs = 64

    /// The same request with the VLANs of its addresses (``Subject/resolveAddresses(_:)``).
    ///
    /// - Throws: ``ControllerError`` of code `usage` when two of its addresses turn out to be one.
    package func replacing(resolved addresses: [Address]) throws(ControllerError) -> PreparationRequest {
        guard addresses.count == self.addresses.count else {
            throw ControllerError(
                .usage, "an address is given twice: its MAC alone means the ports' PVID",
                remedy: "name each address once")
        }
        return try replacing(addresses: addresses)
    }
}
