import CNetlink
import Netlink

/// Settings of a bridge port (IFLA_INFO_SLAVE_DATA of kind "bridge": `enum IFLA_BRPORT_*`, linux/if_link.h).
public struct BridgePort: Hashable, Sendable {
    /// Settings that are on or off.
    public struct Flags: OptionSet, Hashable, Sendable {
        public let rawValue: UInt16

        /// - Parameter rawValue: bits of this type's own numbering.
        public init(rawValue: UInt16) { self.rawValue = rawValue }

        /// Source addresses of frames become entries. The corresponding C constant is `IFLA_BRPORT_LEARNING`.
        public static let learning = Flags(rawValue: 1 << 0)
        /// Frames to unknown addresses leave here. The corresponding C constant is `IFLA_BRPORT_UNICAST_FLOOD`.
        public static let flood = Flags(rawValue: 1 << 1)
        /// The corresponding C constant is `IFLA_BRPORT_MCAST_FLOOD`.
        public static let multicastFlood = Flags(rawValue: 1 << 2)
        /// The corresponding C constant is `IFLA_BRPORT_BCAST_FLOOD`.
        public static let broadcastFlood = Flags(rawValue: 1 << 3)
        /// Frames may leave by the port on which they arrived. The corresponding C constant is `IFLA_BRPORT_MODE`.
        public static let hairpin = Flags(rawValue: 1 << 4)
        /// No frames are sent to other isolated ports. The corresponding C constant is `IFLA_BRPORT_ISOLATED`.
        public static let isolated = Flags(rawValue: 1 << 5)
        /// Frames from unknown sources are dropped. The corresponding C constant is `IFLA_BRPORT_LOCKED`.
        public static let locked = Flags(rawValue: 1 << 6)
        /// The corresponding C constant is `IFLA_BRPORT_NEIGH_SUPPRESS`.
        public static let neighbourSuppression = Flags(rawValue: 1 << 7)
        /// The corresponding C constant is `IFLA_BRPORT_GUARD`.
        public static let bpduGuard = Flags(rawValue: 1 << 8)
    }

    /// The spanning tree state, which decides what the port lets through.
    public let state: PortState
    /// The flags that are on.
    public let flags: Flags
    /// Interface index of the port that takes over while this one has no carrier (IFLA_BRPORT_BACKUP_PORT).
    public let backupPort: Int32?
    /// The kernel did not tell ``Flags/locked``: it has no such flag (before Linux 5.18), and would ignore a request to set it.
    public let lacksLock: Bool

    private static let table: [(attribute: Int, flag: Flags)] = [
        (Int(IFLA_BRPORT_LEARNING), .learning), (Int(IFLA_BRPORT_UNICAST_FLOOD), .flood),
        (Int(IFLA_BRPORT_MCAST_FLOOD), .multicastFlood), (Int(IFLA_BRPORT_BCAST_FLOOD), .broadcastFlood),
        (Int(IFLA_BRPORT_MODE), .hairpin), (Int(IFLA_BRPORT_ISOLATED), .isolated),
        (Int(IFLA_BRPORT_LOCKED), .locked), (Int(IFLA_BRPORT_NEIGH_SUPPRESS), .neighbourSuppression),
        (Int(IFLA_BRPORT_GUARD), .bpduGuard),
    ]

    /// Makes settings from their parts.
    public init(state: PortState, flags: Flags, backupPort: Int32? = nil, lacksLock: Bool = false) {
        self.lacksLock = lacksLock
        self.state = state
        self.flags = flags
        self.backupPort = backupPort
    }

    init(decoding attributes: AttributeReader) {
        var state = PortState.disabled
        var flags = Flags()
        var backup: Int32?
        var lacksLock = true
        for attribute in attributes {
            if attribute.type == Int(IFLA_BRPORT_LOCKED) { lacksLock = false }
            if attribute.type == Int(IFLA_BRPORT_STATE), let number: UInt8 = attribute.integer() {
                state = PortState(rawValue: number)
            } else if attribute.type == Int(IFLA_BRPORT_BACKUP_PORT) {
                backup = attribute.integer()
            } else if let known = BridgePort.table.first(where: { $0.attribute == attribute.type }),
                let number: UInt8 = attribute.integer(), number != 0
            {
                flags.insert(known.flag)
            }
        }
        self.init(state: state, flags: flags, backupPort: backup, lacksLock: lacksLock)
    }
}

/// Settings of a bridge (IFLA_INFO_DATA of kind "bridge": `enum IFLA_BR_*`, linux/if_link.h).
public struct Bridge: Hashable, Sendable {
    /// How long a learned entry lives unused, in hundredths of a second; 0 ages it at once.
    public let ageingTime: UInt32
    /// The bridge filters VLANs.
    public let filtersVLANs: Bool
    /// The type of the tags by which it tells VLANs: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad). A tag of the other type is
    /// content to it (`__allowed_ingress`).
    public let tagType: UInt16
    /// The VLAN that new ports get untagged; 0 for none.
    public let defaultPVID: UInt16
    /// Spanning tree: 0 off, 1 kernel, 2 user space.
    public let spanningTree: UInt32
    /// IGMP and MLD track group memberships.
    public let snoopsMulticast: Bool

    /// Makes settings from their parts.
    public init(
        ageingTime: UInt32, filtersVLANs: Bool, defaultPVID: UInt16, spanningTree: UInt32 = 0,
        snoopsMulticast: Bool = false, tagType: UInt16 = 0x8100
    ) {
        self.tagType = tagType
        self.ageingTime = ageingTime
        self.filtersVLANs = filtersVLANs
        self.defaultPVID = defaultPVID
        self.spanningTree = spanningTree
        self.snoopsMulticast = snoopsMulticast
    }

    init(decoding attributes: AttributeReader) {
        var ageing: UInt32 = 0
        var filtering = false
        var pvid: UInt16 = 0
        var tree: UInt32 = 0
        var snooping = false
        var tagType = UInt16(ETH_P_8021Q)
        for attribute in attributes {
            switch attribute.type {
            case Int(IFLA_BR_AGEING_TIME): ageing = attribute.integer() ?? 0
            case Int(IFLA_BR_VLAN_FILTERING): filtering = attribute.integer(as: UInt8.self) ?? 0 != 0
            case Int(IFLA_BR_VLAN_PROTOCOL):
                if let type: UInt16 = attribute.integer() { tagType = UInt16(bigEndian: type) }
            case Int(IFLA_BR_VLAN_DEFAULT_PVID): pvid = attribute.integer() ?? 0
            case Int(IFLA_BR_STP_STATE): tree = attribute.integer() ?? 0
            case Int(IFLA_BR_MCAST_SNOOPING): snooping = attribute.integer(as: UInt8.self) ?? 0 != 0
            default: break
            }
        }
        self.init(
            ageingTime: ageing, filtersVLANs: filtering, defaultPVID: pvid, spanningTree: tree,
            snoopsMulticast: snooping, tagType: tagType)
    }
}
