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

    /// The kind.
    public let code: Code
    /// What was attempted, in words.
    public let message: String
    /// The kernel's error number, where there is one.
    public let errno: KernelErrno?
    /// The kernel's own text (NLMSGERR_ATTR_MSG), word for word.
    public let extack: String?

    /// - Parameters:
    ///   - code: the kind.
    ///   - message: what was attempted.
    ///   - errno: the kernel's error number.
    ///   - extack: the kernel's own text.
    public init(_ code: Code, _ message: String, errno: KernelErrno? = nil, extack: String? = nil) {
        self.code = code
        self.message = message
        self.errno = errno
        self.extack = extack
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
