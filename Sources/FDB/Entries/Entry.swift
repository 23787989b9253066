import CNetlink
public import Netlink

/// One entry of a bridge's forwarding database, as the kernel shows it.
public struct Entry: Hashable, Sendable {
    /// Ages of an entry (`struct nda_cacheinfo`), in hundredths of a second (USER_HZ).
    public struct CacheInfo: Hashable, Sendable {
        /// The time since a frame last used it.
        public let used: UInt32
        /// The time since it was last changed or refreshed.
        public let updated: UInt32
    }

    /// The key.
    public let address: Address
    /// The interface index of the port, or of the bridge for entries of the bridge itself.
    public let port: Int32
    /// The interface index of the bridge (NDA_MASTER); nil for entries of a device's own list.
    public let bridge: Int32?
    /// `ndm_state`.
    public let state: EntryState
    /// `ndm_flags`.
    public let flags: EntryFlags
    /// NDA_FLAGS_EXT; empty on kernels before 6.2.
    public let extendedFlags: EntryExtendedFlags
    /// NDA_CACHEINFO, if the kernel sent it.
    public let cache: CacheInfo?

    /// Frames are delivered to the host instead of a port: `NUD_PERMANENT`.
    public var isLocal: Bool { state.contains(.permanent) }
    /// The entry forwards and does not age: `NUD_NOARP`.
    public var isStatic: Bool { state.contains(.noARP) && !isLocal }
    /// The entry was learned or made by a user, and ages.
    public var isDynamic: Bool { !isStatic && !isLocal }
    /// Learning does not move the entry.
    public var isSticky: Bool { flags.contains(.sticky) }
    /// The entry is a control plane's, or a driver's: `NTF_EXT_LEARNED`, and not static. The bridge does not age it.
    public var isControlPlanes: Bool { isDynamic && flags.contains(.externallyLearned) }

    /// Makes an entry from its fields.
    public init(
        address: Address, port: Int32, bridge: Int32?, state: EntryState, flags: EntryFlags = [],
        extendedFlags: EntryExtendedFlags = [], cache: CacheInfo? = nil
    ) {
        self.address = address
        self.port = port
        self.bridge = bridge
        self.state = state
        self.flags = flags
        self.extendedFlags = extendedFlags
        self.cache = cache
    }

    /// Decodes the payload of an RTM_NEWNEIGH or RTM_DELNEIGH message of family AF_BRIDGE.
    ///
    /// - Returns: nil if the payload is not a unicast FDB entry: other families, entries without NDA_LLADDR, multicast and zero
    ///   MACs, reserved VLAN ids.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let size = MemoryLayout<ndmsg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "neighbour message of \(payload.count) bytes where \(size) are the least")
        }
        let fixed = payload.loadUnaligned(as: ndmsg.self)
        guard fixed.ndm_family == UInt8(AF_BRIDGE) else { return nil }
        var mac: MACAddress?
        var number: UInt16 = 0
        var bridge: Int32?
        var extended = EntryExtendedFlags()
        var cache: CacheInfo?
        var attributes = AttributeReader(payload, from: size)
        while let attribute = attributes.next() {
            switch attribute.type {
            case Int(NDA_LLADDR): mac = MACAddress(octets: attribute.bytes)
            case Int(NDA_VLAN): number = attribute.integer() ?? 0
            case Int(NDA_MASTER): bridge = attribute.integer()
            case Int(NDA_FLAGS_EXT): extended = EntryExtendedFlags(rawValue: attribute.integer() ?? 0)
            case Int(NDA_CACHEINFO):
                // confirmed, used, updated, refcnt: four 32-bit numbers.
                if attribute.bytes.count >= 12 {
                    cache = CacheInfo(
                        used: attribute.bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self),
                        updated: attribute.bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
                }
            default: break
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "neighbour message with an attribute that does not fit")
        }
        guard let mac, let address = Address(mac, vlanNumber: number) else { return nil }
        self.init(
            address: address, port: fixed.ndm_ifindex, bridge: bridge, state: EntryState(rawValue: fixed.ndm_state),
            flags: EntryFlags(rawValue: fixed.ndm_flags), extendedFlags: extended, cache: cache)
    }
}

extension Entry: CustomStringConvertible {
    /// The entry as `bridge fdb show` prints it, but without names: `52:54:00:12:34:56 ifindex 7 static sticky offload`.
    public var description: String { "\(address) ifindex \(port) \(words.joined(separator: " "))" }

    /// State and flags as `bridge fdb show` prints them.
    public var words: [String] {
        var words = [isLocal ? "permanent" : isStatic ? "static" : state.contains(.stale) ? "stale" : "dynamic"]
        if flags.contains(.externallyLearned) { words.append("extern_learn") }
        if flags.contains(.offloaded) { words.append("offload") }
        if isSticky { words.append("sticky") }
        if flags.contains(.router) { words.append("router") }
        if extendedFlags.contains(.locked) { words.append("locked") }
        return words
    }
}
