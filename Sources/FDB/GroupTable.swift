import CNetlink
public import Netlink

/// The multicast database of one bridge: who has joined which group, and behind which ports routers are.
///
/// A kernel dump (`br_mdb_dump` in net/bridge/br_mdb.c) holds the groups of all bridges, and there is no filter. A part
/// that fits one message is consistent, as it is read under RCU in one go; further parts resume by position, and
/// NLM_F_DUMP_INTR tells of devices that come and go only: a group that vanishes meanwhile makes others be skipped. So a
/// dump in several parts is repeated until nothing was removed meanwhile; where the groups never rest, ``isExact`` is false and the table
/// holds what the last dumps showed, put together.
public struct GroupTable: Hashable, Sendable {
    /// Interface index of the bridge.
    public let bridge: Int32
    /// The memberships, those of the host among them. With `multicast_to_unicast` a port has one for each member.
    public let entries: [GroupEntry]
    /// The ports that get all groups.
    public let routers: [RouterPort]
    /// No membership was missed.
    public let isExact: Bool
    /// A guest may join thousands of groups: looking each up in a list would take seconds.
    private let positions: [Place: Int]?
    /// Shorter lists are as quick to look through, and the first dictionary of a type takes a process long to make.
    private static let searchLimit = 16

    private struct Place: Hashable {
        let port: Int32
        let key: GroupKey
    }

    /// Dumps before a restless table is taken as it comes.
    private static let dumpLimit = 8

    /// Makes a table from its parts.
    public init(bridge: Int32, entries: [GroupEntry], routers: [RouterPort] = [], isExact: Bool = true) {
        self.bridge = bridge
        self.entries = entries
        self.routers = routers
        self.isExact = isExact
        positions =
            entries.count <= GroupTable.searchLimit
            ? nil
            : Dictionary(entries.enumerated().map { (Place(port: $1.port, key: $1.key), $0) }) { first, _ in first }
    }

    /// The memberships of a port.
    public func entries(on port: Int32) -> [GroupEntry] { entries.filter { $0.port == port } }

    /// The memberships of a port in one group.
    public func entry(_ key: GroupKey, on port: Int32) -> GroupEntry? {
        guard let positions else { return entries.first { $0.port == port && $0.key == key } }
        return positions[Place(port: port, key: key)].map { entries[$0] }
    }

    /// Whether a port gets the frames of a group because of a router behind it.
    public func isRouter(_ port: Int32, for key: GroupKey) -> Bool {
        routers.contains { $0.port == port && $0.serves(key) }
    }

    /// Reads the groups of a bridge.
    ///
    /// - Parameters:
    ///   - bridge: the bridge's interface index.
    ///   - socket: in the bridge's namespace.
    /// - Throws: ``NetlinkError``: `refused` with EOPNOTSUPP by a kernel without snooping; `interrupted`, `overrun` or
    ///   `malformed` when no dump could be trusted.
    /// - Complexity: one dump of the groups of all bridges, two where they do not fit one message (about 500 memberships).
    public static func snapshot(bridge: Int32, using socket: inout CommandSocket) throws(NetlinkError) -> GroupTable {
        let first = try? read(bridge, using: &socket)
        if let first, first.parts <= 1 {
            return GroupTable(bridge: bridge, entries: first.entries, routers: first.routers)
        }
        // Parts resume by position: what is removed between two of them makes live memberships vanish. So removals are heard.
        let monitor = try MonitorSocket(groups: [.mdb])
        var last: Dump?
        for attempt in 1...dumpLimit {
            let dump: Dump
            do throws(NetlinkError) {
                dump = try read(bridge, using: &socket)
            } catch {
                guard error.code == .interrupted, attempt < dumpLimit else { throw error }
                continue
            }
            if try !heardRemoval(monitor) {
                return GroupTable(bridge: bridge, entries: dump.entries, routers: dump.routers)
            }
            last = dump.joined(with: last)
        }
        return GroupTable(
            bridge: bridge, entries: last?.entries ?? [], routers: last?.routers ?? [], isExact: false)
    }

    /// Whether a membership was removed since the last call, or notifications were lost.
    private static func heardRemoval(_ monitor: borrowing MonitorSocket) throws(NetlinkError) -> Bool {
        var found = false
        while true {
            do throws(NetlinkError) {
                let more = try monitor.receive { (header, _) throws(NetlinkError) in
                    if header.type == .deleteGroup { found = true }
                }
                if !more { return found }
            } catch {
                guard error.code == .overrun else { throw error }
                found = true
            }
        }
    }

    fileprivate struct Member: Hashable {
        let port: Int32
        let key: GroupKey
        let state: GroupState
    }

    private struct Dump {
        var entries: [GroupEntry] = []
        var routers: [RouterPort] = []
        var parts = 0

        /// With what an earlier one held and this one may have skipped.
        func joined(with other: Dump?) -> Dump {
            guard let other else { return self }
            let own = Set(entries.map(\.member))
            var result = self
            result.entries += other.entries.filter { !own.contains($0.member) }
            return result
        }
    }

    private static func read(_ bridge: Int32, using socket: inout CommandSocket) throws(NetlinkError) -> Dump {
        var dump = Dump()
        try socket.dump(GroupDump()) { (header, payload) throws(NetlinkError) in
            guard header.type == .getGroup || header.type == .newGroup else { return }
            let message = try GroupMessage(decoding: payload)
            guard message.bridge == bridge else { return }
            dump.parts += 1
            dump.entries += message.entries
            dump.routers += message.routers
        }
        return dump
    }
}

extension GroupEntry {
    fileprivate var member: GroupTable.Member { .init(port: port, key: key, state: state) }
}

/// A dump of all bridges' groups (RTM_GETMDB; strict checking refuses an interface index in it).
private struct GroupDump: Request {
    var type: MessageType { .getGroup }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        body.put(GroupHeader(bridge: 0))
    }
}
