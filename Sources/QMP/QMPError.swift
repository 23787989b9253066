/// Why a monitor cannot be used.
public struct QMPError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of an error.
    public enum Code: Hashable, Sendable {
        /// The socket cannot be reached.
        case unreachable
        /// The other side closed the connection: QEMU ended, or took another client.
        case closed
        /// The other side does not speak QMP, or not within its bounds.
        case malformed
        /// QEMU refused to begin.
        case refused
        /// Nothing came in time.
        case timeout
    }

    /// The kind.
    public let code: Code
    /// What failed, and the system's own words.
    public let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
