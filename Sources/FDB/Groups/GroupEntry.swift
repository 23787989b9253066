import CNetlink
import Netlink

/// Whether a membership ages (`state` of `struct br_mdb_entry`, linux/if_bridge.h).
public struct GroupState: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8

    /// - Parameter rawValue: the kernel's number.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// It ages, by default after 260 s, unless reports refresh it. The corresponding C constant is `MDB_TEMPORARY`.
    public static let temporary = GroupState(rawValue: UInt8(MDB_TEMPORARY))
    /// It does not age and stays when the member leaves. The corresponding C constant is `MDB_PERMANENT`.
    public static let permanent = GroupState(rawValue: UInt8(MDB_PERMANENT))
}

/// Flags of a membership (`flags` of `struct br_mdb_entry`, linux/if_bridge.h).
public struct GroupFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    /// - Parameter rawValue: the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// A driver has offloaded it. The corresponding C constant is `MDB_FLAGS_OFFLOAD`.
    public static let offloaded = GroupFlags(rawValue: UInt8(MDB_FLAGS_OFFLOAD))
    /// The first leave removes it. The corresponding C constant is `MDB_FLAGS_FAST_LEAVE`.
    public static let fastLeave = GroupFlags(rawValue: UInt8(MDB_FLAGS_FAST_LEAVE))
    /// An (S,G) that the kernel made because the port accepts the group from all sources except some. The corresponding
    /// C constant is `MDB_FLAGS_STAR_EXCL`.
    public static let starExclude = GroupFlags(rawValue: UInt8(MDB_FLAGS_STAR_EXCL))
    /// An (S,G) that the port refuses. The corresponding C constant is `MDB_FLAGS_BLOCKED`.
    public static let blocked = GroupFlags(rawValue: UInt8(MDB_FLAGS_BLOCKED))
}

/// The meaning of a membership's source list (IGMPv3, MLDv2; linux/in.h).
public struct GroupFilterMode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8

    /// - Parameter rawValue: the kernel's number.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// All sources except the listed ones. The corresponding C constant is `MCAST_EXCLUDE`.
    public static let exclude = GroupFilterMode(rawValue: UInt8(MCAST_EXCLUDE))
    /// Only the listed sources. The corresponding C constant is `MCAST_INCLUDE`.
    public static let include = GroupFilterMode(rawValue: UInt8(MCAST_INCLUDE))
}

/// The origin of a membership (`rtm_protocol`, linux/rtnetlink.h).
public struct GroupProtocol: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8

    /// - Parameter rawValue: the number. User space has the numbers from 4; those above 200 are not in a registry.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// A report of a member. The corresponding C constant is `RTPROT_KERNEL`.
    public static let kernel = GroupProtocol(rawValue: UInt8(RTPROT_KERNEL))
    /// An administrator who gave no protocol. The corresponding C constant is `RTPROT_STATIC`.
    public static let `static` = GroupProtocol(rawValue: UInt8(RTPROT_STATIC))
    /// Marks fdbsteer's own copies of permanent memberships, so it recognises them when the guest moves on.
    public static let fdbsteer = GroupProtocol(rawValue: 0xfd)
}

/// One membership of a bridge port in a multicast group, as the kernel shows it (`__mdb_fill_info` in
/// net/bridge/br_mdb.c).
public struct GroupEntry: Hashable, Sendable {
    /// Interface index of the bridge.
    public let bridge: Int32
    /// Interface index of the port, or of the bridge for groups that the host itself has joined.
    public let port: Int32
    /// Group, source, VLAN.
    public let key: GroupKey
    /// Whether it ages.
    public let state: GroupState
    /// `flags`.
    public let flags: GroupFlags
    /// MDBA_MDB_EATTR_GROUP_MODE: sent when the bridge speaks IGMPv3 or MLDv2.
    public let mode: GroupFilterMode?
    /// MDBA_MDB_EATTR_SRC_LIST.
    public let sources: [IPAddress]
    /// MDBA_MDB_EATTR_RTPROT (kernel 5.10 and later).
    public let `protocol`: GroupProtocol?
    /// MDBA_MDB_EATTR_TIMER: hundredths of a second until it expires; 0 if it does not age by itself.
    public let timer: UInt32

    /// The host itself is the member.
    public var isHost: Bool { port == bridge }
    /// It does not age.
    public var isPermanent: Bool { state == .permanent }
    /// The kernel made it from a (\*,G) with sources, and removes it together with that.
    public var isDerived: Bool { !flags.isDisjoint(with: [.starExclude, .blocked]) }

    /// Makes a membership from its fields.
    public init(
        bridge: Int32, port: Int32, key: GroupKey, state: GroupState, flags: GroupFlags = [],
        mode: GroupFilterMode? = nil, sources: [IPAddress] = [], protocol: GroupProtocol? = nil, timer: UInt32 = 0
    ) {
        self.bridge = bridge
        self.port = port
        self.key = key
        self.state = state
        self.flags = flags
        self.mode = mode
        self.sources = sources
        self.protocol = `protocol`
        self.timer = timer
    }

    /// Decodes one MDBA_MDB_ENTRY_INFO: `struct br_mdb_entry`, then attributes MDBA_MDB_EATTR_*.
    ///
    /// - Returns: nil for groups of unknown protocols.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    init?(decoding info: UnsafeRawBufferPointer, bridge: Int32) throws(NetlinkError) {
        let size = MemoryLayout<br_mdb_entry>.size
        guard info.count >= size else {
            throw NetlinkError(.malformed, "group entry of \(info.count) bytes where \(size) are the least")
        }
        let fixed = info.loadUnaligned(as: br_mdb_entry.self)
        guard let group = GroupAddress(fixed), fixed.vid == 0 || VLANID(rawValue: fixed.vid) != nil else { return nil }
        var source: IPAddress?
        var mode: GroupFilterMode?
        var sources: [IPAddress] = []
        var maker: GroupProtocol?
        var timer: UInt32 = 0
        var attributes = AttributeReader(info, from: size)
        while let attribute = attributes.next() {
            switch attribute.type {
            case Int(MDBA_MDB_EATTR_TIMER): timer = attribute.integer() ?? 0
            case Int(MDBA_MDB_EATTR_SOURCE): source = IPAddress(octets: attribute.bytes)
            case Int(MDBA_MDB_EATTR_GROUP_MODE): mode = attribute.integer().map(GroupFilterMode.init)
            case Int(MDBA_MDB_EATTR_RTPROT): maker = attribute.integer().map(GroupProtocol.init)
            case Int(MDBA_MDB_EATTR_SRC_LIST): sources = GroupEntry.sources(attribute.nested)
            default: break
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "group entry with an attribute that does not fit")
        }
        self.init(
            bridge: bridge, port: Int32(truncatingIfNeeded: fixed.ifindex),
            key: GroupKey(group, source: source, vlan: VLANID(rawValue: fixed.vid)),
            state: GroupState(rawValue: fixed.state), flags: GroupFlags(rawValue: fixed.flags), mode: mode,
            sources: sources, protocol: maker, timer: timer)
    }

    /// MDBA_MDB_EATTR_SRC_LIST > MDBA_MDB_SRCLIST_ENTRY > MDBA_MDB_SRCATTR_ADDRESS.
    private static func sources(_ list: AttributeReader) -> [IPAddress] {
        list.compactMap { entry in
            guard entry.type == Int(MDBA_MDB_SRCLIST_ENTRY) else { return nil }
            for part in entry.nested where part.type == Int(MDBA_MDB_SRCATTR_ADDRESS) {
                return IPAddress(octets: part.bytes)
            }
            return nil
        }
    }
}

extension GroupEntry: CustomStringConvertible {
    /// The membership as `bridge -d mdb show` prints it, but without names.
    public var description: String {
        var words = ["ifindex \(port) grp \(key)", isPermanent ? "permanent" : "temp"]
        if mode == .include { words.append("filter_mode include") }
        if !sources.isEmpty { words.append("source_list " + sources.map(\.description).joined(separator: ",")) }
        if flags.contains(.offloaded) { words.append("offload") }
        if flags.contains(.fastLeave) { words.append("fast_leave") }
        if flags.contains(.starExclude) { words.append("added_by_star_ex") }
        if flags.contains(.blocked) { words.append("blocked") }
        return words.joined(separator: " ")
    }
}

/// A port of a bridge behind which a multicast router or querier was heard or configured. It gets the frames of all
/// groups (`br_rports_fill_info` in net/bridge/br_mdb.c, `br_multicast_flood` in net/bridge/br_forward.c).
public struct RouterPort: Hashable, Sendable {
    /// Interface index of the port.
    public let port: Int32
    /// Frames of IPv4 groups, and of groups that are not IP groups, go there.
    public let servesIPv4: Bool
    /// Frames of IPv6 groups go there.
    public let servesIPv6: Bool
    /// MDBA_ROUTER_PATTR_VID, on a bridge that snoops each VLAN separately.
    public let vlan: VLANID?
    /// Hundredths of a second until it expires unless it is refreshed; nil if it does not age.
    public let lifetime: UInt32?

    /// Makes a router port from its fields.
    public init(
        port: Int32, servesIPv4: Bool = true, servesIPv6: Bool = true, vlan: VLANID? = nil, lifetime: UInt32? = nil
    ) {
        self.port = port
        self.servesIPv4 = servesIPv4
        self.servesIPv6 = servesIPv6
        self.vlan = vlan
        self.lifetime = lifetime
    }

    /// Decodes one MDBA_ROUTER_PORT: the port's interface index, then attributes MDBA_ROUTER_PATTR_*.
    ///
    /// Kernels before 5.14 do not distinguish IPv4 from IPv6 here: the port then serves both.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    init(decoding info: UnsafeRawBufferPointer) throws(NetlinkError) {
        let size = MemoryLayout<UInt32>.size
        guard info.count >= size else {
            throw NetlinkError(.malformed, "router port of \(info.count) bytes where \(size) are the least")
        }
        var ipv4: UInt32?
        var ipv6: UInt32?
        var any: UInt32 = 0
        var isPermanent = false
        var vlan: VLANID?
        var attributes = AttributeReader(info, from: size)
        while let attribute = attributes.next() {
            switch attribute.type {
            case Int(MDBA_ROUTER_PATTR_TIMER): any = attribute.integer() ?? 0
            case Int(MDBA_ROUTER_PATTR_TYPE): isPermanent = attribute.integer() == UInt8(MDB_RTR_TYPE_PERM)
            case Int(MDBA_ROUTER_PATTR_INET_TIMER): ipv4 = attribute.integer() ?? 0
            case Int(MDBA_ROUTER_PATTR_INET6_TIMER): ipv6 = attribute.integer() ?? 0
            case Int(MDBA_ROUTER_PATTR_VID): vlan = attribute.integer().flatMap(VLANID.init)
            default: break
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "router port with an attribute that does not fit")
        }
        let isTold = ipv4 != nil || ipv6 != nil
        self.init(
            port: info.loadUnaligned(as: Int32.self), servesIPv4: ipv4 != nil || !isTold,
            servesIPv6: ipv6 != nil || !isTold, vlan: vlan,
            lifetime: isPermanent ? nil : isTold ? min(ipv4 ?? .max, ipv6 ?? .max) : any)
    }

    /// Whether frames of a group go to this port.
    public func serves(_ key: GroupKey) -> Bool {
        if let vlan, vlan != key.vlan { return false }
        guard case .ip(let address) = key.group, address.isIPv6 else { return servesIPv4 }
        return servesIPv6
    }
}

extension GroupAddress {
    /// The group of `struct br_mdb_entry`; nil for a protocol other than IPv4, IPv6 and none, and for an address that is
    /// not a group.
    init?(_ entry: br_mdb_entry) {
        let address: (ip: IPAddress?, mac: MACAddress?) = withUnsafeBytes(of: entry.addr.u) { bytes in
            switch UInt16(bigEndian: entry.addr.proto) {
            case UInt16(ETH_P_IP): (IPAddress(octets: bytes.prefix(4)), nil)
            case UInt16(ETH_P_IPV6): (IPAddress(octets: bytes.prefix(16)), nil)
            case 0: (nil, MACAddress(octets: UnsafeRawBufferPointer(rebasing: bytes.prefix(6))))
            default: (nil, nil)
            }
        }
        if let ip = address.ip, ip.isMulticast {
            self = .ip(ip)
        } else if let mac = address.mac, mac.isMulticast {
            self = .mac(mac)
        } else {
            return nil
        }
    }
}
