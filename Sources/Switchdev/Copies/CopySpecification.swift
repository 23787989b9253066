public import FDB

/// What a bracket copies: the frames of one guest that leave by one bridge port, to one other port.
///
/// The copy is made at the egress of `source`, after the bridge has decided that the frame leaves there, and is handed to the
/// driver of `target` without passing the bridge again. It can reach no third port, and frames received by either port are
/// only copied if the bridge itself sends them to `source`.
public struct CopySpecification: Hashable, Sendable {
    /// The tagging of frames to an address when they leave the port.
    public enum Tag: Hashable, Sendable {
        /// The bridge ignores VLANs, and so does the copy.
        case any
        /// Without a tag of the bridge's type, because the port is an untagged member of the VLAN.
        case untagged
        /// With the tag of a VLAN.
        case vlan(VLANID)
    }

    /// A MAC with its tag.
    public struct Match: Hashable, Sendable {
        /// The destination.
        public let mac: MACAddress
        /// The tagging of frames to it when they leave the port.
        public let tag: Tag

        /// Makes a match from its parts.
        public init(mac: MACAddress, tag: Tag) {
            self.mac = mac
            self.tag = tag
        }
    }

    /// Group frames that have to be copied as well: those that the bridge floods to `source` but not to `target`. Where it
    /// floods to both, a copy would be a duplicate.
    public struct Groups: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8

        /// - Parameter rawValue: the bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// ff:ff:ff:ff:ff:ff.
        public static let broadcast = Groups(rawValue: 1 << 0)
        /// Every other group.
        public static let multicast = Groups(rawValue: 1 << 1)
    }

    /// The port where the frames leave: the standby.
    public let source: Int32
    /// The port where their copies leave: the primary.
    public let target: Int32
    /// The guest's addresses, without duplicates.
    public let matches: [Match]
    /// Group frames to copy as well, except those that the guest itself sent.
    public let groups: Groups
    /// The type of the bridge's tags: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
    public let tagType: UInt16
    /// Distinguishes this guest's copy from others on the same port: 1 to 2^32 - 1.
    public let number: UInt32
    /// Whose copy it is; names its nftables table, if it has one.
    public let label: String
    /// The name of the copy's nftables table. nft(8) reads no `:` in a name; a guest's has no `/`.
    package var tableName: String { "fdbsteer-" + String(label.map { $0 == ":" ? "/" : $0 }) }
    /// What an earlier version called the table, where that is another name.
    package var earlierTableName: String? { label.contains(":") ? "fdbsteer-" + label : nil }

    /// Makes a specification from its parts.
    ///
    /// - Parameters:
    ///   - source: interface index of the port where the frames leave.
    ///   - target: interface index of the port where their copies leave.
    ///   - matches: the addresses; duplicates are dropped.
    ///   - groups: group frames to copy as well.
    ///   - tagType: the type of the bridge's tags.
    ///   - number: distinguishes this copy from others on the same port, 1 to 2^32 - 1.
    ///   - label: names the copy among the host's nftables tables.
    public init(
        source: Int32, target: Int32, matches: [Match], groups: Groups = [], tagType: UInt16 = 0x8100, number: UInt32,
        label: String
    ) {
        self.tagType = tagType
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
    /// Bytes in these frames.
    public var bytes: UInt64
    /// Frames that matched but whose copy could not be handed to the port.
    public var failed: UInt64
    /// It copies exactly the requested frames to the requested port.
    public var isAsSpecified: Bool

    /// Makes a state from its parts.
    public init(frames: UInt64, bytes: UInt64, failed: UInt64, isAsSpecified: Bool) {
        self.frames = frames
        self.bytes = bytes
        self.failed = failed
        self.isAsSpecified = isAsSpecified
    }
}

/// The mechanism that makes the copy.
public enum CopyMeans: String, Hashable, Sendable, Codable, CaseIterable {
    /// A classifier with the action `mirred` in the egress hook of a `clsact` queueing discipline.
    case clsact
    /// An nftables table of family netdev with an egress chain (kernel 5.16 and later). It works beside any queueing
    /// discipline, including `ingress`, which excludes a clsact (libvirt's `<bandwidth>` makes one).
    case nftables
}
