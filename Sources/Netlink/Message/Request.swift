/// A netlink request: its type, flags and how to write what follows the header.
///
/// Encoders are pure: they write, say nothing about sockets and never send.
public protocol Request {
    /// What is asked (`nlmsg_type`).
    var type: MessageType { get }
    /// Flags beside NLM_F_REQUEST and NLM_F_ACK, which the socket sets.
    var flags: MessageFlags { get }
    /// The most bytes that its answer has, where that is known to be little: answers to many are then received together.
    static var replyLimit: Int? { get }
    /// Writes the fixed structure and the attributes.
    func encode(into body: inout MessageBody)
    /// Appends the whole message; false, and nothing appended, when it does not fit. A request that there are many of may lay
    /// itself out, byte for byte as ``encode(into:)`` does, which takes less time.
    func append(to writer: inout MessageWriter, flags: MessageFlags, sequence: UInt32) -> Bool
}

extension Request {
    public static var replyLimit: Int? { nil }

    public func append(to writer: inout MessageWriter, flags: MessageFlags, sequence: UInt32) -> Bool {
        writer.append(self, flags: flags, sequence: sequence)
    }
}
