import CNetlink
public import Netlink

/// One message about one bridge entry.
public struct EntryRequest: Request, Hashable, Sendable {
    /// An answer about one entry has about a hundred bytes.
    public static var replyLimit: Int? { 512 }
    /// RTM_NEWNEIGH, RTM_DELNEIGH or RTM_GETNEIGH.
    public let type: MessageType
    /// NLM_F_CREATE, NLM_F_REPLACE, NLM_F_EXCL.
    public let flags: MessageFlags
    /// The entry's key.
    public let address: Address
    /// The port's interface index; 0 in a request that reads by bridge.
    public let port: Int32
    /// The bridge's interface index, for requests that read.
    public let bridge: Int32?
    /// `ndm_state`.
    public let state: EntryState
    /// `ndm_flags`.
    public let entryFlags: EntryFlags

    /// Creates or changes an entry on a port (RTM_NEWNEIGH, NTF_MASTER; `fdb_add_entry` in net/bridge/br_fdb.c).
    ///
    /// Without `exclusive` an entry on another port is moved in place: software forwarding never misses it.
    ///
    /// - Parameters:
    ///   - address: the key.
    ///   - port: the port's interface index.
    ///   - state: `noARP` for a pinned entry, `reachable` for one that ages.
    ///   - flags: `create`, `replace`, `exclusive`.
    ///   - entryFlags: `sticky`, `use`, `externallyLearned`; `master` is added.
    public static func set(
        _ address: Address, port: Int32, state: EntryState, flags: MessageFlags, entryFlags: EntryFlags = []
    ) -> EntryRequest {
        EntryRequest(
            type: .newNeighbour, flags: flags, address: address, port: port, bridge: nil, state: state,
            entryFlags: entryFlags.union(.master))
    }

    /// Deletes an entry. The kernel needs its current port, and answers ENOENT for another.
    public static func delete(_ address: Address, port: Int32) -> EntryRequest {
        EntryRequest(
            type: .deleteNeighbour, flags: [], address: address, port: port, bridge: nil, state: [],
            entryFlags: .master)
    }

    /// Reads one entry of a bridge (kernel 5.0 and later). The kernel answers ENOENT if there is none.
    public static func get(_ address: Address, bridge: Int32) -> EntryRequest {
        EntryRequest(
            type: .getNeighbour, flags: [], address: address, port: 0, bridge: bridge, state: [],
            entryFlags: .master)
    }

    public func encode(into body: inout MessageBody) {
        var fixed = ndmsg()
        fixed.ndm_family = UInt8(AF_BRIDGE)
        fixed.ndm_ifindex = port
        fixed.ndm_state = state.rawValue
        fixed.ndm_flags = entryFlags.rawValue
        body.put(fixed)
        withUnsafeBytes(of: address.mac.octets) { body.put(Int(NDA_LLADDR), bytes: $0) }
        if let vlan = address.vlan { body.put(Int(NDA_VLAN), vlan.rawValue) }
        if let bridge { body.put(Int(NDA_MASTER), UInt32(bitPattern: bridge)) }
    }
}

extension EntryRequest {
    /// Appends the message laid out by hand, byte for byte as ``encode(into:)`` writes it. A call for each part of a
    /// message would cost more than the message.
    @inline(__always)
    public func append(to writer: inout MessageWriter, flags more: MessageFlags = [], sequence: UInt32) -> Bool {
        // Header, struct ndmsg, NDA_LLADDR; then the 16-bit and 32-bit attributes, 8 bytes each.
        var length = 40
        if address.vlan != nil { length += 8 }
        if bridge != nil { length += 8 }
        guard let message = writer.reserve(length) else { return false }
        message.storeBytes(of: UInt32(length), as: UInt32.self)
        message.storeBytes(of: type.rawValue, toByteOffset: 4, as: UInt16.self)
        message.storeBytes(of: flags.union(more).union(.request).rawValue, toByteOffset: 6, as: UInt16.self)
        message.storeBytes(of: sequence, toByteOffset: 8, as: UInt32.self)
        message.storeBytes(of: UInt8(AF_BRIDGE), toByteOffset: 16, as: UInt8.self)
        message.storeBytes(of: port, toByteOffset: 20, as: Int32.self)
        message.storeBytes(of: state.rawValue, toByteOffset: 24, as: UInt16.self)
        message.storeBytes(of: entryFlags.rawValue, toByteOffset: 26, as: UInt8.self)
        message.storeBytes(of: 10, toByteOffset: 28, as: UInt16.self)
        message.storeBytes(of: UInt16(NDA_LLADDR), toByteOffset: 30, as: UInt16.self)
        // The six octets and the padding.
        message.storeBytes(of: (address.mac.value << 16).bigEndian, toByteOffset: 32, as: UInt64.self)
        var end = 40
        if let vlan = address.vlan {
            message.storeBytes(of: 6, toByteOffset: end, as: UInt16.self)
            message.storeBytes(of: UInt16(NDA_VLAN), toByteOffset: end + 2, as: UInt16.self)
            message.storeBytes(of: vlan.rawValue, toByteOffset: end + 4, as: UInt16.self)
            end += 8
        }
        if let bridge {
            message.storeBytes(of: 8, toByteOffset: end, as: UInt16.self)
            message.storeBytes(of: UInt16(NDA_MASTER), toByteOffset: end + 2, as: UInt16.self)
            message.storeBytes(of: bridge, toByteOffset: end + 4, as: Int32.self)
        }
        return true
    }
}

/// A dump of one bridge's entries, or of one port's (RTM_GETNEIGH with NDA_MASTER; strict checking allows no other filter).
struct EntryDump: Request {
    let bridge: Int32
    var port: Int32?

    var type: MessageType { .getNeighbour }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        var fixed = ndmsg()
        fixed.ndm_family = UInt8(AF_BRIDGE)
        fixed.ndm_ifindex = port ?? 0
        body.put(fixed)
        body.put(Int(NDA_MASTER), UInt32(bitPattern: bridge))
    }
}
