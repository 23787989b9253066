import CNetlink
public import FDB
public import Netlink

/// One change of a NIC: of its link, of the MAC that it filters for a VF, or of the VLAN devices on it.
public enum NICRequest: Request, Hashable, Sendable {
    /// Sets a link administratively up or down (IFF_UP).
    case setUp(link: Int32, Bool)
    /// Renames a link that is down.
    case rename(link: Int32, to: String)
    /// Sets the MAC of a VF; all zeroes clear it (IFLA_VF_MAC, `ndo_set_vf_mac`).
    case setMAC(MACAddress, vf: UInt32, of: Int32)
    /// Makes a VLAN device, which adds the VLAN to the link's VLAN filter (`vlan_vid_add`, net/8021q/vlan_core.c).
    case addVLAN(VLANID, on: Int32, named: String)
    /// Deletes a software link.
    case delete(link: Int32)

    public var type: MessageType {
        switch self {
        case .setUp, .rename, .setMAC: .setLink
        case .addVLAN: .newLink
        case .delete: .deleteLink
        }
    }

    public var flags: MessageFlags {
        if case .addVLAN = self { [.create, .exclusive] } else { [] }
    }

    public func encode(into body: inout MessageBody) {
        var fixed = ifinfomsg()
        switch self {
        case .setUp(let link, let isUp):
            fixed.ifi_index = link
            fixed.ifi_flags = isUp ? UInt32(IFF_UP) : 0
            fixed.ifi_change = UInt32(IFF_UP)
            body.put(fixed)
        case .rename(let link, let name):
            fixed.ifi_index = link
            body.put(fixed)
            body.put(Int(IFLA_IFNAME), text: name)
        case .setMAC(let mac, let vf, let link):
            fixed.ifi_index = link
            body.put(fixed)
            body.nest(Int(IFLA_VFINFO_LIST) | Int(NLA_F_NESTED)) { list in
                list.nest(Int(IFLA_VF_INFO) | Int(NLA_F_NESTED)) { information in
                    // `struct ifla_vf_mac`: the number, then 32 bytes of address.
                    var bytes = [UInt8](repeating: 0, count: 36)
                    bytes.withUnsafeMutableBytes { buffer in
                        buffer.storeBytes(of: vf, as: UInt32.self)
                        withUnsafeBytes(of: mac.octets) { octets in
                            for (offset, octet) in octets.enumerated() { buffer[4 + offset] = octet }
                        }
                    }
                    bytes.withUnsafeBytes { information.put(Int(IFLA_VF_MAC), bytes: $0) }
                }
            }
        case .addVLAN(let vlan, let link, let name):
            body.put(fixed)
            body.put(Int(IFLA_IFNAME), text: name)
            body.put(Int(IFLA_LINK), UInt32(bitPattern: link))
            body.nest(Int(IFLA_LINKINFO) | Int(NLA_F_NESTED)) { information in
                information.put(Int(IFLA_INFO_KIND), text: "vlan")
                information.nest(Int(IFLA_INFO_DATA) | Int(NLA_F_NESTED)) {
                    $0.put(Int(IFLA_VLAN_ID), vlan.rawValue)
                }
            }
        case .delete(let link):
            fixed.ifi_index = link
            body.put(fixed)
        }
    }
}

/// One change of an interface's unicast list: the MACs, in addition to its own, whose frames a NIC passes to the interface
/// (RTM_NEWNEIGH and RTM_DELNEIGH with NTF_SELF; `ndo_dflt_fdb_add` in net/core/rtnetlink.c, `bridge fdb add M dev D self`).
public struct UnicastListRequest: Request, Hashable, Sendable {
    /// The MAC.
    public let mac: MACAddress
    /// Interface index.
    public let link: Int32
    /// True for an addition, false for a removal.
    public let isAddition: Bool

    /// - Parameters:
    ///   - mac: the MAC.
    ///   - link: interface index.
    ///   - isAddition: adds the MAC (EEXIST if it is present) or removes it (ENOENT if it is not).
    public init(_ mac: MACAddress, link: Int32, isAddition: Bool) {
        self.mac = mac
        self.link = link
        self.isAddition = isAddition
    }

    public var type: MessageType { isAddition ? .newNeighbour : .deleteNeighbour }
    public var flags: MessageFlags { isAddition ? [.create, .exclusive] : [] }

    public func encode(into body: inout MessageBody) {
        var fixed = ndmsg()
        fixed.ndm_family = UInt8(AF_BRIDGE)
        fixed.ndm_ifindex = link
        // The kernel refuses any other state for a device's own list.
        fixed.ndm_state = UInt16(NUD_PERMANENT)
        fixed.ndm_flags = UInt8(NTF_SELF)
        body.put(fixed)
        withUnsafeBytes(of: mac.octets) { body.put(Int(NDA_LLADDR), bytes: $0) }
    }
}

/// The unicast lists of interfaces.
public enum UnicastList {
    /// Reads which interfaces have a MAC in their unicast lists, by interface index.
    ///
    /// The kernel cannot read a single one (only bridges and tunnels have `ndo_fdb_get`), so this is one dump of all tables.
    ///
    /// - Throws: ``NetlinkError`` if the kernel refuses, or answers are lost.
    /// - Complexity: the entries of all bridges and the address lists of all interfaces (`rtnl_fdb_dump`).
    public static func holders(
        of mac: MACAddress, using socket: inout CommandSocket
    ) throws(NetlinkError) -> Set<Int32> {
        Set(try read(Dump(link: nil), [mac], using: &socket).map(\.port))
    }

    /// Whether an interface has a MAC in its unicast list.
    ///
    /// - Throws: ``NetlinkError`` if the kernel refuses, or answers are lost.
    public static func contains(
        _ mac: MACAddress, link: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> Bool {
        try !held([mac], link: link, using: &socket).isEmpty
    }

    /// Which of some MACs an interface has in its unicast list, or in its own table (VXLAN).
    ///
    /// - Throws: ``NetlinkError`` if the kernel refuses, or answers are lost.
    public static func held(
        _ macs: [MACAddress], link: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> Set<MACAddress> {
        Set(try read(Dump(link: link), macs, using: &socket).filter { $0.port == link }.map(\.address.mac))
    }

    private static func read(
        _ dump: Dump, _ macs: [MACAddress], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Entry] {
        var found: [Entry] = []
        // An interrupted dump may have missed it. After a few more tries the last answer is used.
        for attempt in 1...5 {
            do throws(NetlinkError) {
                try socket.dump(dump) { (header, payload) throws(NetlinkError) in
                    guard header.type == .newNeighbour, let entry = try Entry(decoding: payload),
                        macs.contains(entry.address.mac), entry.flags.contains(.selfTable)
                    else { return }
                    found.append(entry)
                }
                return found
            } catch {
                guard error.code == .interrupted, attempt < 5 else { throw error }
            }
        }
        return found
    }

    private struct Dump: Request {
        let link: Int32?
        var type: MessageType { .getNeighbour }
        var flags: MessageFlags { [] }

        func encode(into body: inout MessageBody) {
            var fixed = ndmsg()
            fixed.ndm_family = UInt8(AF_BRIDGE)
            fixed.ndm_ifindex = link ?? 0
            body.put(fixed)
        }
    }
}
