import CNetlink
public import Netlink

/// Receives changes of bridge entries (RTNLGRP_NEIGH, family AF_BRIDGE), including this process's own.
///
/// The kernel does not announce that a driver offloaded an entry: poll for that. Open the monitor on a thread that is in
/// the bridge's network namespace.
public struct FDBMonitor: ~Copyable {
    /// One change.
    public struct Change: Hashable, Sendable {
        /// The entry after the change, or before it if the change is a removal.
        public let entry: Entry
        /// RTM_DELNEIGH instead of RTM_NEWNEIGH.
        public let isRemoval: Bool
    }

    private let socket: MonitorSocket

    /// - Throws: ``NetlinkError`` of code `system`.
    public init() throws(NetlinkError) {
        socket = try MonitorSocket(groups: [.neighbour])
    }

    /// For poll(2).
    public var descriptor: Int32 { socket.descriptor }

    /// Passes on all waiting notifications, without blocking.
    ///
    /// - Returns: true if the kernel dropped notifications: read the table again.
    /// - Throws: ``NetlinkError`` of codes `malformed`, `truncated`, `system`.
    public func drain(_ body: (Change) -> Void) throws(NetlinkError) -> Bool {
        var lost = false
        while true {
            do throws(NetlinkError) {
                guard
                    try socket.receive({ (header, payload) throws(NetlinkError) in
                        if let change = try FDBMonitor.change(header, payload) { body(change) }
                    })
                else { return lost }
            } catch {
                guard error.code == .overrun else { throw error }
                lost = true
            }
        }
    }

    /// Decodes one notification; nil if it is not a change of a bridge entry.
    public static func change(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> Change? {
        guard header.type == .newNeighbour || header.type == .deleteNeighbour,
            let entry = try Entry(decoding: payload), !entry.flags.contains(.selfTable)
        else { return nil }
        return Change(entry: entry, isRemoval: header.type == .deleteNeighbour)
    }
}
