package import Policy

/// What the keeper has to remember of one guest beside its record.
package struct Ward {
    /// How often it may be repaired.
    var budget = RepairBudget()
    /// How often what is heard of it leads to a look.
    var looks = RepairBudget()
    /// What is heard of its addresses while it is not certain where they are.
    var doubt: Doubt?
    /// How often it may be redirected because of where its frames come in.
    var moves = RepairBudget()
    /// How often its entries may be put back after frames have moved them.
    var restorations = RepairBudget()
    /// When an entry was last taken back from a control plane (CLOCK_MONOTONIC, nanoseconds).
    var correctedAt: Int64?
    /// When its ports are worth a look again, and the pause before that, for ports that receive other frames (CLOCK_MONOTONIC,
    /// nanoseconds).
    var heedAfter: Int64 = 0
    var heedingPause: Int64 = 0
    /// Frames that its ports had received when they were last looked at, while it is on another host.
    var received: UInt64?
    /// Since when an OFFLOADED flag was missing (CLOCK_MONOTONIC, nanoseconds).
    var flaglessSince: Int64?
    /// What was done about a primary without carrier.
    var mute: MuteState?
    /// Its next repair waits because something fights it.
    var isFought = false
    /// Its redirections follow QEMU's events: what the guest does by itself is not drift.
    package var isFollowed = false
    /// What QEMU says of it; nil while nobody can be asked.
    package var word: Trail.Word?
    /// Bridge and ports as they were read beforehand for its next redirection, and still are.
    ///
    /// Entries are never kept: they are what is changed, and the kernel does not announce the flag that drivers set on them.
    /// Groups are the ``GroupWatch``'s.
    var ready: Observation?
    /// The revision of the record that they were read for.
    var readyRevision: Int64 = 0
    /// The revision of a record that a process has let go of without an end: it is looked at once for that reason, because the look
    /// itself lets go of the lock.
    var abandonedRevision: Int64?
    /// The last two looks at how many frames its port has sent.
    private(set) var sent: [SentFrames] = []
    /// What is wrong with it.
    package var conditions = Conditions()
    /// How much is told of its conditions.
    var telling = TellingBudget()
    /// When its ports were last judged (CLOCK_MONOTONIC, nanoseconds).
    var judgedAt: Int64 = 0
    /// What is known of its answers to questions.
    var acquaintance = Acquaintance()

    /// What was done about a primary without carrier.
    enum MuteState: Hashable {
        /// A bracket was opened for it.
        case bracketed
        /// Nothing, for this reason.
        case told(String)
    }

    /// Keeps a look at how many frames its port has sent; nil when the port is gone.
    mutating func keep(_ look: SentFrames?) { sent = look.map { sent.suffix(1) + [$0] } ?? [] }

    /// Keeps what was read for a record; nil when it could not be read, and is not worth another attempt before something
    /// changes.
    mutating func keepReady(_ observation: Observation?, for record: GuestRecord) {
        ready = observation
        readyRevision = record.revision
    }
}
