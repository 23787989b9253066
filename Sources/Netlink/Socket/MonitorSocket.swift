import CNetlink

/// A multicast group of rtnetlink (`enum rtnetlink_groups`).
public struct MulticastGroup: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int32

    /// - Parameter rawValue: the group's number.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// Link changes. The corresponding C constant is `RTNLGRP_LINK`.
    public static let link = MulticastGroup(rawValue: Int32(RTNLGRP_LINK.rawValue))
    /// Neighbour changes, including those of bridge FDB entries. The corresponding C constant is `RTNLGRP_NEIGH`.
    public static let neighbour = MulticastGroup(rawValue: Int32(RTNLGRP_NEIGH.rawValue))
    /// Multicast group memberships and router ports of bridges. The corresponding C constant is `RTNLGRP_MDB`.
    public static let mdb = MulticastGroup(rawValue: Int32(RTNLGRP_MDB.rawValue))
}

/// A socket that receives the kernel's notifications; it never blocks.
///
/// When the receive buffer (832 bytes a notification) is full, messages are lost and the next read throws `overrun` once.
/// A copy of the kernel's state must then be read again. Drain the socket first: what is still queued predates the loss.
public struct MonitorSocket: ~Copyable {
    private let socket: SocketDescriptor
    private let buffer = ReceiveBuffer()

    /// Opens the socket in the calling thread's network namespace and joins the groups.
    ///
    /// - Parameters:
    ///   - groups: the groups to join.
    ///   - receiveBuffer: the size of the receive buffer to ask for, in bytes: 832 for each notification that has to wait.
    /// - Throws: ``NetlinkError`` of code `system`.
    public init(groups: [MulticastGroup], receiveBuffer: Int32 = 8 << 20) throws(NetlinkError) {
        let socket = try SocketDescriptor(receiveBuffer: receiveBuffer, nonBlocking: true)
        for group in groups {
            try socket.set(NETLINK_ADD_MEMBERSHIP, group.rawValue, named: "NETLINK_ADD_MEMBERSHIP")
        }
        self.socket = socket
    }

    /// For poll(2): readable when notifications or an overrun are waiting.
    public var descriptor: Int32 { socket.descriptor }

    /// Passes on the notifications of one datagram.
    ///
    /// - Returns: false if nothing was waiting.
    /// - Throws: ``NetlinkError``: `overrun` if notifications were lost, `malformed` or `truncated` for bytes that no kernel
    ///   sends, or what `body` throws.
    public func receive(
        _ body: (MessageHeader, UnsafeRawBufferPointer) throws(NetlinkError) -> Void
    ) throws(NetlinkError) -> Bool {
        guard let datagram = try socket.receive(into: buffer) else { return false }
        var reader = MessageReader(datagram)
        while let (header, payload) = try reader.next() { try body(header, payload) }
        return true
    }
}
