import CNetlink

/// An error number of the kernel, from a netlink reply or a system call.
///
/// Names are those of errno(3); the text is the C library's.
public struct KernelErrno: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: Int32

    /// - Parameter rawValue: the positive error number.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// Operation not permitted. The corresponding C constant is `EPERM`.
    public static let notPermitted = KernelErrno(rawValue: EPERM)
    /// No such entry. The corresponding C constant is `ENOENT`.
    public static let noEntry = KernelErrno(rawValue: ENOENT)
    /// Try again. The corresponding C constant is `EAGAIN`.
    public static let again = KernelErrno(rawValue: EAGAIN)
    /// Resource busy. The corresponding C constant is `EBUSY`.
    public static let busy = KernelErrno(rawValue: EBUSY)
    /// Already exists. The corresponding C constant is `EEXIST`.
    public static let exists = KernelErrno(rawValue: EEXIST)
    /// No such device. The corresponding C constant is `ENODEV`.
    public static let noDevice = KernelErrno(rawValue: ENODEV)
    /// Invalid argument. The corresponding C constant is `EINVAL`.
    public static let invalid = KernelErrno(rawValue: EINVAL)
    /// Not supported. The corresponding C constant is `EOPNOTSUPP`.
    public static let notSupported = KernelErrno(rawValue: EOPNOTSUPP)
    /// Receive buffer overrun. The corresponding C constant is `ENOBUFS`.
    public static let noBuffers = KernelErrno(rawValue: ENOBUFS)
    /// What was read has changed since. The corresponding C constant is `ERESTART`.
    public static let restart = KernelErrno(rawValue: ERESTART)
    /// Out of range, for example a name that is too long. The corresponding C constant is `ERANGE`.
    public static let range = KernelErrno(rawValue: ERANGE)

    /// The symbolic name, or for example `errno 4095` if the C library has none. It is suitable for a metric label.
    public var name: String {
        guard let name = cn_error_name(rawValue) else { return "errno \(rawValue)" }
        return String(cString: name)
    }

    /// The C library's text: `Operation not permitted`.
    public var text: String { cn_error_text(rawValue).map { String(cString: $0) } ?? name }

    /// The C library's text and the name: `Operation not permitted (EPERM)`.
    public var description: String { text == name ? name : "\(text) (\(name))" }
}

extension KernelErrno: Encodable {
    /// Encodes the symbolic name.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(name)
    }
}
