public import FDB

/// What a bracket copies: the frames of one guest that leave by one bridge port, to one other port.
///
/// The copy is made at the egress of `source`, after the bridge has decided that the frame leaves there, and is handed to
/// the driver of `target` without passing the bridge again: it can reach no third port, and nothing that is received by
/// either port is copied unless the bridge itself sends it to `source`.
public struct CopySpecification: Hashable, Sendable {
    /// How frames to an address leave the port.
    public enum Tag: Hashable, Sendable {
        /// The bridge does not look at VLANs, and neither does the copy.
        case any
        /// Without an IEEE 802.1Q tag: the port is an untagged member of the VLAN.
        case untagged
        /// With the tag of a VLAN.
        case vlan(VLANID)
    }

    /// A MAC with its tag.
    public struct Match: Hashable, Sendable {
        /// The destination.
        public let mac: MACAddress
        /// How frames to it leave the port.
        public let tag: Tag

        /// Makes a match from its parts.
        public init(mac: MACAddress, tag: Tag) {
            self.mac = mac
            self.tag = tag
        }
    }

    /// Frames to groups that have to be copied too: those that the bridge floods to `source` and not to `target`. Where it
    /// floods to both, a copy would be a second one.
    public struct Groups: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8

        /// - Parameter rawValue: the bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// ff:ff:ff:ff:ff:ff.
        public static let broadcast = Groups(rawValue: 1 << 0)
        /// Every other group.
        public static let multicast = Groups(rawValue: 1 << 1)
    }

    /// Where the frames leave: the standby.
    public let source: Int32
    /// Where their copies leave: the primary.
    public let target: Int32
    /// The guest's addresses; without duplicates.
    public let matches: [Match]
    /// Group frames to copy too, but for those that the guest itself sent.
    public let groups: Groups
    /// Tells this guest's copy from others on the same port: 1 to 2^32 - 1.
    public let number: UInt32
    /// Names the copy's nftables table, where it has one: `fdbsteer-` and this.
    public let label: String

    /// Makes a specification from its parts.
    ///
    /// - Parameters:
    ///   - source: interface index of the port where the frames leave.
    ///   - target: interface index of the port where their copies leave.
    ///   - matches: the addresses; duplicates are dropped.
    ///   - groups: group frames to copy too.
    ///   - number: tells this copy from others on the same port, 1 to 2^32 - 1.
    ///   - label: names the copy among the host's nftables tables.
    public init(
        source: Int32, target: Int32, matches: [Match], groups: Groups = [], number: UInt32, label: String
    ) {
        self.source = source
        self.target = target
        var seen = Set<Match>()
        self.matches = matches.filter { seen.insert($0).inserted }
        self.groups = groups
        self.number = number
        self.label = label
    }
}

/// What the kernel shows of a copy.
public struct CopyState: Hashable, Sendable {
    /// Frames copied since it was made.
    public var frames: UInt64
    /// Bytes of them.
    public var bytes: UInt64
    /// Frames that matched and whose copy could not be handed to the port.
    public var failed: UInt64
    /// It copies exactly what was asked for, to the port that was asked for.
    public var isAsSpecified: Bool

    /// Makes a state from its parts.
    public init(frames: UInt64, bytes: UInt64, failed: UInt64, isAsSpecified: Bool) {
        self.frames = frames
        self.bytes = bytes
        self.failed = failed
        self.isAsSpecified = isAsSpecified
    }
}

/// What makes the copy.
public enum CopyMeans: String, Hashable, Sendable, Codable {
    /// A classifier with the action `mirred` in the egress hook of a `clsact` queueing discipline.
    case clsact
    /// An nftables table of family netdev with an egress chain (kernel 5.16 and later). It goes with any queueing
    /// discipline, also with `ingress`, which excludes a clsact (libvirt's `<bandwidth>` makes one).
    case nftables
}
