/// The reason why a verb failed, with an exit code that says whether anything was changed.
public struct ControllerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind; the raw value is the process's exit code.
    public enum Code: Int32, Hashable, Sendable, CaseIterable {
        /// A precondition failed; nothing was changed.
        case precondition = 3
        /// The verb failed, and everything was restored.
        case rolledBack = 4
        /// The verb failed, and not everything could be restored.
        case notRolledBack = 5
        /// Waiting for a signal timed out.
        case timeout = 6
        /// The change was applied, but a required proof from hardware is missing.
        case unproven = 7
        /// Another redirection of this guest is running.
        case busy = 8
        /// The call itself is wrong; nothing was changed.
        case usage = 64

        /// The name of the code in JSON.
        public var name: String {
            switch self {
            case .precondition: "precondition"
            case .rolledBack: "rolled_back"
            case .notRolledBack: "not_rolled_back"
            case .timeout: "timeout"
            case .unproven: "unproven"
            case .busy: "busy"
            case .usage: "usage"
            }
        }
    }

    /// The kind.
    public let code: Code
    /// What failed.
    public let message: String
    /// What to do about it.
    public let remedy: String?
    /// The kernel's answer, if it was the cause.
    public let cause: KernelRefusal?
    /// Stable words for what stood in the way, for programs: codes of findings, or one of those below.
    public let reasons: [String]

    /// No guest has this name.
    package static let guestUnknown = "guest-unknown"
    /// The process may not change bridges.
    package static let unprivileged = "unprivileged"

    /// - Parameters:
    ///   - code: the kind.
    ///   - message: what failed, naming the object.
    ///   - remedy: what to do about it.
    ///   - cause: the kernel's answer.
    ///   - reasons: stable words for what stood in the way.
    public init(
        _ code: Code, _ message: String, remedy: String? = nil, cause: KernelRefusal? = nil, reasons: [String] = []
    ) {
        self.code = code
        self.message = message
        self.remedy = remedy
        self.cause = cause
        self.reasons = reasons
    }

    public var description: String {
        var text = message
        if let cause { text += ": \(cause)" }
        if let remedy { text += " (\(remedy))" }
        return text
    }

    /// The same error, of a verb that has changed nothing until then.
    package var beforeAnything: ControllerError {
        ControllerError(code, message + "; nothing was changed", remedy: remedy, cause: cause, reasons: reasons)
    }
}
