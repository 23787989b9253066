public import Switchdev

/// What a verb did: for people, for JSON and for the history.
public struct Report: Hashable, Sendable, Encodable {
    /// How it ended.
    public enum Result: String, Hashable, Sendable, Encodable, CaseIterable {
        /// Done.
        case done
        /// Everything was as asked for before.
        case already
        /// The intent could not be recorded; nothing was changed.
        case refused
        /// Failed, everything put back.
        case rolledBack = "rolled_back"
        /// Failed, not everything put back.
        case notRolledBack = "not_rolled_back"
        /// Only planned (`--dry-run`).
        case planned
    }

    /// One address.
    public struct AddressResult: Hashable, Sendable, Encodable {
        /// `MAC` or `MAC/VLAN`.
        public let address: String
        /// How it was changed.
        public let primitive: String
        /// The port that has it afterwards.
        public let port: String
        /// What failed.
        public let error: String?

        /// Makes one from its parts.
        package init(address: String, primitive: String, port: String, error: String?) {
            self.address = address
            self.primitive = primitive
            self.port = port
            self.error = error
        }
    }

    /// Durations in nanoseconds.
    public struct Timings: Hashable, Sendable, Encodable {
        /// From the call until the intent was recorded.
        public var journalNanoseconds: Int64 = 0
        /// From the call to the first netlink write.
        public var writesBeginNanoseconds: Int64 = 0
        /// From the call to the last acknowledgement.
        public var writesEndNanoseconds: Int64 = 0
        /// From the first netlink write of an entry to the last acknowledgement.
        public var moveNanoseconds: Int64 = 0
        /// Re-reading the entries afterwards.
        public var verifyNanoseconds: Int64 = 0
        /// From the last acknowledgement until hardware had followed, or until no more was to be learned.
        public var proofNanoseconds: Int64 = 0
        /// From the call to the commit.
        public var totalNanoseconds: Int64 = 0
    }

    /// The verb.
    public let verb: Plan.Verb
    /// The guest interface's name.
    public let guest: String
    /// The bridge's name.
    public let bridge: String
    /// The side before.
    public let from: Side
    /// The side asked for.
    public let to: Side
    /// How it moved the guest's frames.
    public let strategy: Strategy
    /// The bracket, for verbs about one.
    public var bracket: BracketView?
    /// How it ended.
    public var outcome: Result
    /// What is known of hardware, in words.
    public var proof: String?
    /// What is known of hardware: `nothing_to_prove`, `proven` or `missing`.
    public var proofStatus: OffloadProof.Status?
    /// A missing proof is a failure.
    public let proofRequired: Bool
    /// Start, in nanoseconds since 1970 (CLOCK_REALTIME).
    public let startedAt: Int64
    /// Durations.
    public var timings: Timings
    /// The addresses that were changed.
    public var addresses: [AddressResult]
    /// How often entries were made anew that a driver had taken back while it followed.
    public var repairs = 0
    /// What the ports' counters say; nil when nothing was changed.
    public var evidence: Evidence?
    /// What the operator should know.
    public var notes: [String]
    /// What failed.
    public var failures: [String]
    /// The kernel's refusals among them, by symbolic error number (`ENODEV`).
    public var refusals: [String] = []
    /// The signal that was waited for.
    public var signal: SignalSighting?
    /// How many multicast group memberships came with the guest; nil where the bridge does not snoop.
    public var groupMembershipsMoved: Int?
    /// Each netlink message in words, for `--dry-run`.
    public var messages: [PlannedMessage]?
    /// What preflight found, but for notes.
    public var findings: [Finding] = []
    /// Findings that the caller accepts.
    public var waived: [Finding] = []

    /// Something was done, or tried: it belongs in the history.
    package var isEvent: Bool { outcome != .already && outcome != .planned }

    /// The process's exit code.
    public var exitCode: Int32 {
        switch outcome {
        case .done, .already: proofRequired && proofStatus == .missing ? ControllerError.Code.unproven.rawValue : 0
        case .planned: 0
        case .refused: ControllerError.Code.precondition.rawValue
        case .rolledBack: ControllerError.Code.rolledBack.rawValue
        case .notRolledBack: ControllerError.Code.notRolledBack.rawValue
        }
    }
}
