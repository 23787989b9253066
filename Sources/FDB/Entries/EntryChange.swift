import Netlink

/// A change of one entry by one primitive.
///
/// The right primitive depends on the two ports (docs/design.md). This type only knows what each primitive does.
public struct EntryChange: Hashable, Sendable {
    /// How the change is made.
    public enum Primitive: String, Hashable, Sendable, Codable, CaseIterable {
        /// RTM_NEWNEIGH CREATE|REPLACE creates an entry, or changes port and state in place. Software never misses the
        /// entry, but the driver of the old port gets no notification (`fdb_add_entry`).
        case replace
        /// RTM_NEWNEIGH with NTF_USE: drivers get DEL for the old port and ADD for the new one, and software never misses
        /// the entry (`br_fdb_update`). It silently does nothing if the entry is sticky, if `ageing_time` is 0, or if the
        /// port does not learn or forward. It creates a dynamic entry if there was none.
        case use
        /// ``use``, then ``replace`` in the same send: what a control plane has on another port becomes ours. A change in place leaves
        /// NTF_EXT_LEARNED on the entry (`fdb_add_entry`), a move by NTF_USE takes it away (`br_fdb_update`); the entry is not
        /// made static by that. Where NTF_USE does nothing, the flag stays.
        case takeOver = "take-over"
        /// RTM_DELNEIGH, then RTM_NEWNEIGH CREATE|REPLACE in the same send: a fresh entry, with a gap of microseconds.
        /// Without EXCL, because a driver's refresh of a learned entry can fall between the two; the re-read after the
        /// barrier shows which one won.
        case deleteCreate = "delete-create"
        /// RTM_NEWNEIGH on an eswitch port, then NTF_USE back to the software port, in the same send. The driver takes the
        /// entry over and then deletes it, which removes a rule that an in-place move left in hardware.
        case reseat
        /// RTM_DELNEIGH, then RTM_NEWNEIGH with NUD_REACHABLE in the same send: hardware forgets the entry, and software
        /// keeps one that ages. Drivers get no notification of that entry, not even when it ages out.
        case recreateDynamic = "recreate-dynamic"
        /// RTM_NEWNEIGH REPLACE with NUD_REACHABLE: returns a static entry to ageing and learning.
        case makeDynamic = "make-dynamic"
        /// RTM_DELNEIGH, then RTM_NEWNEIGH with NTF_EXT_LEARNED in the same send: the entry is a control plane's, which does
        /// not age (`br_fdb_external_learn_add`). That message changes neither a static entry's state nor its age, so the
        /// entry is made anew.
        case recreateExternal = "recreate-extern-learn"
        /// RTM_NEWNEIGH REPLACE with NUD_REACHABLE on an entry that has NTF_EXT_LEARNED, which stays (`fdb_add_entry`): it is a control
        /// plane's alone again, and the bridge does not age it.
        case makeExternal = "make-extern-learn"
        /// RTM_DELNEIGH.
        case delete
    }

    /// The key.
    public let address: Address
    /// The primitive that makes the change.
    public let primitive: Primitive
    /// The port that has the entry afterwards; for `delete` the port that loses it.
    public let port: Int32
    /// The port that has the entry before. `deleteCreate` and the two `recreate` delete it there; `reseat` goes through it.
    public let oldPort: Int32?
    /// Learning cannot move the entry afterwards.
    public let sticky: Bool

    /// - Parameters:
    ///   - address: the key.
    ///   - primitive: the primitive that makes the change.
    ///   - port: interface index of the port that has the entry afterwards (`delete`: before).
    ///   - oldPort: the port that has the entry before, or the one that `reseat` goes through.
    ///   - sticky: sets NTF_STICKY on the entry.
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
        let (first, second) = messages
        return second.map { [first, $0] } ?? [first]
    }

    /// The one or two messages that make the change. Inlined, so a caller that needs the first does not build the second.
    @inline(__always)
    var messages: (EntryRequest, EntryRequest?) {
        switch primitive {
        case .replace: (pin(port, sticky ? .sticky : []), nil)
        case .use: (pin(port, .use), nil)
        case .takeOver: (pin(port, .use), pin(port, sticky ? .sticky : []))
        case .deleteCreate: (.delete(address, port: oldPort ?? port), pin(port, sticky ? .sticky : []))
        case .reseat: (pin(oldPort ?? port), pin(port, .use))
        case .recreateDynamic: (.delete(address, port: oldPort ?? port), age)
        case .recreateExternal: (.delete(address, port: oldPort ?? port), external)
        case .makeDynamic, .makeExternal: (age, nil)
        case .delete: (.delete(address, port: port), nil)
        }
    }

    @inline(__always)
    private func pin(_ port: Int32, _ entryFlags: EntryFlags = []) -> EntryRequest {
        .set(address, port: port, state: .noARP, flags: [.create, .replace], entryFlags: entryFlags)
    }

    @inline(__always)
    private var age: EntryRequest { .set(address, port: port, state: .reachable, flags: [.create, .replace]) }

    private var external: EntryRequest {
        .set(address, port: port, state: .reachable, flags: [.create, .replace], entryFlags: .externallyLearned)
    }
}

extension EntryChange.Primitive {
    /// The change takes two messages.
    var isPair: Bool {
        switch self {
        case .takeOver, .deleteCreate, .reseat, .recreateDynamic, .recreateExternal: true
        case .replace, .use, .makeDynamic, .makeExternal, .delete: false
        }
    }
}
