import CNetlink
public import Netlink

/// One message that makes a bridge port join a group, or removes it from one (`br_mdb_add`, `br_mdb_del` in
/// net/bridge/br_mdb.c).
///
/// The tests show what Linux 6.18 does. A *temporary* membership made by this request ages like one made by a report
/// (`multicast_membership_interval`, 260 s): reports on its port refresh it, and a leave removes it. Neither affects a
/// *permanent* one. A membership that the port already has is refused with EEXIST. NLM_F_REPLACE on 6.3 and later
/// replaces it and restarts the timer; older kernels answer EEXIST to that too. The kernel refuses a port that does not
/// forward (for temporary memberships), a bridge that is down or does not snoop, 224.0.0.0/24, ff02::1, and temporary
/// memberships of groups that are not IP groups. Removing a membership that does not exist is EINVAL.
public struct GroupRequest: Request, Hashable, Sendable {
    /// RTM_NEWMDB or RTM_DELMDB.
    public let type: MessageType
    /// NLM_F_CREATE, NLM_F_REPLACE.
    public let flags: MessageFlags
    /// Interface index of the bridge.
    public let bridge: Int32
    /// Interface index of the port.
    public let port: Int32
    /// Group, source, VLAN.
    public let key: GroupKey
    /// Whether it ages.
    public let state: GroupState
    /// MDBE_ATTR_GROUP_MODE (kernel 6.3 and later); nil is EXCLUDE.
    public let mode: GroupFilterMode?
    /// MDBE_ATTR_SRC_LIST (kernel 6.3 and later).
    public let sources: [IPAddress]
    /// MDBE_ATTR_RTPROT (kernel 6.3 and later); nil is RTPROT_STATIC.
    public let `protocol`: GroupProtocol?

    /// Makes a port join a group.
    ///
    /// - Parameters:
    ///   - key: the group to join.
    ///   - port: interface index of the port.
    ///   - bridge: interface index of the bridge.
    ///   - state: whether the membership ages.
    ///   - renewing: replaces an existing membership, which restarts its timer.
    ///   - mode: the meaning of `sources`.
    ///   - sources: for (\*,G) only; the kernel makes the (S,G) that follow from them.
    ///   - protocol: the origin of the membership.
    public static func join(
        _ key: GroupKey, port: Int32, bridge: Int32, state: GroupState, renewing: Bool = false,
        mode: GroupFilterMode? = nil, sources: [IPAddress] = [], protocol: GroupProtocol? = nil
    ) -> GroupRequest {
        GroupRequest(
            type: .newGroup, flags: renewing ? [.create, .replace] : [.create], bridge: bridge, port: port, key: key,
            state: state, mode: mode, sources: sources, protocol: `protocol`)
    }

    /// Removes a port from a group, together with the (S,G) that the kernel made from a (\*,G).
    public static func leave(_ key: GroupKey, port: Int32, bridge: Int32) -> GroupRequest {
        GroupRequest(
            type: .deleteGroup, flags: [], bridge: bridge, port: port, key: key, state: .temporary, mode: nil,
            sources: [], protocol: nil)
    }

    /// It replaces a membership that the port already has.
    public var isRenewal: Bool { flags.contains(.replace) }

    /// The nearest equivalent on kernels before 6.3, which answer EINVAL to source lists, modes and protocols: one (S,G)
    /// for each source of an INCLUDE, and the whole group for an EXCLUDE. Nil if the request uses none of these.
    public var simplified: [GroupRequest]? {
        guard mode != nil || !sources.isEmpty || `protocol` != nil else { return nil }
        func plain(_ key: GroupKey) -> GroupRequest { .join(key, port: port, bridge: bridge, state: state) }
        guard mode == .include else { return [plain(key)] }
        return sources.map { plain(GroupKey(key.group, source: $0, vlan: key.vlan)) }
    }

    /// Requests that remove what this request, or ``simplified``, made.
    public var undo: [GroupRequest] {
        let all = [key] + (mode == .include ? sources.map { GroupKey(key.group, source: $0, vlan: key.vlan) } : [])
        return all.map { .leave($0, port: port, bridge: bridge) }
    }

    public func encode(into body: inout MessageBody) {
        body.put(GroupHeader(bridge: bridge))
        encodeEntry().withUnsafeBytes { body.put(Int(MDBA_SET_ENTRY), bytes: $0) }
        guard key.source != nil || mode != nil || !sources.isEmpty || `protocol` != nil else { return }
        // The kernel only reads the attributes if the nest is marked as one (`nla_parse_nested`).
        body.nest(Int(MDBA_SET_ENTRY_ATTRS) | Int(NLA_F_NESTED)) { encodeAttributes(into: &$0) }
    }

    /// `struct br_mdb_entry`, field by field: a copy of the structure would send the content of its padding.
    private func encodeEntry() -> [UInt8] {
        typealias Layout = MemoryLayout<br_mdb_entry>
        var bytes = [UInt8](repeating: 0, count: Layout.size)
        func put<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at field: PartialKeyPath<br_mdb_entry>) {
            guard let offset = Layout.offset(of: field) else { return }
            bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: T.self) }
        }
        put(port, at: \.ifindex)
        put(state.rawValue, at: \.state)
        put(key.vlan?.rawValue ?? 0, at: \.vid)
        let octets: [UInt8]
        switch key.group {
        case .ip(let address):
            octets = address.octets
            put(UInt16(address.isIPv6 ? ETH_P_IPV6 : ETH_P_IP).bigEndian, at: \.addr.proto)
        case .mac(let address):
            octets = withUnsafeBytes(of: address.octets) { Array($0) }
        }
        if let offset = Layout.offset(of: \.addr) {
            bytes.replaceSubrange(offset..<(offset + octets.count), with: octets)
        }
        return bytes
    }

    private func encodeAttributes(into body: inout MessageBody) {
        if let source = key.source { source.octets.withUnsafeBytes { body.put(Int(MDBE_ATTR_SOURCE), bytes: $0) } }
        if !sources.isEmpty {
            body.nest(Int(CN_MDBE_ATTR_SRC_LIST) | Int(NLA_F_NESTED)) { list in
                for source in sources {
                    list.nest(Int(CN_MDBE_SRC_LIST_ENTRY) | Int(NLA_F_NESTED)) { entry in
                        source.octets.withUnsafeBytes {
                            entry.put(Int(CN_MDBE_SRCATTR_ADDRESS), bytes: $0)
                        }
                    }
                }
            }
        }
        if let mode { body.put(Int(CN_MDBE_ATTR_GROUP_MODE), mode.rawValue) }
        if let `protocol` { body.put(Int(CN_MDBE_ATTR_RTPROT), `protocol`.rawValue) }
    }
}

extension GroupRequest: CustomStringConvertible {
    /// The request in words, without names.
    public var description: String {
        "\(type == .deleteGroup ? "leave" : "join") \(key) on ifindex \(port)"
    }
}

/// `struct br_port_msg` with explicit padding, which would otherwise send the content of the stack.
struct GroupHeader: BitwiseCopyable {
    private let family = UInt8(AF_BRIDGE)
    private let padding: (UInt8, UInt8, UInt8) = (0, 0, 0)
    private let bridge: Int32

    /// - Parameter bridge: its interface index; 0 in a dump, which has no filter.
    init(bridge: Int32) { self.bridge = bridge }
}
