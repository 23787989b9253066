import Configuration
import Controller
import FDB
import Netlink
import Policy
import QMP
import Switchdev

/// A guest whose redirections follow what QEMU tells, or the frames that it sends: what the policy
/// (``MigrationFollower``) needs of sockets and timers.
final class Followed {
    let settings: DaemonConfiguration.Guest
    let row: Int64
    var follower: MigrationFollower
    /// QEMU's monitor; nil for a guest whose events libvirt tells, or that only comes back to its primary.
    var client: QMPClient?
    /// Nobody is asked about it: it comes back to its primary, and is forgotten then.
    var isReturning = false
    /// Frames of the guest by its primary's port, while they are waited for.
    var frames: GuestFrames?
    var timers: [MigrationFollower.Timer: Int64] = [:]
    /// The rest of its announcements.
    var announcing: Announcing?
    /// An alarm was logged, and is not over.
    var hasAlarm = false

    init(
        _ settings: DaemonConfiguration.Guest, _ record: GuestRecord, configuration: DaemonConfiguration, now: Int64
    ) {
        self.settings = settings
        row = record.row
        let guest = record.guest
        let kind = guest.kind == .unknown ? settings.kind : guest.kind
        follower = MigrationFollower(
            MigrationFollower.Configuration(
                standbyDevice: settings.standbyDevice, primaryDevice: settings.primaryDevice,
                takesCopies: kind.takesOneOfTwo, unplugLimit: configuration.bracket.timeout,
                primaryLimit: configuration.bracket.timeout),
            side: guest.side, bracket: record.bracketGoal)
        // What takes its time goes before the guest is asked to give up its primary.
        if settings.follow, kind.takesOneOfTwo { Copies.prepare(on: guest.standby.name) }
        if settings.follow || settings.followRXFilter {
            client = settings.qmp.map { QMPClient(path: $0, now: now) }
        }
    }

    /// Begins anew from where the entries are.
    func begin(_ record: GuestRecord, now: Int64) {
        follower = MigrationFollower(
            follower.configuration, side: record.guest.side, bracket: record.bracketGoal)
        timers = [:]
        frames = nil
        if client != nil { client = settings.qmp.map { QMPClient(path: $0, now: now) } }
    }

    /// When something is due, on CLOCK_MONOTONIC in nanoseconds; nil for never.
    var due: Int64? {
        var least = client?.nextDeadline
        for time in timers.values { least = min(time, least ?? time) }
        if let next = announcing?.nextRound { least = min(next, least ?? next) }
        return least
    }

    /// Reads what has come, and hands over what it means to the policy.
    func inputs(now: Int64) -> (inputs: [MigrationFollower.Input], filters: [RxFilter]?) {
        var inputs: [MigrationFollower.Input] = []
        var filters: [RxFilter]?
        client?.advance(now: now) { happening in
            switch happening {
            case .connected(let situation):
                inputs.append(.connected(situation))
                filters = situation.filters
            case .disconnected: inputs.append(.disconnected)
            case .event(let event): inputs.append(.event(event))
            case .filters(let changed): filters = changed
            case .reply: break
            }
        }
        if frames?.take() == true { inputs.append(.frameOnPrimary) }
        for (timer, time) in timers where time <= now {
            timers[timer] = nil
            inputs.append(.timer(timer))
        }
        return (inputs, filters)
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

        init(_ announcer: consuming Announcer, rounds: Int) {
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
