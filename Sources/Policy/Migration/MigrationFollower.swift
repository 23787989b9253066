public import QMP

/// What to do with a guest's addresses while QEMU migrates the guest and manages its failover pair: a state machine without
/// I/O, one for each guest interface.
///
/// It is told what QEMU's monitor says, what was seen at the ports and which timers ran out, and answers with what to do.
/// A bracket is closed on evidence only. docs/signals.md has its table.
public struct MigrationFollower: Hashable, Sendable {
    /// What is declared of the guest.
    public struct Configuration: Hashable, Sendable {
        /// The id of the virtio NIC in QEMU; nil: events of any device count.
        public var standbyDevice: String?
        /// The id of the primary in QEMU; nil: events of any device count, but for DEVICE_DELETED.
        public var primaryDevice: String?
        /// The guest takes one of two copies: frames may go to both ports (strategy `bracket`). Otherwise `cut`.
        public var takesCopies: Bool
        /// After so many nanoseconds a guest that does not give up its primary is an alarm.
        public var unplugLimit: Int64
        /// After so many nanoseconds a primary that sends nothing is an alarm.
        public var primaryLimit: Int64
        /// Longest pause before an action that failed is tried again, in nanoseconds. Frames may be lost meanwhile: the first is
        /// ``firstRetryPause``, each further one twice as long.
        public var retryPause: Int64

        /// Nanoseconds.
        package static let firstRetryPause: Int64 = 10_000_000

        /// - Parameters:
        ///   - standbyDevice: the id of the virtio NIC in QEMU.
        ///   - primaryDevice: the id of the primary in QEMU.
        ///   - takesCopies: the guest takes one of two copies.
        ///   - unplugLimit: nanoseconds; ordered removal takes a Linux guest 6 to 7 s.
        ///   - primaryLimit: nanoseconds.
        ///   - retryPause: nanoseconds.
        public init(
            standbyDevice: String? = nil, primaryDevice: String? = nil, takesCopies: Bool = true,
            unplugLimit: Int64 = 30_000_000_000, primaryLimit: Int64 = 60_000_000_000,
            retryPause: Int64 = 1_000_000_000
        ) {
            self.standbyDevice = standbyDevice
            self.primaryDevice = primaryDevice
            self.takesCopies = takesCopies
            self.unplugLimit = unplugLimit
            self.primaryLimit = primaryLimit
            self.retryPause = retryPause
        }
    }

    /// Where the guest is in its life.
    public enum State: String, Hashable, Sendable, CaseIterable {
        /// The monitor has not been heard yet, or the guest ended.
        case unknown
        /// QEMU waits for the guest from another host: it is remote.
        case awaited
        /// The guest is here and uses its standby.
        case standby
        /// The guest is here and uses its primary.
        case primary
        /// The guest was asked to give up its primary.
        case leaving
        /// The guest has given up its primary, or had none, and is being copied to another host.
        case migrating
        /// The guest gets its primary, or gets it again; nothing has been seen of it yet.
        case coming
        /// The guest is on another host.
        case gone
    }

    /// The timers.
    public enum Timer: String, Hashable, Sendable, CaseIterable {
        /// The guest should have given up its primary.
        case unplug
        /// The guest should have sent something by its primary.
        case primary
        /// An action failed and is to be tried again.
        case retry
    }

    /// What happened.
    public enum Input: Hashable, Sendable {
        /// The monitor answers: how things stand.
        case connected(QMPSituation)
        /// The connection to the monitor ended.
        case disconnected
        /// The monitor told of an event.
        case event(QMPEvent)
        /// A timer ran out.
        case timer(Timer)
        /// A frame from the guest came in by the primary's port: its source is one of the guest's addresses, and it is no
        /// announcement of the hypervisor's (RARP).
        case frameOnPrimary
        /// The carrier of the primary's port.
        case primaryCarrier(Bool)
        /// An action failed; nothing was changed by it.
        case failed(Action, String)
    }

    /// What to do.
    public enum Action: Hashable, Sendable {
        /// From now on each frame reaches both ports: the entries on the standby, copies to the primary. The side is where the
        /// guest is going.
        case openBracket(to: Side)
        /// The entries to a side; no copies any more.
        case closeBracket(at: Side)
        /// The entries to a side.
        case move(to: Side)
        /// The entries to the uplink, no copies any more: an open bracket is closed at the standby first.
        case becomeRemote
        /// Tell the physical network where the guest's addresses are.
        case announce
        /// Report the guest's next frame by the primary's port, or stop looking.
        case watchPrimary(Bool)
        /// An operator should look; replaces an earlier alarm.
        case alarm(String)
        /// The alarm is over.
        case calm
        /// Report a timer after so many nanoseconds, once; replaces an earlier one of its name.
        case arm(Timer, nanoseconds: Int64)
        /// Forget a timer.
        case disarm(Timer)
    }

    /// What is declared of the guest.
    public let configuration: Configuration
    /// Where the guest is in its life.
    public internal(set) var state = State.unknown
    /// Where the entries are, as far as actions succeeded.
    public internal(set) var side: Side
    /// Where the guest is going while frames reach both ports; nil: they do not.
    public internal(set) var bracket: Side?
    /// The alarm that stands.
    public internal(set) var alarm: String?

    /// The guest's driver took the STANDBY feature; nil: that may have been before the monitor was heard.
    package var isNegotiated: Bool?
    /// The virtual CPUs run.
    package var isRunning = false
    /// A migration to this host has not completed.
    package var isIncoming = false
    /// The migration under way took the primary away.
    package var wasUnplugged = false
    package var hasShutDown = false
    /// The last migration from here was called off or failed, and none was begun since.
    package var wasCalledOff = false
    /// The side before the bracket that was asked for last, should that fail.
    package var sideBefore: Side
    /// An action that failed and is to be tried again.
    package var pending: Action?
    /// How often it has failed.
    package var failures = 0
    package var isWatching = false
    package var armed: Set<Timer> = []
    package var actions: [Action] = []

    /// - Parameters:
    ///   - configuration: what is declared of the guest.
    ///   - side: where the entries are.
    ///   - bracket: where the guest was going when a bracket was opened that is still open; nil: none is.
    public init(_ configuration: Configuration, side: Side, bracket: Side? = nil) {
        self.configuration = configuration
        self.side = side
        self.bracket = bracket
        sideBefore = side
    }

    /// Takes what happened and says what to do, in this order; nothing when it changes nothing.
    public mutating func handle(_ input: Input) -> [Action] {
        actions = []
        switch input {
        case .connected(let situation): resynchronise(situation)
        case .disconnected: disconnected()
        case .event(let event): take(event)
        case .timer(let timer): ranOut(timer)
        case .frameOnPrimary: frameOnPrimary()
        case .primaryCarrier(let isUp): carrier(isUp)
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
