/// A netlink request: its type, its flags, and the encoder of what follows the header.
///
/// Encoders only write: they know no socket and never send.
public protocol Request {
    /// The type of the request (`nlmsg_type`).
    var type: MessageType { get }
    /// Flags in addition to NLM_F_REQUEST and NLM_F_ACK, which the socket sets.
    var flags: MessageFlags { get }
    /// The most bytes that an answer has, if that is known to be small: answers to several requests are then received together.
    static var replyLimit: Int? { get }
    /// Writes the fixed structure and the attributes.
    func encode(into body: inout MessageBody)
    /// Appends the whole message; returns false, with nothing appended, if it does not fit. A frequent request may lay itself
    /// out here, byte for byte as ``encode(into:)`` does, which is faster.
    func append(to writer: inout MessageWriter, flags: MessageFlags, sequence: UInt32) -> Bool
}

extension Request {
    public static var replyLimit: Int? { nil }

    public func append(to writer: inout MessageWriter, flags: MessageFlags, sequence: UInt32) -> Bool {
        writer.append(self, flags: flags, sequence: sequence)
    }
}
