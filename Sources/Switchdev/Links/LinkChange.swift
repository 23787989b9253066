public import Netlink

/// The part of a link notification that tells whom it concerns, without decoding the interface.
public struct LinkChange: Hashable, Sendable {
    /// The interface index.
    public let index: Int32
    /// The interface has gone, or has left its bridge (RTM_DELLINK).
    public let isRemoval: Bool
    /// It is of the bridge family: about the interface as a bridge port.
    public let isOfPort: Bool

    /// - Returns: nil for a message that is no link notification.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(_ header: MessageHeader, _ payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        guard header.type == .newLink || header.type == .deleteLink else { return nil }
        isRemoval = header.type == .deleteLink
        isOfPort = try Link.isOfBridgeFamily(payload)
        index = try Link.index(of: payload)
    }
}
