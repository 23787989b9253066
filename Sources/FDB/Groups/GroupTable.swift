import CNetlink
public import Netlink

/// The multicast database of one bridge, or what concerns some of its ports: who has joined which group, and behind
/// which ports routers are.
public struct GroupTable: Hashable, Sendable {
    /// Interface index of the bridge.
    public let bridge: Int32
    /// The memberships, those of the host among them where the whole bridge was read. With `multicast_to_unicast` a port
    /// has one for each member.
    public let entries: [GroupEntry]
    /// The ports that get all groups.
    public let routers: [RouterPort]
    /// No membership was missed.
    public let isExact: Bool
    /// It was read just now. In one that was kept (``GroupWatch``) the timers are those of when each membership was told of:
    /// nobody tells that a report refreshed one.
    public let hasTimers: Bool
    /// A guest may join thousands of groups: looking each up in a list would take seconds.
    private let positions: [Place: Int]?
    /// Shorter lists are as quick to look through, and the first dictionary of a type takes a process long to make.
    static let searchLimit = 16

    private struct Place: Hashable {
        let port: Int32
        let key: GroupKey
    }

    /// Makes a table from its parts.
    public init(
        bridge: Int32, entries: [GroupEntry], routers: [RouterPort] = [], isExact: Bool = true, hasTimers: Bool = true
    ) {
        self.bridge = bridge
        self.entries = entries
        self.routers = routers
        self.isExact = isExact
        self.hasTimers = hasTimers
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

    /// Reads the groups of a bridge, once: who reads them again, and often, has a ``GroupWatch``.
    ///
    /// - Parameters:
    ///   - bridge: the bridge's interface index.
    ///   - socket: in the bridge's namespace; the calling thread must be there too, as a monitor is opened.
    /// - Throws: ``NetlinkError``, as ``GroupWatch/groups(of:on:using:)`` does.
    public static func snapshot(bridge: Int32, using socket: inout CommandSocket) throws(NetlinkError) -> GroupTable {
        var watch = try GroupWatch()
        return try watch.read(bridge, on: nil, using: &socket)
    }
}
