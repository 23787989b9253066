import FDB
import Netlink
import Policy
import Switchdev

/// Whom an inquiry asks, and by what.
struct InquiryTarget {
    /// The port that puts the questions out.
    let port: PortIdentity
    /// What tells the port in the questions.
    let place: UInt8
    /// All ports by which the guest may answer, and may try its address.
    let ports: [PortIdentity]
    let ip: IPAddress
    /// The tag of the guest's frames on the port.
    let tag: FrameTag?
    /// The guest's: nobody else answers for it.
    let macs: Set<MACAddress>

    /// - Parameters:
    ///   - side: of the port; not `remote`, behind which others would hear the questions.
    ///   - owned: the guest's IP address.
    ///   - socket: for the port's VLANs, where the guest's address has one.
    /// - Throws: ``ControllerError`` of codes `precondition` and `usage` for a guest that cannot be asked so.
    init(
        _ guest: GuestInterface, by side: Side, _ owned: AnnouncementRequest.Owned, using socket: inout CommandSocket
    ) throws(ControllerError) {
        guard side != .remote, let port = guest.port(of: side), port.index != guest.uplink?.index,
            guest.nic == nil || side == .standby
        else {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) cannot be asked by its \(side.rawValue): that port leads to others, who would hear it",
                remedy: "ask by a port that serves this guest alone")
        }
        let links = try InquiryTarget.links(of: guest, using: &socket)
        ports = links.map { PortIdentity($0) }
        guard let present = ports.first(where: { $0.index == port.index }) else {
            throw ControllerError(
                .precondition, "guest \(guest.id) cannot be asked by its \(side.rawValue): port \(port.name) is gone")
        }
        let flooding: BridgePort.Flags = owned.ip.isIPv6 ? .multicastFlood : .broadcastFlood
        let flags = { (index: Int32) in links.first { $0.index == index }?.bridgePort?.flags }
        if let primary = guest.primary, side == .standby, flags(guest.standby.index)?.contains(flooding) == true,
            flags(primary.index)?.contains(flooding) == false
        {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) cannot be asked by its standby: a bracket copies what \(primary.name) is not "
                    + "flooded with to it, and the guest might answer that copy",
                remedy:
                    "bridge link set dev \(primary.name) \(owned.ip.isIPv6 ? "mcast_flood" : "bcast_flood") on")
        }
        self.port = present
        place = side == .primary ? 1 : 2
        ip = owned.ip
        macs = Set(guest.addresses.map(\.mac))
        guard let vlan = try owned.vlan(among: guest.addresses) else {
            tag = nil
            return
        }
        let vlans = try ControllerError.reading("the VLANs of \(port.name)") { () throws(NetlinkError) in
            try PortVLANs.read(port: port.index, using: &socket)
        }
        guard vlans.members.contains(vlan) else {
            throw ControllerError(
                .precondition, "guest \(guest.id) cannot be asked by \(port.name), which is no member of VLAN \(vlan)",
                remedy: "give the port the VLAN (bridge vlan add dev \(port.name) vid \(vlan))")
        }
        let bridge = try ControllerError.reading("the bridge of guest \(guest.id)") { () throws(NetlinkError) in
            try Links.read([guest.bridge.index], using: &socket)
        }
        let tagType = bridge[0]?.bridge?.tagType ?? 0x8100
        tag = vlans.untagged.contains(vlan) ? nil : FrameTag(type: tagType, vlan: vlan)
    }

    /// The ports by which a guest alone may answer, as they are now; one that is gone is left out.
    static func links(
        of guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> [Link] {
        let own = guest.nic == nil ? guest.own.map(\.port) : [guest.standby]
        let links = try ControllerError.reading("the ports of guest \(guest.id)") { () throws(NetlinkError) in
            try Links.read(own.map(\.index), using: &socket)
        }
        return links.compactMap { $0 }
    }

    /// Drops answers at a guest's ports from now on (``AskShield``).
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    static func shield(_ ports: [PortIdentity], using socket: inout CommandSocket) throws(ControllerError) {
        do throws(NetlinkError) {
            try AskShield.raise(ports.map { ($0.index, $0.name) }, using: &socket)
        } catch {
            throw ControllerError(
                .precondition, "the guest cannot be asked: its answers could not be kept from others",
                remedy: "load the kernel's nf_tables", cause: error)
        }
    }
}
