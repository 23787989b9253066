/// A request that the kernel refused, reduced to what decides the next step: Policy does not know sockets or their errors.
public struct KernelRefusal: Hashable, Sendable, CustomStringConvertible {
    /// What the refusal says about the requested object.
    public enum Meaning: Hashable, Sendable {
        /// The object exists already (EEXIST).
        case exists
        /// There is nothing to remove or to read: ENOENT, ENODEV, or the EINVAL that `br_mdb_del` returns for an unknown
        /// member.
        case gone
        /// The caller lacks the privilege (EPERM).
        case notPermitted
        /// Anything else.
        case other
    }

    /// What the refusal means.
    public let meaning: Meaning
    /// The symbolic error number, for example `ENODEV`; nil if there was none.
    public let errno: String?
    /// The kernel's own text (NLMSGERR_ATTR_MSG), verbatim.
    public let extack: String?
    /// The attempted operation, the C library's text and the kernel's text.
    public let description: String

    /// Makes a refusal from its fields.
    public init(_ meaning: Meaning, errno: String?, extack: String? = nil, description: String) {
        self.meaning = meaning
        self.errno = errno
        self.extack = extack
        self.description = description
    }

    /// The same refusal, with a reason that the kernel does not give.
    package func because(_ reason: String) -> KernelRefusal {
        KernelRefusal(meaning, errno: errno, extack: extack, description: "\(description): \(reason)")
    }
}
