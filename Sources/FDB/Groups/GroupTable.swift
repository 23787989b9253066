import CNetlink
public import Netlink

/// The multicast database of one bridge, or the part about some of its ports: which ports have joined which groups, and
/// which ports have routers behind them.
public struct GroupTable: Hashable, Sendable {
    /// Interface index of the bridge.
    public let bridge: Int32
    /// The memberships, including the host's if the whole bridge was read. With `multicast_to_unicast` a port has one for
    /// each member.
    public let entries: [GroupEntry]
    /// The ports that get the frames of all groups.
    public let routers: [RouterPort]
    /// No membership was missed.
    public let isExact: Bool
    /// True if it was just read. In a kept table (``GroupWatch``) each timer is that of the membership's last notification,
    /// because the kernel does not announce that a report refreshed a membership.
    public let hasTimers: Bool
    /// An index, because a guest may join thousands of groups, and searching a list for each would take seconds.
    private let positions: [Place: Int]?
    /// Shorter lists are searched as fast, and the first dictionary of a type costs a process a long time.
    static let searchLimit = 16

    private struct Place: Hashable {
        let port: Int32
        let key: GroupKey
    }

    /// Makes a table from its fields.
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

    /// Whether a router behind a port makes it get the frames of a group.
    public func isRouter(_ port: Int32, for key: GroupKey) -> Bool {
        routers.contains { $0.port == port && $0.serves(key) }
    }

    /// Reads the groups of a bridge once. Use a ``GroupWatch`` to read them repeatedly.
    ///
    /// - Parameters:
    ///   - bridge: the bridge's interface index.
    ///   - socket: in the bridge's namespace; the calling thread must be in it too, because a monitor is opened.
    /// - Throws: ``NetlinkError``, as ``GroupWatch/groups(of:on:using:)`` does.
    public static func snapshot(bridge: Int32, using socket: inout CommandSocket) throws(NetlinkError) -> GroupTable {
        var watch = try GroupWatch()
        return try watch.read(bridge, on: nil, using: &socket)
    }
}
