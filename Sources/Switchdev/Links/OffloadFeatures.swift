import CNetlink
public import Netlink

/// Work that an interface does instead of the CPU, as ethtool names it. A guest's frames may lose it on another port.
public struct OffloadFeatures: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    /// - Parameter rawValue: bits of this type's own numbering.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Checksums of outgoing frames. The kernel's names are `tx-checksum-ipv4`, `-ipv6` and `-ip-generic`.
    public static let checksum = OffloadFeatures(rawValue: 1 << 0)
    /// Checksums of incoming frames. The kernel's name is `rx-checksum`.
    public static let receiveChecksum = OffloadFeatures(rawValue: 1 << 1)
    /// Frames in several pieces of memory. The kernel's name is `tx-scatter-gather`.
    public static let scatterGather = OffloadFeatures(rawValue: 1 << 2)
    /// TSO. The kernel's names are `tx-tcp-segmentation` and `tx-tcp6-segmentation`.
    public static let tcpSegmentation = OffloadFeatures(rawValue: 1 << 3)
    /// Segmentation of UDP. The kernel's name is `tx-udp-segmentation`.
    public static let udpSegmentation = OffloadFeatures(rawValue: 1 << 4)
    /// GSO. The kernel's name is `tx-generic-segmentation`.
    public static let genericSegmentation = OffloadFeatures(rawValue: 1 << 5)
    /// GRO. The kernel's name is `rx-gro`.
    public static let receiveOffload = OffloadFeatures(rawValue: 1 << 6)

    /// The kernel's names (`netdev_features_strings`, net/ethtool/common.c).
    private static let table: [(name: String, flag: OffloadFeatures)] = [
        ("tx-checksum-ipv4", .checksum), ("tx-checksum-ipv6", .checksum), ("tx-checksum-ip-generic", .checksum),
        ("rx-checksum", .receiveChecksum), ("tx-scatter-gather", .scatterGather),
        ("tx-tcp-segmentation", .tcpSegmentation), ("tx-tcp6-segmentation", .tcpSegmentation),
        ("tx-udp-segmentation", .udpSegmentation), ("tx-generic-segmentation", .genericSegmentation),
        ("rx-gro", .receiveOffload),
    ]

    /// The words that `ethtool -K` uses.
    public var words: [String] {
        let words: [(OffloadFeatures, String)] = [
            (.checksum, "tx"), (.receiveChecksum, "rx"), (.scatterGather, "sg"), (.tcpSegmentation, "tso"),
            (.udpSegmentation, "tx-udp-segmentation"), (.genericSegmentation, "gso"), (.receiveOffload, "gro"),
        ]
        return words.filter { contains($0.0) }.map(\.1)
    }

    /// Reads the features that are on at interfaces (ETHTOOL_MSG_FEATURES_GET of the netlink family `ethtool`, kernel 5.7 and
    /// later; net/ethtool/features.c). It needs no privilege.
    ///
    /// - Parameter interfaces: interface indexes in the calling thread's network namespace.
    /// - Returns: the features by interface, without interfaces that do not answer; nil on a kernel without the family.
    /// - Throws: ``NetlinkError`` if answers are lost.
    public static func read(_ interfaces: [Int32]) throws(NetlinkError) -> [Int32: OffloadFeatures]? {
        var socket = try CommandSocket(.generic)
        guard let family = try socket.family(named: ETHTOOL_GENL_NAME) else { return nil }
        let requests = interfaces.map { interface in
            GenericRequest(family: family, command: UInt8(ETHTOOL_MSG_FEATURES_GET)) {
                $0.nest(Int(ETHTOOL_A_FEATURES_HEADER) | Int(NLA_F_NESTED)) {
                    $0.put(Int(ETHTOOL_A_HEADER_DEV_INDEX), UInt32(bitPattern: interface))
                }
            }
        }
        var found: [Int32: OffloadFeatures] = [:]
        try socket.get(requests) { (index, reply) throws(NetlinkError) in
            guard case .success(let (_, payload)) = reply else { return }
            found[interfaces[index]] = try OffloadFeatures(decoding: payload)
        }
        return found
    }

    /// Decodes an ETHTOOL_MSG_FEATURES_GET_REPLY: the names in its bit set ETHTOOL_A_FEATURES_ACTIVE.
    ///
    /// - Parameter payload: the message from `struct genlmsghdr` on.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        var features = OffloadFeatures()
        var attributes = AttributeReader(payload, from: GenericRequest.headerSize)
        while let attribute = attributes.next() {
            guard attribute.type == Int(ETHTOOL_A_FEATURES_ACTIVE) else { continue }
            let parts = Array(attribute.nested)
            // Without a mask the set names the bits that are on; with one each bit has its value.
            let isList = parts.contains { $0.type == Int(ETHTOOL_A_BITSET_NOMASK) }
            for bit in parts.filter({ $0.type == Int(ETHTOOL_A_BITSET_BITS) }).flatMap({ Array($0.nested) }) {
                var name = ""
                var isOn = isList
                for attribute in bit.nested {
                    switch attribute.type {
                    case Int(ETHTOOL_A_BITSET_BIT_NAME): name = attribute.text
                    case Int(ETHTOOL_A_BITSET_BIT_VALUE): isOn = true
                    default: break
                    }
                }
                if isOn, let known = OffloadFeatures.table.first(where: { $0.name == name }) {
                    features.insert(known.flag)
                }
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "ethtool message with an attribute that does not fit")
        }
        self = features
    }
}
