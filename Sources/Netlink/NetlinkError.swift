public import System

/// What went wrong between this process and the kernel's netlink.
///
/// The kernel's own words (its extended acknowledgement) are carried verbatim in ``extack``.
public struct NetlinkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of an error; open, so that a later version can add one.
    public struct Code: RawRepresentable, Hashable, Sendable {
        public let rawValue: String

        /// - Parameter rawValue: a lower-case word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// A system call failed; ``NetlinkError/errno`` says how.
        public static let system = Code(rawValue: "system")
        /// The kernel refused a request; ``NetlinkError/errno`` and ``NetlinkError/extack`` say why.
        public static let refused = Code(rawValue: "refused")
        /// A reply is malformed: short, misaligned, of another sender or sequence.
        public static let malformed = Code(rawValue: "malformed")
        /// A datagram did not fit the receive buffer.
        public static let truncated = Code(rawValue: "truncated")
        /// A dump was interrupted by a change (NLM_F_DUMP_INTR): its content is not to be trusted.
        public static let interrupted = Code(rawValue: "interrupted")
        /// Replies or notifications were lost for want of receive buffer (ENOBUFS).
        public static let overrun = Code(rawValue: "overrun")
        /// A request does not fit the send buffer.
        public static let oversized = Code(rawValue: "oversized")
        /// The kernel did not answer in time.
        public static let timeout = Code(rawValue: "timeout")
    }

    /// The parts, behind one reference: a batch has a place for an error of each of its requests, and what is thrown
    /// fits a register.
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
    /// What was attempted, in words.
    public var message: String { parts.message }
    /// The kernel's error number, where there is one.
    public var errno: KernelErrno? { parts.errno }
    /// The kernel's own text (NLMSGERR_ATTR_MSG), word for word.
    public var extack: String? { parts.extack }

    /// - Parameters:
    ///   - code: the kind.
    ///   - message: what was attempted.
    ///   - errno: the kernel's error number.
    ///   - extack: the kernel's own text.
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

    /// The same error with what the caller was doing put before it.
    public func during(_ activity: String) -> NetlinkError {
        NetlinkError(code, "\(activity): \(message)", errno: errno, extack: extack)
    }
}
