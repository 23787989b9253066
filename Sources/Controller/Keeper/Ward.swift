import FDB
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
    /// Addresses that a control plane had at the uplink when their entries were last there. A frame that moves one takes the flag away
    /// (`br_fdb_update`).
    var claimed: Set<Address> = []
    /// When an entry was last taken back from a control plane (CLOCK_MONOTONIC, nanoseconds).
    var correctedAt: Int64?
    /// The same of a neighbour, and since when one is a control plane's.
    var neighbourCorrectedAt: Int64?
    var neighbourClaimedAt: Int64?
    /// When its ports are worth a look again, and the pause before that, for ports that receive other frames (CLOCK_MONOTONIC,
    /// nanoseconds).
    var heedAfter: Int64 = 0
    var heedingPause: Int64 = 0
    /// Frames that its ports had received when they were last looked at, while it is on another host.
    var received: UInt64?
    /// Since when an OFFLOADED flag was missing (CLOCK_MONOTONIC, nanoseconds).
    var flaglessSince: Int64?
    /// Why no bracket was opened for a primary without carrier.
    var unbracketed: String?
    /// The primary whose loss was counted, until it is there again.
    var lostPrimary: Int32?
    /// Its next repair waits because something fights it.
    var isFought = false
    /// Its entries are sticky for a while, because a neighbour's frames took them again and again.
    var siege: Siege?
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
    /// When it last came from another host or went to one (CLOCK_MONOTONIC, nanoseconds), within ``HandoverBudget/window``.
    var handovers = HandoverBudget()
    /// Announces it when it arrives.
    var announcer: Announcer?
    /// The revision of a record that a process has let go of without an end: it is looked at once for that reason, because the look
    /// itself lets go of the lock.
    var abandonedRevision: Int64?
    /// The last two looks at how many frames its port has sent.
    private(set) var sent: [SentFrames] = []
    /// Ports that its addresses were last heard to be on.
    var places: [Address: Int32] = [:]
    /// What is wrong with it.
    package var conditions = Conditions()
    /// How much is told of its conditions.
    var telling = TellingBudget()
    /// When its ports were last judged (CLOCK_MONOTONIC, nanoseconds).
    var judgedAt: Int64 = 0
    /// What is known of its answers to questions.
    var acquaintance = Acquaintance()

    /// A guest that the kernel's packet filter cannot guard, and whose addresses a neighbour keeps taking.
    struct Siege: Hashable {
        /// When its entries are let roam again (CLOCK_MONOTONIC, nanoseconds).
        var until: Int64
        /// It was let roam again, and is made sticky at once when it is taken again before this time.
        var rememberedUntil: Int64

        /// How long its entries are sticky, in nanoseconds: as long, nothing shows that it has left by the uplink.
        static let hold: Int64 = 5_000_000_000
        /// How long a siege is remembered after that, in nanoseconds.
        static let memory: Int64 = 60_000_000_000

        init(at now: Int64) {
            until = now + Siege.hold
            rememberedUntil = until + Siege.memory
        }
    }

    /// Whether its entries are sticky on purpose now.
    func isBesieged(at now: Int64) -> Bool { siege.map { now < $0.until } ?? false }

    /// Keeps a look at how many frames its port has sent; nil when the port is gone.
    mutating func keep(_ look: SentFrames?) { sent = look.map { sent.suffix(1) + [$0] } ?? [] }

    /// Keeps what was read for a record; nil when it could not be read, and is not worth another attempt before something
    /// changes.
    mutating func keepReady(_ observation: Observation?, for record: GuestRecord) {
        ready = observation
        readyRevision = record.revision
    }
}
