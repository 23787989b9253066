public import QMP

/// Decides what to do with a guest's addresses while QEMU migrates the guest and manages its failover pair. It is a state
/// machine without I/O, one for each guest interface.
///
/// Its inputs are QEMU monitor messages, observations at the ports and expired timers; its outputs are actions. A bracket
/// is closed on evidence only. The state table is in docs/signals.md.
public struct MigrationFollower: Hashable, Sendable {
    /// The declared properties of the guest.
    public struct Configuration: Hashable, Sendable {
        /// The id of the virtio NIC in QEMU; nil: events of any device count.
        public var standbyDevice: String?
        /// The id of the primary in QEMU; nil: events of any device count, except DEVICE_DELETED.
        public var primaryDevice: String?
        /// The guest is a failover pair; otherwise it has one port, and nothing is plugged or unplugged.
        public var hasPrimary: Bool
        /// The guest takes one of two copies, so frames may go to both ports (strategy `bracket`). Otherwise `cut`.
        public var takesCopies: Bool
        /// A guest that has not given up its primary after this many nanoseconds raises an alarm.
        public var unplugLimit: Int64
        /// A primary that has sent nothing after this many nanoseconds raises an alarm.
        public var primaryLimit: Int64
        /// The longest pause before a failed action is retried, in nanoseconds. The first pause is ``firstRetryPause``, and
        /// each further one is twice as long. Frames may be lost during the pauses.
        public var retryPause: Int64
        /// How long a guest that has left is waited for at its new place before its entries go to the uplink, in nanoseconds.
        /// Until it is seen there, frames that go to the uplink come back or die: the fabric still sends them here. QEMU announces a
        /// guest five times in 0.8 s (`qemu_announce_timer_once`, net/announce.c): an uplink that shows none of that shows nothing.
        package var departureLimit: Int64 = 1_000_000_000

        /// The first pause before a retry, in nanoseconds.
        package static let firstRetryPause: Int64 = 10_000_000

        /// - Parameters:
        ///   - standbyDevice: the id of the virtio NIC in QEMU.
        ///   - primaryDevice: the id of the primary in QEMU.
        ///   - hasPrimary: the guest is a failover pair.
        ///   - takesCopies: the guest takes one of two copies.
        ///   - unplugLimit: nanoseconds; an orderly removal takes a Linux guest 6 to 7 s.
        ///   - primaryLimit: nanoseconds.
        ///   - retryPause: nanoseconds.
        public init(
            standbyDevice: String? = nil, primaryDevice: String? = nil, hasPrimary: Bool = true,
            takesCopies: Bool = true,
            unplugLimit: Int64 = 30_000_000_000, primaryLimit: Int64 = 60_000_000_000,
            retryPause: Int64 = 1_000_000_000
        ) {
            self.standbyDevice = standbyDevice
            self.primaryDevice = primaryDevice
            self.hasPrimary = hasPrimary
            self.takesCopies = takesCopies
            self.unplugLimit = unplugLimit
            self.primaryLimit = primaryLimit
            self.retryPause = retryPause
        }
    }

    /// The phase of the guest's life.
    public enum State: String, Hashable, Sendable, CaseIterable {
        /// The monitor has reported nothing yet, or the guest ended.
        case unknown
        /// QEMU waits for the guest from another host, so the guest is remote.
        case awaited
        /// The guest is here and uses its standby, or its one port.
        case standby
        /// The guest is here and uses its primary.
        case primary
        /// The guest was asked to give up its primary.
        case leaving
        /// The guest has given up its primary, or had none, and is being copied to another host.
        case migrating
        /// The guest gets its primary, or gets it back; no frame through it has been seen yet.
        case coming
        /// The guest is on another host.
        case gone
    }

    /// The timers.
    public enum Timer: String, Hashable, Sendable, CaseIterable {
        /// The guest should have given up its primary.
        case unplug
        /// The guest should have sent a frame through its primary.
        case primary
        /// The guest should have been seen at its new place.
        case departure
        /// A failed action is due for a retry.
        case retry
    }

    /// An event outside the state machine.
    public enum Input: Hashable, Sendable {
        /// The monitor answers with the current situation.
        case connected(QMPSituation)
        /// The connection to the monitor ended.
        case disconnected
        /// The monitor reported an event.
        case event(QMPEvent)
        /// A timer expired.
        case timer(Timer)
        /// A frame from the guest arrived at the primary's port. Its source is one of the guest's addresses, and it is not an
        /// announcement of the hypervisor (RARP).
        case frameOnPrimary
        /// The carrier of the primary's port.
        case primaryCarrier(Bool)
        /// While its uplink is watched: a frame from one of the guest's addresses came in there, or a control plane moved an entry
        /// there.
        case seenElsewhere
        /// An action failed and changed nothing.
        case failed(Action, String)
    }

    /// An action for the caller.
    public enum Action: Hashable, Sendable {
        /// From now on each frame reaches both ports: the entries are on the standby, and copies go to the primary. The
        /// argument is the side that the guest moves to.
        case openBracket(to: Side)
        /// Move the entries to a side, and stop the copies.
        case closeBracket(at: Side)
        /// Move the entries to a side.
        case move(to: Side)
        /// Move the entries to the uplink and stop the copies; an open bracket is closed at the standby first.
        case becomeRemote
        /// Announce the guest's addresses to the physical network.
        case announce
        /// Report the guest's next frame through the primary's port, or stop watching for it.
        case watchPrimary(Bool)
        /// Report it when the guest is seen behind the uplink, or stop watching for it.
        case watchUplink(Bool)
        /// The guest is at its new place: send it what it missed while it was stopped (docs/zero.md), if that was kept.
        case sendKept
        /// An operator should look at the guest; replaces an earlier alarm.
        case alarm(String)
        /// The alarm is over.
        case calm
        /// Report a timer once after this many nanoseconds; replaces an earlier timer of the same name.
        case arm(Timer, nanoseconds: Int64)
        /// Stop a timer.
        case disarm(Timer)

        /// The side where it moves entries; nil where it moves none.
        package var target: Side? {
            switch self {
            case .openBracket: .standby
            case .closeBracket(let side), .move(let side): side
            case .becomeRemote: .remote
            case .announce, .watchPrimary, .watchUplink, .sendKept, .alarm, .calm, .arm, .disarm: nil
            }
        }

        /// It changes entries, or puts frames on the network.
        package var changesTheGuest: Bool { target != nil || self == .announce }
    }

    /// The declared properties of the guest.
    public let configuration: Configuration
    /// The phase of the guest's life.
    public internal(set) var state = State.unknown
    /// The side of the entries, as far as actions succeeded.
    public internal(set) var side: Side
    /// The side that the guest moves to while frames reach both ports; nil if they do not.
    public internal(set) var bracket: Side?
    /// The alarm that is raised.
    public internal(set) var alarm: String?

    /// The guest's driver accepted the STANDBY feature; nil: that may have happened before the monitor was connected.
    package var isNegotiated: Bool?
    /// The virtual CPUs run.
    package var isRunning = false
    /// The last status of a migration was one of post-copy's, in which the guest runs on the target.
    package var isPostcopy = false
    /// A migration to this host has not completed.
    package var isIncoming = false
    /// The current migration took the primary away.
    package var wasUnplugged = false
    package var hasShutDown = false
    /// The last migration from here was cancelled or failed, and no other has begun.
    package var wasCalledOff = false
    /// The side before the last requested bracket, in case that fails.
    package var sideBefore: Side
    /// Somebody else has opened the bracket, to take the guest's primary away without a migration, or ahead of one.
    package var isOrdered: Bool
    /// A failed action that is to be retried.
    package var pending: Action?
    /// How often the pending action has failed.
    package var failures = 0
    package var isWatching = false
    package var isWatchingUplink = false
    /// The guest was seen behind the uplink since it was stopped for its handover.
    package var isSeen = false
    /// The guest is on another host, and its entries wait until it is seen there.
    package internal(set) var isDeparting = false
    package var armed: Set<Timer> = []
    package var actions: [Action] = []

    /// - Parameters:
    ///   - configuration: the declared properties of the guest.
    ///   - side: where the entries are.
    ///   - bracket: the side that the guest moves to if a bracket is still open; nil if none is.
    ///   - isOrdered: somebody else has opened that bracket.
    public init(_ configuration: Configuration, side: Side, bracket: Side? = nil, isOrdered: Bool = false) {
        self.configuration = configuration
        self.isOrdered = isOrdered
        self.side = side
        self.bracket = bracket
        sideBefore = side
    }

    /// Where a guest is that is here and not on its primary.
    package var home: Side { configuration.hasPrimary ? .standby : .local }

    /// What QEMU says of the guest; nil for nothing.
    ///
    /// A guest that is being copied runs here until QEMU stops it. What the fabric shows of it before is of others, such as a pod's
    /// kernel on the target that has its MAC already.
    package var word: Trail.Word? {
        if isDeparting { return .leaving }
        return switch state {
        case .unknown: nil
        case .awaited, .gone: .elsewhere
        case .standby, .primary, .leaving, .coming: .here
        case .migrating: isRunning ? .here : .leaving
        }
    }

    /// Processes an input. The actions are to be done in order; there are none if the input changes nothing.
    public mutating func handle(_ input: Input) -> [Action] {
        actions = []
        switch input {
        case .connected(let situation): resynchronise(situation)
        case .disconnected: disconnected()
        case .event(let event): take(event)
        case .timer(let timer): ranOut(timer)
        case .frameOnPrimary: frameOnPrimary()
        case .primaryCarrier(let isUp): carrier(isUp)
        case .seenElsewhere: seenElsewhere()
        case .failed(let action, let reason): failed(action, reason)
        }
        defer { actions = [] }
        return actions
    }
}

extension MigrationFollower.State {
    /// The guest is on this host.
    public var isHere: Bool { [.standby, .primary, .leaving, .migrating, .coming].contains(self) }
}
