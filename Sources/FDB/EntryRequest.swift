import CNetlink
public import Netlink

/// One message about one bridge entry.
public struct EntryRequest: Request, Hashable, Sendable {
    /// RTM_NEWNEIGH, RTM_DELNEIGH or RTM_GETNEIGH.
    public let type: MessageType
    /// NLM_F_CREATE, NLM_F_REPLACE, NLM_F_EXCL.
    public let flags: MessageFlags
    /// The entry's key.
    public let address: Address
    /// The port's interface index; 0 in a get by bridge.
    public let port: Int32
    /// The bridge's interface index, for gets.
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

    /// Deletes an entry; the kernel wants its current port, and answers ENOENT for another.
    public static func delete(_ address: Address, port: Int32) -> EntryRequest {
        EntryRequest(
            type: .deleteNeighbour, flags: [], address: address, port: port, bridge: nil, state: [],
            entryFlags: .master)
    }

    /// Reads one entry of a bridge (kernel 5.0 and later); ENOENT when there is none.
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

/// A dump of one bridge's entries (RTM_GETNEIGH with NDA_MASTER; strict checking allows no other filter).
struct EntryDump: Request {
    let bridge: Int32

    var type: MessageType { .getNeighbour }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        var fixed = ndmsg()
        fixed.ndm_family = UInt8(AF_BRIDGE)
        body.put(fixed)
        body.put(Int(NDA_MASTER), UInt32(bitPattern: bridge))
    }
}
