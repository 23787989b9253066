import Netlink

/// A change of one entry by one primitive.
///
/// Which primitive is right depends on the two ports (docs/design.md): this type only knows what each does.
public struct EntryChange: Hashable, Sendable {
    /// How the change is made.
    public enum Primitive: String, Hashable, Sendable, Codable {
        /// RTM_NEWNEIGH CREATE|REPLACE: creates, or changes port and state in place; software never misses the entry,
        /// but the driver of the old port is told nothing (`fdb_add_entry`).
        case replace
        /// RTM_NEWNEIGH with NTF_USE: drivers get DEL for the old port and ADD for the new, software never misses the
        /// entry (`br_fdb_update`). Silently nothing when the entry is sticky, `ageing_time` is 0 or the port does not
        /// learn or forward; creates a dynamic entry when there was none.
        case use
        /// RTM_DELNEIGH, then RTM_NEWNEIGH CREATE|EXCL in the same send: a fresh entry, with a gap of microseconds.
        case deleteCreate = "delete-create"
        /// RTM_NEWNEIGH REPLACE with NUD_REACHABLE: gives a static entry back to ageing and learning.
        case makeDynamic = "make-dynamic"
        /// RTM_DELNEIGH.
        case delete
    }

    /// The key.
    public let address: Address
    /// How.
    public let primitive: Primitive
    /// The port that has the entry afterwards; for `delete` the one that loses it.
    public let port: Int32
    /// The port that has it before, where `deleteCreate` needs it.
    public let oldPort: Int32?
    /// The entry afterwards refuses to roam.
    public let sticky: Bool

    /// - Parameters:
    ///   - address: the key.
    ///   - primitive: how.
    ///   - port: interface index of the port that has the entry afterwards (`delete`: before).
    ///   - oldPort: the port that has it before; `deleteCreate` deletes it there.
    ///   - sticky: NTF_STICKY on the entry afterwards.
    public init(
        _ address: Address, _ primitive: Primitive, port: Int32, oldPort: Int32? = nil, sticky: Bool = false
    ) {
        self.address = address
        self.primitive = primitive
        self.port = port
        self.oldPort = oldPort
        self.sticky = sticky
    }

    /// The netlink messages that make the change, in order.
    public var requests: [EntryRequest] {
        let stickiness: EntryFlags = sticky ? .sticky : []
        switch primitive {
        case .replace:
            return [
                .set(address, port: port, state: .noARP, flags: [.create, .replace], entryFlags: stickiness)
            ]
        case .use:
            return [.set(address, port: port, state: .noARP, flags: [.create, .replace], entryFlags: .use)]
        case .deleteCreate:
            let fresh = EntryRequest.set(
                address, port: port, state: .noARP, flags: [.create, .exclusive], entryFlags: stickiness)
            guard let oldPort else { return [fresh] }
            return [.delete(address, port: oldPort), fresh]
        case .makeDynamic:
            return [.set(address, port: port, state: .reachable, flags: [.create, .replace])]
        case .delete:
            return [.delete(address, port: port)]
        }
    }
}
