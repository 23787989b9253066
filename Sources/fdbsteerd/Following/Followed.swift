import Configuration
import Controller
import FDB
import Netlink
import Policy
import Switchdev

/// A guest whose redirections follow what QEMU tells, or the frames that it sends: what the policy
/// (``MigrationFollower``) needs of sockets and timers.
final class Followed {
    let settings: DaemonConfiguration.Guest
    let row: Int64
    var follower: MigrationFollower
    /// The socket of QEMU's monitor; nil for a guest whose events libvirt tells, or that only comes back to its primary.
    let monitorPath: String?
    /// The policy has begun, and was not told yet how things stand.
    var awaitsSituation = true
    /// What its guest has caused while its redirections wait.
    var held = HeldEvents()
    private var heldUntil: Int64 = 0
    private var budget = RepairBudget()
    /// Nobody is asked about it: it comes back to its primary, and is forgotten then.
    var isReturning = false
    /// Frames of the guest by its primary's port, while they are waited for.
    var frames: GuestFrames?
    /// Its frames by the uplink, while they are waited for, and that port.
    var uplink: GuestFrames?
    var uplinkIndex: Int32 = 0
    /// What it may miss is kept, and sent again.
    let isReplayed: Bool
    var replay: Replayer?
    var timers: [MigrationFollower.Timer: Int64] = [:]
    /// The rest of its announcements.
    var announcing: Announcing?

    init(_ settings: DaemonConfiguration.Guest, _ record: GuestRecord, configuration: DaemonConfiguration) {
        self.settings = settings
        row = record.row
        let guest = record.guest
        isReplayed = Followed.isReplayed(settings, record, configuration)
        let kind = guest.kind == .unknown ? settings.kind : guest.kind
        follower = MigrationFollower(
            MigrationFollower.Configuration(
                standbyDevice: settings.standbyDevice, primaryDevice: settings.primaryDevice,
                hasPrimary: guest.primary != nil, takesCopies: guest.primary != nil && kind.takesOneOfTwo,
                unplugLimit: configuration.bracket.timeout,
                primaryLimit: configuration.bracket.timeout),
            side: guest.side, bracket: record.bracketGoal, isOrdered: record.isBracketOrdered)
        // What takes its time goes before the guest is asked to give up its primary.
        if settings.follow, guest.primary != nil, kind.takesOneOfTwo { Copies.prepare(on: guest.standby.name) }
        let isHeard = settings.follow || settings.followRXFilter
        monitorPath = isHeard ? settings.qmp.map(Following.resolved) : nil
    }

    /// Whether what a guest misses is sent again: its migrations have to be followed.
    static func isReplayed(
        _ settings: DaemonConfiguration.Guest, _ record: GuestRecord, _ configuration: DaemonConfiguration
    ) -> Bool { settings.follow && configuration.replays(settings, recorded: record.guest.replay) }

    /// What a guest's doings may cost: so many redirections, or questions for its filters, at once, and then fewer and fewer.
    static let limits = RepairBudget.Limits(burst: 20, firstWait: 100_000_000, longestWait: 5_000_000_000)

    /// Something that its guest did has redirected it.
    ///
    /// - Returns: whether its events wait from now on, for the first time.
    func spend(now: Int64) -> Bool {
        guard case .wait(let until, let isNews) = budget.ask(at: now, Followed.limits) else { return false }
        heldUntil = until
        return isNews
    }

    /// Whether its events wait, or are behind others that do.
    func isHeld(at now: Int64) -> Bool { isWaiting(at: now) || !held.isEmpty }
    /// Whether it is too early for another redirection.
    func isWaiting(at now: Int64) -> Bool { now < heldUntil }

    /// Begins anew from where the entries are.
    func begin(_ record: GuestRecord) {
        follower = MigrationFollower(
            follower.configuration, side: record.guest.side, bracket: record.bracketGoal,
            isOrdered: record.isBracketOrdered)
        timers = [:]
        frames = nil
        uplink = nil
        if record.guest.side == .remote { announcing = nil }
        awaitsSituation = true
    }

    /// When something is due, on CLOCK_MONOTONIC in nanoseconds; nil for never.
    var due: Int64? {
        var least = held.isEmpty ? nil : Optional(heldUntil)
        for time in timers.values { least = min(time, least ?? time) }
        if let next = announcing?.nextRound { least = min(next, least ?? next) }
        if let next = replay?.due { least = min(next, least ?? next) }
        return least
    }

    /// Reads what has come beside the monitor's events, and hands over what it means to the policy.
    func inputs(now: Int64) -> [MigrationFollower.Input] {
        var inputs: [MigrationFollower.Input] = []
        if frames?.take() == true {
            if isHeld(at: now) { held.keepFrame() } else { inputs.append(.frameOnPrimary) }
        }
        if uplink?.take() == true { inputs.append(.seenElsewhere) }
        for (timer, time) in timers where time <= now {
            timers[timer] = nil
            inputs.append(.timer(timer))
        }
        return inputs
    }

    /// Sends the announcements that are due.
    func announce(now: Int64, interval: Int64) throws(NetlinkError) {
        guard try announcing?.send(now: now, interval: interval) == false else { return }
        announcing = nil
    }

    /// Rounds of announcements that are to be sent.
    struct Announcing: ~Copyable {
        private let announcer: Announcer
        private var roundsLeft: Int
        /// On CLOCK_MONOTONIC, in nanoseconds.
        private(set) var nextRound: Int64 = 0

        init(_ announcer: Announcer, rounds: Int) {
            self.announcer = announcer
            roundsLeft = rounds
        }

        /// Sends a round if it is due.
        ///
        /// - Returns: whether more are to come.
        mutating func send(now: Int64, interval: Int64) throws(NetlinkError) -> Bool {
            guard now >= nextRound else { return true }
            roundsLeft -= 1
            nextRound = now + interval
            try announcer.sendRound()
            return roundsLeft > 0
        }
    }
}
