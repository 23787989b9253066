/// A netlink request: its type, flags and how to write what follows the header.
///
/// Encoders are pure: they write, say nothing about sockets and never send.
public protocol Request {
    /// What is asked (`nlmsg_type`).
    var type: MessageType { get }
    /// Flags beside NLM_F_REQUEST and NLM_F_ACK, which the socket sets.
    var flags: MessageFlags { get }
    /// Writes the fixed structure and the attributes.
    func encode(into body: inout MessageBody)
}
