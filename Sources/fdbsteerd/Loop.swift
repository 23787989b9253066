import Configuration
import Controller
import FDB
import Glibc
import Logging
import Netlink
import Policy
import Records
import Switchdev
import System

/// The daemon's one loop, on one thread: notifications of the kernel, writes to the journal, signals and timers.
///
/// That thread owns the command socket too, so that an event is acted on without a hop between threads.
struct Loop: ~Copyable {
    var keeper: Keeper
    var log: Logger
    var configuration: DaemonConfiguration
    /// Guests whose redirections follow what QEMU tells.
    var followed: [GuestID: Followed] = [:]
    /// Them by their rows.
    var followedIDs: [Int64: GuestID] = [:]
    /// What is waited for; a followed guest's by its row.
    var descriptors: EventSet
    /// What has happened since the last turn.
    var happened: [Int64] = [Loop.monitorToken, Loop.groupsToken, Loop.journalToken]
    /// What tells the events of libvirt's domains, where a followed guest names one.
    var events: EventCommand?
    private let monitor: MonitorSocket
    private let journal: FolderWatch
    private let folder: String
    private let signals: SignalSet
    /// Guests to look at again, with the time (CLOCK_MONOTONIC, nanoseconds) and the cause.
    private var pending: [Int64: (at: Int64, cause: Watch.Cause)] = [:]
    /// What was last reported of guests that are not as intended.
    private var conditions: [Int64: String] = [:]
    private var overran = false
    /// The journal was written, and could not be read since.
    private var isUnread = false
    private var lastResync: Int64 = 0
    /// When the next guest is made ready (``Keeper/makeOneReady()``).
    private var readyAt: Int64 = 0
    private var resyncInterval: Int64
    /// Troubles of the daemon's own that were told of.
    private var troubles: Set<String> = []
    private let page: MetricsPage
    private let health: LoopHealth
    /// The service manager, where one started this process, and when it was last told that the loop goes round.
    private let manager = ServiceNotification()
    private var lastSign: Int64 = 0
    private let configurationFile: ConfigurationFile

    /// A turn takes so many notifications before it looks at everything else.
    private static let notificationsPerTurn = 1024
    /// Between two resyncs that lost notifications ask for: a storm loses them faster than anybody can look.
    private static let resyncPause: Int64 = 200_000_000
    /// Between two guests that are made ready, and before the first after a change, in nanoseconds: it is for quiet times.
    private static let readyPause: Int64 = 2_000_000
    /// Tokens that are no rows: the kernel's notifications, those of multicast groups, writes to the journal, and the rest.
    private static let monitorToken: Int64 = -1
    private static let groupsToken: Int64 = -2
    private static let journalToken: Int64 = -3
    static let ownToken: Int64 = -4

    /// Subscribes, reconciles, and is ready to run.
    init(
        _ configuration: DaemonConfiguration, from file: ConfigurationFile, folder: StateFolder,
        signals: SignalSet, page: MetricsPage, health: LoopHealth, log: Logger
    ) throws(ControllerError) {
        var keeper = try Keeper(folder: folder, limits: configuration.repairLimits, options: configuration.verbOptions)
        // Before anything is read, so that nothing is missed in between.
        let monitor: MonitorSocket
        let receiveBuffer = Int32(clamping: configuration.daemon.receiveBuffer)
        do throws(NetlinkError) {
            monitor = try MonitorSocket(groups: [.neighbour, .link], receiveBuffer: receiveBuffer)
        } catch {
            throw ControllerError(.precondition, "cannot hear the kernel's notifications", cause: error)
        }
        let groups = try keeper.watchGroups(receiveBuffer: receiveBuffer)
        let journal = try ControllerError.system(
            remedy: "name a folder that exists by --state or in the configuration; inotify watches may be used up "
                + "(sysctl fs.inotify.max_user_watches)"
        ) { () throws(SystemError) in try FolderWatch(folder.journalFiles) }
        let descriptors = try ControllerError.system { () throws(SystemError) in try EventSet() }
        descriptors.watch(monitor.descriptor, token: Loop.monitorToken)
        descriptors.watch(groups, token: Loop.groupsToken)
        descriptors.watch(journal.descriptor, token: Loop.journalToken)
        descriptors.watch(signals.descriptor, token: Loop.ownToken)
        let report = try keeper.begin()
        self.keeper = keeper
        self.descriptors = descriptors
        self.monitor = monitor
        self.journal = journal
        self.folder = folder.path
        self.signals = signals
        resyncInterval = configuration.daemon.resyncInterval
        configurationFile = file
        self.configuration = configuration
        self.page = page
        self.health = health
        self.log = log
        for guest in report.guests {
            log.log(
                level: guest.ok ? .info : .error, "reconciled",
                metadata: ["guest": "\(guest.guest)", "result": "\(guest.words)"])
        }
        for address in report.sentinelsRemoved {
            log.notice("sentinel removed", metadata: ["address": "\(address)"])
        }
        lastResync = monotonicNanoseconds()
        log.notice("watching", metadata: ["guests": "\(self.keeper.watch.count)"])
        chooseFollowed()
        publish()
        manager?.ready(status: status)
    }

    /// Runs until SIGTERM or SIGINT.
    mutating func run() throws(ControllerError) {
        while true {
            if happened.contains(Loop.monitorToken) { try hear() }
            if happened.contains(Loop.groupsToken) { try keeper.hearGroups() }
            if happened.contains(Loop.journalToken) { try hearOfJournal() }
            if isUnread { readJournal() }
            follow()
            let now = monotonicNanoseconds()
            if keeper.isUnready, now >= readyAt { keeper.makeOneReady() }
            if overran, now - lastResync >= Loop.resyncPause {
                overran = false
                resync(reason: .overrun)
            } else if now - lastResync >= resyncInterval {
                resync(reason: .interval)
            }
            for (row, entry) in pending where entry.at <= now {
                pending[row] = nil
                look(at: [Watch.Suspicion(row: row, cause: entry.cause)])
            }
            while let signal = signals.next() {
                guard signal == SIGHUP else {
                    log.notice("stopping", metadata: ["signal": "\(String(cString: strsignal(signal)))"])
                    manager?.stopping()
                    return
                }
                manager?.reloading()
                reload()
                manager?.ready(status: status)
            }
            publish()
            showLife()
            health.rest(isReady: !overran)
            wait()
            health.turn()
        }
    }

    /// Takes over a changed configuration; one that is wrong changes nothing. The journal has the intent, so that none is
    /// lost.
    private mutating func reload() {
        do throws(ConfigurationError) {
            let configuration = try configurationFile.read()
            self.configuration = configuration
            keeper.limits = configuration.repairLimits
            keeper.options = configuration.verbOptions
            resyncInterval = configuration.daemon.resyncInterval
            log.logLevel = configuration.logLevel
            log.notice("configuration read again", metadata: ["file": "\(configurationFile.path)"])
            if configuration.daemon.state != configurationFile.current.daemon.state
                || configuration.metrics != configurationFile.current.metrics
                || configuration.daemon.receiveBuffer != configurationFile.current.daemon.receiveBuffer
            {
                log.warning("daemon.state, daemon.receive_buffer and [metrics] change with a restart only")
            }
        } catch {
            log.error("configuration refused, the old one holds", metadata: ["error": "\(error)"])
            return
        }
        resync(reason: .reload)
        chooseFollowed()
    }

    private func publish() {
        let now = keeper.counters
        page.count { $0 = now }
    }

    private var status: String { "watching \(keeper.watch.count) guests" }

    /// Tells the service manager's watchdog that the loop goes round, as often as it asks for.
    private mutating func showLife() {
        guard let interval = manager?.watchdogInterval else { return }
        let now = monotonicNanoseconds()
        guard now - lastSign >= interval / 2 else { return }
        manager?.alive()
        lastSign = now
    }

    private mutating func wait() {
        var due = lastResync + (overran ? Loop.resyncPause : resyncInterval)
        if let interval = manager?.watchdogInterval { due = min(due, lastSign + interval) }
        for entry in pending.values { due = min(due, entry.at) }
        if let time = followedDue { due = min(due, time) }
        let now = monotonicNanoseconds()
        if isUnread { due = min(due, now + Loop.resyncPause) }
        if keeper.isUnready {
            readyAt = now + Loop.readyPause
            due = min(due, readyAt)
        }
        let left = max(0, due - now)
        // Rounded up, so as not to turn for nothing.
        descriptors.wait(milliseconds: Int32(clamping: (left + 999_999) / 1_000_000), &happened)
    }

    /// Hears the kernel's notifications, and acts on each datagram before it hears the next.
    private mutating func hear() throws(ControllerError) {
        for _ in 0..<Loop.notificationsPerTurn {
            var suspicions: [Watch.Suspicion] = []
            do throws(NetlinkError) {
                let more = try monitor.receive { (header, payload) throws(NetlinkError) in
                    if let change = try FDBMonitor.change(header, payload) {
                        if let suspicion = keeper.hear(change) { suspicions.append(suspicion) }
                    } else {
                        suspicions += try keeper.hear(header, payload)
                    }
                }
                guard more else { return }
            } catch {
                keeper.spoilReady()
                switch error.code {
                case .overrun:
                    keeper.counters.netlinkOverruns += 1
                    if !overran { log.warning("notifications lost", metadata: ["then": "resync"]) }
                    overran = true
                case .malformed, .truncated:
                    // It may have been about any guest.
                    log.error("notification not understood", metadata: ["error": "\(error)"])
                    overran = true
                default:
                    throw ControllerError(.precondition, "cannot hear the kernel's notifications", cause: error)
                }
            }
            if !suspicions.isEmpty { look(at: suspicions) }
        }
        // There may be more.
        keeper.spoilReady()
    }

    private mutating func hearOfJournal() throws(ControllerError) {
        let changes = journal.changes()
        if changes.areReplaced {
            throw ControllerError(
                .precondition, "the journal in \(folder) was deleted or replaced while it was in use",
                remedy:
                    "start fdbsteerd anew, as its systemd unit does; guests that the journal has lost are to be prepared again"
            )
        }
        if changes.areWritten { isUnread = true }
    }

    /// Reads what others have written to the journal; what cannot be read now is read again soon.
    private mutating func readJournal() {
        do throws(ControllerError) {
            let changed = try keeper.reload()
            isUnread = false
            troubles.remove("journal")
            guard let changed else { return }
            look(at: changed)
            chooseFollowed()
        } catch {
            tell("journal", error)
        }
    }

    /// Tells of a trouble of the daemon's own, once until it is over.
    private mutating func tell(_ trouble: String, _ error: ControllerError) {
        guard troubles.insert(trouble).inserted else { return }
        log.error("in trouble, and tried again", metadata: ["with": "\(trouble)", "error": "\(error)"])
    }

    private mutating func resync(reason: DaemonCounters.ResyncReason) {
        do throws(ControllerError) {
            try resynchronise(reason)
            troubles.remove("resync")
        } catch {
            tell("resync", error)
            // Not everything was looked at.
            overran = true
        }
    }

    private mutating func resynchronise(_ reason: DaemonCounters.ResyncReason) throws(ControllerError) {
        let begin = monotonicNanoseconds()
        lastResync = begin
        let suspicions = try keeper.resync(reason: reason)
        let took = (monotonicNanoseconds() - begin) / 1000
        log.info(
            "resync",
            metadata: ["reason": "\(reason.rawValue)", "suspicious": "\(suspicions.count)", "us": "\(took)"])
        look(at: suspicions)
    }

    /// Looks at guests, and reports what was found.
    mutating func look(at suspicions: [Watch.Suspicion]) {
        for suspicion in suspicions {
            let row = suspicion.row
            let name = keeper.watch.name(row) ?? "\(row)"
            var about: Logger.Metadata = ["guest": "\(name)"]
            do throws(ControllerError) {
                let outcome = try keeper.check(row, cause: suspicion.cause)
                pending[row] = nil
                switch outcome {
                case .fine:
                    if suspicion.cause == .primaryBack { try comeBack(row) }
                    if suspicion.cause == .port, let isUp = keeper.watch.primaryCarrier(row) {
                        handleCarrier(of: row, isUp: isUp)
                    }
                    if conditions.removeValue(forKey: row) != nil { log.notice("as intended again", metadata: about) }
                case .later(let time, let cause):
                    pending[row] = (time, cause)
                case .fought(let time, let cause, let isNews):
                    pending[row] = (time, cause)
                    if isNews {
                        about["cause"] = "\(cause.rawValue)"
                        log.warning("something fights the repairs; they are slowed down", metadata: about)
                    }
                case .repaired(let report, let cause):
                    about["cause"] = "\(cause.rawValue)"
                    log(report, "repaired", about)
                case .redirected(let report, let reason):
                    about["reason"] = "\(reason)"
                    log(report, "redirected", about)
                case .recovered(let result):
                    about["result"] = "\(result.words)"
                    log.log(level: result.ok ? .notice : .error, "recovered", metadata: about)
                case .beyondRepair(let what):
                    report(what, row, about)
                }
            } catch {
                // One guest's trouble is no reason to leave the others.
                report("\(error)", row, about)
            }
        }
    }

    /// Reports a condition once.
    private mutating func report(_ what: String, _ row: Int64, _ about: Logger.Metadata) {
        guard conditions.updateValue(what, forKey: row) != what else { return }
        log.error("not as intended", metadata: about.merging(["reason": "\(what)"]) { $1 })
    }

    func log(_ report: Report, _ event: Logger.Message, _ about: Logger.Metadata) {
        var about = about
        about["from"] = "\(report.from.rawValue)"
        about["to"] = "\(report.to.rawValue)"
        about["entries"] = "\(report.addresses.count)"
        about["move_us"] = "\(report.timings.moveNanoseconds / 1000)"
        if let proof = report.proofStatus { about["proof"] = "\(proof.rawValue)" }
        if report.failures.isEmpty {
            log.notice(event, metadata: about)
        } else {
            about["failures"] = "\(report.failures.joined(separator: "; "))"
            log.error("\(event), but failed", metadata: about)
        }
    }
}
