/// What every verb that changes something may be told.
public struct VerbOptions: Hashable, Sendable {
    /// Only plan.
    public private(set) var dryRun: Bool
    /// A missing proof is a failure (exit code 7); what was done stays.
    public var requireProof: Bool
    /// How long to wait for hardware, in nanoseconds.
    public let proofTimeout: Int64
    /// Findings of preflight that the caller accepts.
    public let waived: Set<Finding.Code>
    /// How long to watch the old port for it to become quiet, in nanoseconds; 0: one look.
    public let observation: Int64
    /// A bracket is opened also for a guest that takes frames from both of its NICs.
    public var allowsDuplicates = false
    /// A bracket is not opened while the guest's port sends more frames a second than this; 0: no limit.
    public var bracketMaxRate: UInt64 = 0

    /// - Parameters:
    ///   - dryRun: only plan.
    ///   - requireProof: a missing proof is a failure.
    ///   - proofTimeout: how long to wait for hardware, in nanoseconds.
    ///   - waived: findings of preflight that the caller accepts.
    ///   - observation: how long to watch the old port, in nanoseconds.
    public init(
        dryRun: Bool = false, requireProof: Bool = false, proofTimeout: Int64 = 5_000_000_000,
        waived: Set<Finding.Code> = [], observation: Int64 = 0
    ) {
        self.dryRun = dryRun
        self.observation = observation
        self.requireProof = requireProof
        self.proofTimeout = proofTimeout
        self.waived = waived
    }
}

extension VerbOptions {
    /// The same, but only to plan.
    package var onlyPlanning: VerbOptions {
        var options = self
        options.dryRun = true
        return options
    }
}
