public import Switchdev

/// What is under way with a guest.
public enum GuestPhase: String, Hashable, Sendable {
    /// Nothing: the entries are where `side` says.
    case pinned
    /// `prepare` has not ended.
    case preparing
    /// A redirection waits for a signal; nothing was changed.
    case waiting
    /// A redirection has not ended.
    case switching
    /// `release` has not ended.
    case releasing
    /// A bracket is being opened.
    case opening
    /// A bracket is open.
    case bracketed
    /// A bracket is being closed; `side` is where the guest is.
    case closing
}

/// A guest interface with what is under way.
public struct GuestRecord: Hashable, Sendable {
    /// The row, which is also the byte of the lock file that its owner locks.
    public let row: Int64
    /// The guest interface; its side is the one before what is under way.
    public var guest: GuestInterface
    /// What is under way.
    public package(set) var phase: GuestPhase
    /// Where it is to go, while something is under way.
    public package(set) var goal: Side?
    /// The boot that the interface indexes belong to.
    public let boot: String
    /// The inode of the network namespace that the ports are in.
    public let namespace: Int64
    /// What was known of hardware when the guest came to its side.
    public let proof: OffloadProof.Status
    /// Counts the writes to this record.
    public let revision: Int64
    /// The bracket, from before its first write until after its last.
    public var bracket: Bracket?

    /// Makes one from its parts.
    package init(
        row: Int64, guest: GuestInterface, phase: GuestPhase, goal: Side? = nil, boot: String, namespace: Int64,
        proof: OffloadProof.Status, revision: Int64, bracket: Bracket? = nil
    ) {
        self.row = row
        self.guest = guest
        self.phase = phase
        self.goal = goal
        self.boot = boot
        self.namespace = namespace
        self.proof = proof
        self.revision = revision
        self.bracket = bracket
    }
}

extension GuestRecord {
    /// Where the entries are pinned: on the standby while a bracket is open, whatever the side.
    public var entrySide: Side { phase == .bracketed ? .standby : guest.side }
}

extension GuestRecord {
    /// Where its bracket leads to; nil without one.
    package var bracketGoal: Side? { bracket == nil ? nil : goal }
}
