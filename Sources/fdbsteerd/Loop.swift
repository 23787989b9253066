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

/// The daemon's one loop, on one thread: it waits, and hands what has come to who takes it.
///
/// That thread owns the command socket too, so that an event is acted on without a hop between threads.
struct Loop: ~Copyable {
    var context: DaemonContext
    var following = Following()
    var preparing = Preparing()
    /// Guests to look at again, with the time (CLOCK_MONOTONIC, nanoseconds) and the cause.
    var pending: [Int64: (at: Int64, cause: Watch.Cause)] = [:]
    /// Tokens of what has happened since the last turn.
    private var happened: [Int64] = [Loop.monitorToken, Loop.groupsToken, Loop.journalToken]
    private let hearing: Hearing
    private let signals: SignalSet
    private var overran = false
    /// Guests whose records were written and not read since; nil for all.
    private var unread: Set<String>? = []
    /// When a list of the records that could not be read is tried again (CLOCK_MONOTONIC, nanoseconds).
    private var unlistedUntil: Int64 = 0
    private var lastResync: Int64 = 0
    /// When the next guest is made ready (``Keeper/makeOneReady()``).
    private var readyAt: Int64 = 0
    private var resyncInterval: Int64
    /// When the guests' guards were last compared with the ports.
    private var lastGuards: Int64 = 0
    /// Troubles of the daemon's own that were logged.
    var troubles: Set<String> = []
    /// Guests that could not be brought to where they belong, and when that is tried again.
    var failures: [Int64: Failure] = [:]
    /// Records that could not be read when they were last to be.
    private var broken: Set<String> = []
    private let page: MetricsPage
    private let health: LoopHealth
    /// The service manager, where one started this process, and when it was last told that the loop goes round.
    private let manager = ServiceNotification()
    private var lastSign: Int64 = 0
    private let configurationFile: ConfigurationFile

    /// A turn takes so many notifications before it looks at everything else.
    private static let notificationsPerTurn = 1024
    /// Between two resyncs that lost notifications ask for, in nanoseconds: a storm loses them faster than anybody can look.
    private static let resyncPause: Int64 = 200_000_000
    /// Between two looks at who may send from guests' addresses after ports have changed, in nanoseconds: a guest can make its port
    /// change as often as it likes.
    private static let guardPause: Int64 = 1_000_000_000
    /// Between two attempts to list the records, in nanoseconds.
    private static let listPause: Int64 = 1_000_000_000
    /// Between two guests that are made ready, and before the first after a change, in nanoseconds: it is for quiet times.
    private static let readyPause: Int64 = 2_000_000
    /// Tokens that are no rows: the kernel's notifications, those of multicast groups, and writes to the journal.
    private static let monitorToken: Int64 = -1
    private static let groupsToken: Int64 = -2
    private static let journalToken: Int64 = -3

    /// Where the loop hears of changes.
    private struct Hearing: ~Copyable {
        let monitor: MonitorSocket
        /// The descriptor of ``Keeper/watchGroups(receiveBuffer:)``.
        let groups: Int32
        let journal: JournalWatch

        /// Subscribes before anything is read, so that nothing is missed in between.
        init(_ keeper: inout Keeper, folder: StateFolder, receiveBuffer: Int32) throws(ControllerError) {
            let monitor: MonitorSocket
            do throws(NetlinkError) {
                monitor = try MonitorSocket(groups: [.neighbour, .link], receiveBuffer: receiveBuffer)
            } catch {
                throw ControllerError(.precondition, "cannot hear the kernel's notifications", cause: error)
            }
            let groups = try keeper.watchGroups(receiveBuffer: receiveBuffer)
            let journal = try JournalWatch(folder)
            self.monitor = monitor
            self.groups = groups
            self.journal = journal
        }
    }

    /// Subscribes, reconciles, and is ready to run.
    init(
        _ keeper: consuming Keeper, from file: ConfigurationFile, folder: StateFolder, signals: SignalSet,
        page: MetricsPage,
        health: LoopHealth, log: Logger
    ) throws(ControllerError) {
        let configuration = file.current
        keeper.apply(configuration)
        let hearing = try Hearing(
            &keeper, folder: folder, receiveBuffer: Int32(clamping: configuration.daemon.receiveBuffer))
        let descriptors = try ControllerError.system { () throws(SystemError) in try EventSet() }
        descriptors.watch(hearing.monitor.descriptor, token: Loop.monitorToken)
        descriptors.watch(hearing.groups, token: Loop.groupsToken)
        descriptors.watch(hearing.journal.descriptor, token: Loop.journalToken)
        descriptors.watch(signals.descriptor, token: DaemonContext.ownToken)
        descriptors.watch(keeper.askingDescriptor, token: DaemonContext.ownToken)
        let report = try keeper.begin()
        context = DaemonContext(
            keeper: keeper, configuration: configuration, log: log, descriptors: descriptors)
        self.hearing = hearing
        self.signals = signals
        resyncInterval = configuration.daemon.resyncInterval
        configurationFile = file
        self.page = page
        self.health = health
        lastResync = monotonicNanoseconds()
        begin(report)
    }

    private mutating func begin(_ report: ReconciliationReport) {
        for guest in report.guests {
            context.log.log(
                level: !guest.ok ? .error : guest.changed ? .notice : .info, "reconciled",
                metadata: ["guest": "\(guest.guest)", "result": "\(guest.message)"])
        }
        for address in report.sentinelsRemoved {
            context.log.notice("sentinel removed", metadata: ["address": "\(address)"])
        }
        context.log.notice("watching", metadata: ["guests": "\(context.keeper.watch.count)"])
        // A verb puts a guest back or fails. A look also knows what to do about a primary that is lost.
        let failed = report.guests.filter { !$0.ok }.compactMap { try? GuestID($0.guest) }
        let rows = failed.compactMap { context.keeper.watch.record(named: $0)?.row } + context.keeper.earlierSuspects
        look(at: Set(rows).sorted().map { .init(row: $0, cause: .resync) })
        following.choose(&context)
        // A plan that is not carried out is told by a look alone, and what an earlier daemon waited for is seen by one.
        let untold = context.keeper.watch.records.values.filter {
            context.keeper.isObserved($0.row) || $0.phase == .bracketed
        }
        look(at: untold.map { .init(row: $0.row, cause: .resync) })
        context.keeper.endEarlierConditions(
            followed: Set(following.guests.keys),
            configured: Set(context.configuration.guests.filter { $0.preparation != nil }.map(\.id)))
        publish()
        manager?.ready(status: status)
    }

    // MARK: - Turning

    /// Runs until SIGTERM or SIGINT.
    mutating func run() throws(ControllerError) {
        while true {
            if happened.contains(Loop.monitorToken) { try hear() }
            if happened.contains(Loop.groupsToken) { try context.keeper.hearGroups() }
            if happened.contains(Loop.journalToken) { try hearOfJournal() }
            readJournal()
            following.turn(happened, &context)
            for end in context.keeper.advanceAsking(now: monotonicNanoseconds()) { take(end) }
            happened.removeAll(keepingCapacity: true)
            doWhatIsDue()
            tellConditions()
            if !takeSignals() { return }
            publish()
            showLife()
            wait()
            health.turn()
        }
    }

    private mutating func doWhatIsDue() {
        let now = monotonicNanoseconds()
        context.keeper.countSent(now: now)
        if context.keeper.isUnready, now >= readyAt { context.keeper.makeOneReady() }
        if context.keeper.guardsAreOld, now - lastGuards >= Loop.guardPause {
            lastGuards = now
            context.keeper.restoreGuards()
        }
        if overran, now - lastResync >= Loop.resyncPause {
            overran = false
            resync(reason: .overrun)
        } else if now - lastResync >= resyncInterval {
            resync(reason: .interval)
        }
        look(at: context.keeper.heed(now: now))
        prepareConfigured()
        context.keeper.judgeBrackets()
        for (row, entry) in pending where entry.at <= now {
            pending[row] = nil
            look(at: [Watch.Suspicion(row: row, cause: entry.cause)])
        }
    }

    /// - Returns: false when the daemon is to end.
    private mutating func takeSignals() -> Bool {
        while let signal = signals.next() {
            guard signal == SIGHUP else {
                context.log.notice("stopping", metadata: ["signal": "\(String(cString: strsignal(signal)))"])
                manager?.stopping()
                return false
            }
            manager?.reloading()
            reload()
            manager?.ready(status: status)
        }
        return true
    }

    private mutating func wait() {
        var due = lastResync + (overran ? Loop.resyncPause : resyncInterval)
        if let interval = manager?.watchdogInterval { due = min(due, lastSign + interval) }
        due = min(due, context.keeper.heedingDue)
        due = min(due, context.keeper.askingDue)
        due = min(due, preparingDue)
        due = min(due, context.keeper.bracketsDue)
        for entry in pending.values { due = min(due, entry.at) }
        if unread == nil { due = min(due, unlistedUntil) }
        if let time = following.due { due = min(due, time) }
        if let time = context.keeper.countDue { due = min(due, time) }
        if let time = context.keeper.conditionsDue { due = min(due, time) }
        if context.keeper.guardsAreOld { due = min(due, lastGuards + Loop.guardPause) }
        let now = monotonicNanoseconds()
        if context.keeper.isUnready {
            readyAt = now + Loop.readyPause
            due = min(due, readyAt)
        }
        health.rest(until: max(due, now), isReady: !overran)
        let left = max(0, due - now)
        // Rounded up, so as not to turn for nothing.
        context.descriptors.wait(milliseconds: Int32(clamping: (left + 999_999) / 1_000_000), &happened)
    }

    // MARK: - Hearing

    /// Hears the kernel's notifications, and acts on each datagram before it hears the next.
    private mutating func hear() throws(ControllerError) {
        for _ in 0..<Loop.notificationsPerTurn {
            var suspicions: [Watch.Suspicion] = []
            var suspected: [FDBMonitor.Change] = []
            var moved: [FDBMonitor.Change] = []
            let isWatchingUplinks = following.isWatchingUplinks
            do throws(NetlinkError) {
                let more = try hearing.monitor.receive { (header, payload) throws(NetlinkError) in
                    if let change = try FDBMonitor.change(header, payload) {
                        if context.keeper.hear(change) != nil { suspected.append(change) }
                        if isWatchingUplinks { moved.append(change) }
                    } else {
                        suspicions += try context.keeper.hear(header, payload)
                    }
                }
                guard more else { return }
            } catch {
                try missed(error)
            }
            for change in moved { following.hear(change, &context) }
            if !suspected.isEmpty {
                // What a verb moves was in the record before: a look would only be in its way.
                try hearOfJournal()
                readJournal()
                for change in suspected {
                    if let suspicion = context.keeper.watch.hear(change) { suspicions.append(suspicion) }
                }
            }
            for suspicion in suspicions where isDue(suspicion) { look(at: [suspicion]) }
        }
        // There may be more.
        context.keeper.spoilReady()
    }

    /// A notification was lost, or not understood.
    private mutating func missed(_ error: NetlinkError) throws(ControllerError) {
        context.keeper.spoilReady()
        switch error.code {
        case .overrun:
            context.keeper.counters.netlinkOverruns += 1
            if !overran { context.log.warning("notifications lost", metadata: ["then": "resync"]) }
            overran = true
        case .malformed, .truncated:
            // It may have been about any guest.
            context.log.error("notification not understood", metadata: ["error": "\(error)"])
            overran = true
        default:
            throw ControllerError(.precondition, "cannot hear the kernel's notifications", cause: error)
        }
    }

    private mutating func hearOfJournal() throws(ControllerError) {
        let changes = hearing.journal.changes()
        if changes.isReplaced || (changes.concernsDaemon && !context.keeper.seeOwnFiles()) {
            throw ControllerError(
                .precondition,
                "the journal in \(context.keeper.folder.path) was deleted or replaced while it was in use",
                remedy:
                    "start fdbsteerd anew, as its systemd unit does; guests that the journal has lost are to be prepared again"
            )
        }
        unread = changes.areLost ? nil : unread?.union(changes.guests)
        look(at: context.keeper.abandoned(changes.locks))
    }

    /// Reads what others have written to the journal. A record that is broken is read again when it is written.
    private mutating func readJournal() {
        if unread?.isEmpty == true || (unread == nil && monotonicNanoseconds() < unlistedUntil) { return }
        let names = unread
        let news = context.keeper.reload(names)
        unread = []
        if let names { broken.subtract(names) } else { broken = [] }
        for fault in news.faults {
            if let name = fault.name {
                broken.insert(name)
            } else {
                (unread, unlistedUntil) = (nil, monotonicNanoseconds() + Loop.listPause)
            }
            report("journal", fault.error)
        }
        if broken.isEmpty, unread != nil { mended("journal") }
        take(news)
    }

    /// Logs a trouble of the daemon's own, once until it is over.
    mutating func report(_ trouble: String, _ error: ControllerError) {
        guard troubles.insert(trouble).inserted else { return }
        context.log.error(
            "operation failed, will retry", metadata: ["with": "\(trouble)", "error": "\(error)"])
    }

    /// What had failed works again, as somebody has just seen who needed it.
    ///
    /// - Returns: whether it had failed.
    @discardableResult
    mutating func mended(_ trouble: String) -> Bool {
        guard troubles.remove(trouble) != nil else { return false }
        context.log.notice("operation works again", metadata: ["with": "\(trouble)"])
        return true
    }

    // MARK: - Everything

    private mutating func resync(reason: DaemonCounters.ResyncReason) {
        do throws(ControllerError) {
            let begin = monotonicNanoseconds()
            lastResync = begin
            let suspicions = try context.keeper.resync(reason: reason)
            let took = (monotonicNanoseconds() - begin) / 1000
            context.log.info(
                "resync",
                metadata: ["reason": "\(reason.rawValue)", "suspicious": "\(suspicions.count)", "us": "\(took)"])
            look(at: suspicions)
            preparing.isDue = true
            mended("resync")
        } catch {
            report("resync", error)
            // Not everything was looked at.
            overran = true
        }
    }

    /// Takes over a changed configuration; one that is wrong changes nothing. The journal has the intent, so that none is
    /// lost.
    private mutating func reload() {
        do throws(ConfigurationError) {
            let configuration = try configurationFile.read()
            context.configuration = configuration
            context.keeper.apply(configuration)
            preparing.hurry()
            resyncInterval = configuration.daemon.resyncInterval
            context.log.logLevel = configuration.logLevel
            context.log.notice("configuration read again", metadata: ["file": "\(configurationFile.path)"])
            if configuration.daemon.state != configurationFile.current.daemon.state
                || configuration.metrics != configurationFile.current.metrics
                || configuration.log.format != configurationFile.current.log.format
                || configuration.daemon.receiveBuffer != configurationFile.current.daemon.receiveBuffer
            {
                context.log.warning(
                    "daemon.state, daemon.receive_buffer, log.format and [metrics] change with a restart only")
            }
        } catch {
            context.log.error("configuration refused, the old one holds", metadata: ["error": "\(error)"])
            return
        }
        resync(reason: .reload)
        following.choose(&context)
    }

    // MARK: - Saying so

    private mutating func publish() {
        context.keeper.counters.troubles = troubles.count
        let now = context.keeper.counters
        page.count { $0 = now }
    }

    private var status: String { "watching \(context.keeper.watch.count) guests" }

    /// Tells the service manager's watchdog that the loop goes round, as often as it asks for.
    private mutating func showLife() {
        guard let interval = manager?.watchdogInterval else { return }
        let now = monotonicNanoseconds()
        guard now - lastSign >= interval / 2 else { return }
        manager?.alive()
        lastSign = now
    }
}
