/// Walks the netlink messages of one datagram and checks every length in it.
///
/// The framing is that of netlink(7): a 16-byte header, a payload, padding to 4 bytes. Bytes after the last whole message
/// are an error, because the kernel never sends them.
public struct MessageReader {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    /// - Parameter bytes: one datagram; it must outlive the reader.
    public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The next message, or nil at the end.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` if a header is short or its length exceeds the datagram.
    public mutating func next() throws(NetlinkError) -> (header: MessageHeader, payload: UnsafeRawBufferPointer)? {
        let left = bytes.count - offset
        if left <= 0 { return nil }
        guard left >= MessageHeader.size else {
            throw NetlinkError(.malformed, "netlink datagram ends in \(left) stray bytes, less than a header")
        }
        let start = offset
        let length = Int(bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
        guard length >= MessageHeader.size, length <= left else {
            throw NetlinkError(.malformed, "netlink message claims \(length) bytes where \(left) are left")
        }
        let header = MessageHeader(
            length: length,
            type: MessageType(rawValue: bytes.loadUnaligned(fromByteOffset: start + 4, as: UInt16.self)),
            flags: MessageFlags(rawValue: bytes.loadUnaligned(fromByteOffset: start + 6, as: UInt16.self)),
            sequence: bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt32.self),
            portID: bytes.loadUnaligned(fromByteOffset: start + 12, as: UInt32.self)
        )
        offset = min(bytes.count, start + aligned(length))
        // The bounds were just checked; a slice would check them again.
        let payload = UnsafeRawBufferPointer(
            start: bytes.baseAddress.map { $0 + start + MessageHeader.size }, count: length - MessageHeader.size)
        return (header, payload)
    }
}

/// Rounds up to the 4-byte alignment of netlink messages and attributes (`NLMSG_ALIGN`, `NLA_ALIGN`).
@inlinable @inline(__always)
package func aligned(_ length: Int) -> Int { (length + 3) & ~3 }
