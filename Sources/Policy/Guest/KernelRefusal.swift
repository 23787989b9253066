/// The kernel's refusal of a request, as it bears on what to do next: policy knows no sockets and none of their errors.
public struct KernelRefusal: Hashable, Sendable, CustomStringConvertible {
    /// What a refusal means for the thing that was asked for.
    public enum Meaning: Hashable, Sendable {
        /// It is there already (EEXIST).
        case exists
        /// There is nothing to remove or to read: ENOENT, ENODEV, or EINVAL, with which `br_mdb_del` answers for a member that
        /// it does not know.
        case gone
        /// The caller lacks the privilege (EPERM).
        case notPermitted
        /// Anything else.
        case other
    }

    /// What it means.
    public let meaning: Meaning
    /// The symbolic error number, `ENODEV`; nil where there was none.
    public let errno: String?
    /// The kernel's own text (NLMSGERR_ATTR_MSG), word for word.
    public let extack: String?
    /// What was attempted, the C library's text and the kernel's.
    public let description: String

    /// Makes a refusal from its parts.
    public init(_ meaning: Meaning, errno: String?, extack: String? = nil, description: String) {
        self.meaning = meaning
        self.errno = errno
        self.extack = extack
        self.description = description
    }
}
