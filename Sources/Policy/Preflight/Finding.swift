/// A reason why a redirection would lose, leak or blackhole frames, found before anything is changed.
public struct Finding: Hashable, Sendable, Encodable {
    /// What becomes of frames when nothing is done about it.
    public enum Severity: String, Hashable, Sendable, Encodable, CaseIterable {
        /// The redirection is refused, or every frame is lost.
        case blocks
        /// Some frames are lost.
        case loses
        /// Some frames reach who should not get them.
        case leaks
        /// Nothing is lost, but CPU, or a way of moving or of proving it.
        case costs
        /// To be known.
        case note

        /// It makes `preflight` fail.
        public var isFailure: Bool { self == .blocks || self == .loses || self == .leaks }
    }

    /// The stable word for the reason: that of a ``Rule``.
    public struct Code: RawRepresentable, Hashable, Sendable, Encodable {
        /// The word.
        public let rawValue: String

        /// - Parameter rawValue: the word; nil if no rule has it.
        public init?(rawValue: String) {
            guard Rule.all.contains(where: { $0.code.rawValue == rawValue }) else { return nil }
            self.rawValue = rawValue
        }

        init(of rule: String) { rawValue = rule }
    }

    /// A value that was read.
    public struct Value: Hashable, Sendable, Encodable {
        /// What it is a value of: `tap0 mtu`.
        public let what: String
        /// The value.
        public let value: String
    }

    /// The reason's word.
    public let code: Code
    /// What becomes of frames.
    public let severity: Severity
    /// The port, bridge or address concerned.
    public let subject: String
    /// What is so, and what follows from it.
    public let message: String
    /// The values that say so.
    public let values: [Value]
    /// A command, or what else to do.
    public let remedy: String

    /// What it stands in the way of.
    package let refuses: Refusal

    private enum CodingKeys: CodingKey { case code, severity, subject, message, values, remedy }

    package init(
        _ code: Code, _ severity: Severity, _ subject: String, _ message: String,
        evidence: KeyValuePairs<String, String> = [:], remedy: String, refuses: Refusal = []
    ) {
        self.code = code
        self.severity = severity
        self.subject = subject
        self.message = message
        values = evidence.map { Value(what: $0.key, value: $0.value) }
        self.remedy = remedy
        self.refuses = refuses
    }

    /// One line: `loses mtu-smaller tap0: ...`.
    public var headline: String { "\(severity.rawValue) \(code.rawValue) \(subject): \(message)" }
}

/// What `preflight` found.
public struct PreflightReport: Hashable, Sendable, Encodable {
    /// The guest's name, when it is a prepared one.
    public let guest: String?
    /// The bridge's name.
    public let bridge: String
    /// Nothing that blocks, loses or leaks, but for what was waived.
    public let ok: Bool
    /// The worst first.
    public let findings: [Finding]
    /// Findings that the caller accepts.
    public let waived: [Finding]
    /// What could not be read, and why.
    public let unseen: [String]

    package init(
        guest: String?, bridge: String, findings: [Finding], waiving waived: Set<Finding.Code>, unseen: [String]
    ) {
        self.guest = guest
        self.bridge = bridge
        self.findings = findings.filter { !waived.contains($0.code) }
        self.waived = findings.filter { waived.contains($0.code) }
        self.unseen = unseen
        ok = !self.findings.contains(where: \.severity.isFailure)
    }

    /// The process's exit code.
    public var exitCode: Int32 { ok ? 0 : ControllerError.Code.precondition.rawValue }
}
