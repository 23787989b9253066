public import Switchdev

/// The operation that is in progress for a guest.
public enum GuestPhase: String, Hashable, Sendable, CaseIterable {
    /// No operation: the entries are where `side` says.
    case pinned
    /// `prepare` has not finished.
    case preparing
    /// A redirection has not finished.
    case switching
    /// `release` has not finished.
    case releasing
    /// A bracket is being opened.
    case opening
    /// A bracket is open.
    case bracketed
    /// A bracket is being closed; `side` is where the guest is.
    case closing
}

/// A guest interface and the operation in progress.
public struct GuestRecord: Hashable, Sendable {
    /// Tells this guest from an earlier one of the same name: when it was prepared, in nanoseconds since 1970.
    public let row: Int64
    /// The guest interface; its side is the one before the operation in progress.
    public var guest: GuestInterface
    /// The operation in progress.
    public let phase: GuestPhase
    /// The side that the guest moves to while an operation is in progress.
    public let goal: Side?
    /// The boot during which the interface indexes are valid.
    public let boot: String
    /// The inode of the network namespace of the ports, which the kernel gives again once the namespace has gone.
    public let namespace: Int64
    /// The cookie of that namespace (SO_NETNS_COOKIE), which the kernel gives to no other during a boot; nil in records of earlier
    /// versions, and on kernels before 5.14.
    public let cookie: Int64?
    /// What was known about the hardware when the guest moved to its side.
    public let proof: OffloadProof.Status
    /// The number of writes to this record.
    public let revision: Int64
    /// The bracket; set from before its first write until after its last.
    public var bracket: Bracket?
    /// When its side or phase last changed, in nanoseconds since 1970.
    public let since: Int64
    /// The program, and its verb, that wrote the record.
    public let by: String

    /// Makes a record from its fields.
    package init(
        row: Int64, guest: GuestInterface, phase: GuestPhase, goal: Side? = nil, boot: String, namespace: Int64,
        cookie: Int64? = nil, proof: OffloadProof.Status, revision: Int64, bracket: Bracket? = nil, since: Int64 = 0,
        by: String = ""
    ) {
        self.row = row
        self.guest = guest
        self.phase = phase
        self.goal = goal
        self.boot = boot
        self.namespace = namespace
        self.cookie = cookie
        self.proof = proof
        self.revision = revision
        self.bracket = bracket
        self.since = since
        self.by = by
    }
}

extension GuestRecord {
    /// The side that the entries are pinned to: the standby while a bracket is open, whatever `side` is.
    public var entrySide: Side { phase == .bracketed ? .standby : guest.side }

    /// A bracket is open that the daemon has opened because the primary had lost its carrier.
    package var isBracketForCarrier: Bool { phase == .bracketed && bracket?.isForCarrier == true }

    /// Somebody else than the daemon's loop has opened its bracket, or is opening it.
    package var isBracketOrdered: Bool { bracket != nil && by != "fdbsteerd" }
}

extension GuestRecord {
    /// A verb has begun and not ended: it is under way, or its process has died.
    package var isUnfinished: Bool { phase != .pinned && phase != .bracketed }

    /// Where its bracket leads to; nil without one.
    package var bracketGoal: Side? { bracket == nil ? nil : goal }
}
