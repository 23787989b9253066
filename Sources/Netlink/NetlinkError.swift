public import System

/// A failure of netlink communication between this process and the kernel.
///
/// ``extack`` has the text of the kernel's extended acknowledgement verbatim.
public struct NetlinkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of an error. The type is open, so a later version can add one.
    public struct Code: RawRepresentable, Hashable, Sendable {
        public let rawValue: String

        /// - Parameter rawValue: a lower-case word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// A system call failed; ``NetlinkError/errno`` says how.
        public static let system = Code(rawValue: "system")
        /// The kernel refused a request; ``NetlinkError/errno`` and ``NetlinkError/extack`` say why.
        public static let refused = Code(rawValue: "refused")
        /// A reply is malformed: short, misaligned, or with the wrong sender or sequence number.
        public static let malformed = Code(rawValue: "malformed")
        /// A datagram did not fit the receive buffer.
        public static let truncated = Code(rawValue: "truncated")
        /// A change interrupted a dump (NLM_F_DUMP_INTR): its content cannot be trusted.
        public static let interrupted = Code(rawValue: "interrupted")
        /// Replies or notifications were lost because the receive buffer was full (ENOBUFS).
        public static let overrun = Code(rawValue: "overrun")
        /// A request does not fit the send buffer.
        public static let oversized = Code(rawValue: "oversized")
        /// The kernel did not answer in time.
        public static let timeout = Code(rawValue: "timeout")
    }

    /// The error's fields, behind one reference: a batch stores an error slot for each of its requests, and a thrown error fits a
    /// register.
    private final class Parts: Sendable {
        let code: Code
        let message: String
        let errno: KernelErrno?
        let extack: String?

        init(code: Code, message: String, errno: KernelErrno?, extack: String?) {
            self.code = code
            self.message = message
            self.errno = errno
            self.extack = extack
        }
    }

    private let parts: Parts

    /// The kind.
    public var code: Code { parts.code }
    /// The attempted operation, in words.
    public var message: String { parts.message }
    /// The kernel's error number, if there is one.
    public var errno: KernelErrno? { parts.errno }
    /// The kernel's text (NLMSGERR_ATTR_MSG), verbatim.
    public var extack: String? { parts.extack }

    /// - Parameters:
    ///   - code: the kind.
    ///   - message: the attempted operation, in words.
    ///   - errno: the kernel's error number.
    ///   - extack: the kernel's text.
    public init(_ code: Code, _ message: String, errno: KernelErrno? = nil, extack: String? = nil) {
        parts = Parts(code: code, message: message, errno: errno, extack: extack)
    }

    public static func == (left: NetlinkError, right: NetlinkError) -> Bool {
        left.code == right.code && left.message == right.message && left.errno == right.errno
            && left.extack == right.extack
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(code)
        hasher.combine(message)
        hasher.combine(errno)
        hasher.combine(extack)
    }

    public var description: String {
        var text = message
        if let errno { text += ": \(errno)" }
        if let extack { text += ": kernel says \"\(extack)\"" }
        return text
    }

    /// The same error with the caller's activity in front of its message.
    public func during(_ activity: String) -> NetlinkError {
        NetlinkError(code, "\(activity): \(message)", errno: errno, extack: extack)
    }
}
