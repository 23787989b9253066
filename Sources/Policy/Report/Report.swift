public import JSON
public import Switchdev

/// The result of a verb, for people, for JSON and for the history.
public struct Report: Hashable, Sendable, Encodable {
    /// How the verb ended.
    public enum Result: String, Hashable, Sendable, Encodable, CaseIterable {
        /// The change was made.
        case done
        /// Everything was already as requested.
        case already
        /// A release gave back everything but what it names, and forgot the guest.
        case incomplete
        /// Everything was changed as requested, and stays so, but could not be recorded.
        case unrecorded
        /// The intent could not be recorded; nothing was changed.
        case refused
        /// The verb failed, and everything was restored.
        case rolledBack = "rolled_back"
        /// The verb failed, and not everything was restored.
        case notRolledBack = "not_rolled_back"
        /// The verb was only planned (`--dry-run`).
        case planned
    }

    /// The result for one address.
    public struct AddressResult: Hashable, Sendable, Encodable {
        /// `MAC` or `MAC/VLAN`.
        public let address: String
        /// The primitive that changed the entry.
        public let primitive: String
        /// The port that has the entry afterwards.
        public let port: String
        /// The port that has it before, of a change that is only planned; nil where there is no entry.
        public var fromPort: String?
        /// What failed.
        public let error: String?

        /// Makes a result from its fields.
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
        /// The time for re-reading the entries afterwards.
        public var verifyNanoseconds: Int64 = 0
        /// From the last acknowledgement until hardware had followed, or until waiting longer could show no more.
        public var proofNanoseconds: Int64 = 0
        /// From the call to the commit.
        public var totalNanoseconds: Int64 = 0
    }

    /// The verb.
    public package(set) var verb: Plan.Verb
    /// The guest interface's name.
    public let guest: String
    /// The bridge's name.
    public let bridge: String
    /// The side before.
    public let from: Side
    /// The requested side.
    public let to: Side
    /// `cut` or `bracket`.
    public let strategy: Strategy
    /// The bracket, for verbs that concern one.
    public var bracket: BracketView?
    /// What was done to it, or tried, for the history; nil where it is neither opened nor closed.
    package var bracketChange: BracketChange?
    /// How the verb ended.
    public var outcome: Result
    /// What is known about the hardware, in words.
    public var proof: String?
    /// What is known about the hardware: `nothing_to_prove`, `proven` or `missing`.
    public var proofStatus: OffloadProof.Status?
    /// A missing proof is a failure.
    public let proofRequired: Bool
    /// The start, in nanoseconds since 1970 (CLOCK_REALTIME).
    @JSON.Time public package(set) var time: Int64
    /// Durations.
    public var timings: Timings
    /// The addresses that were changed.
    public var addresses: [AddressResult]
    /// How often entries were made again because a driver had taken them back.
    public var repairs = 0
    /// What the ports' counters show; nil if nothing was changed.
    public var evidence: Evidence?
    /// What the operator should know.
    public var notes: [String]
    /// What failed.
    public var failures: [String]
    /// The kernel's refusals among the failures, by symbolic error number (`ENODEV`).
    public var refusals: [String] = []
    /// The signal that ended the wait.
    public var sighting: SignalSighting?
    /// The number of multicast group memberships that moved with the guest; nil if the bridge does not snoop.
    public var groupMembershipsMoved: Int?
    /// Each netlink message in words, for `--dry-run`.
    public var messages: [PlannedMessage]?
    /// The findings of preflight, except notes.
    public var findings: [Finding] = []
    /// Findings that the caller accepts.
    public var waived: [Finding] = []

    /// Something was done or attempted, so the report belongs in the history.
    package var isEvent: Bool { outcome != .already && outcome != .planned }

    /// The process's exit code.
    public var exitCode: Int32 {
        switch outcome {
        case .done, .already: proofRequired && proofStatus == .missing ? ControllerError.Code.unproven.rawValue : 0
        case .planned: 0
        case .refused: ControllerError.Code.precondition.rawValue
        case .rolledBack: ControllerError.Code.rolledBack.rawValue
        case .incomplete, .unrecorded, .notRolledBack: ControllerError.Code.notRolledBack.rawValue
        }
    }
}
