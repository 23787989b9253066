/// The reason why a monitor cannot be used.
public struct QMPError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of an error.
    public enum Code: Hashable, Sendable {
        /// The socket cannot be reached.
        case unreachable
        /// The other side closed the connection: QEMU ended, or accepted another client.
        case closed
        /// The other side does not speak QMP, or exceeds a limit.
        case malformed
        /// QEMU refused the negotiation.
        case refused
        /// No answer arrived in time.
        case timeout
        /// Another client has the monitor, which serves one at a time.
        case busy
    }

    /// Waiting does not help: nobody listens, it may not be reached, it is no QEMU monitor, or it refuses.
    public var isFinal: Bool { [.unreachable, .malformed, .refused].contains(code) }

    /// The kind.
    public let code: Code
    /// What failed, with the system's own text.
    public let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
