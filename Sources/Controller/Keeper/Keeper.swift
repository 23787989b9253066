import FDB
import Netlink
package import Policy
package import Records
import Switchdev
import System

/// Keeps prepared guests as the journal says: looks at the suspicious, and repairs, redirects or reports.
///
/// The CLI and the keeper share the journal and nothing else: whoever changes a guest claims it, and reads the record
/// after taking the lock. So the changes that the CLI makes are never taken for drift: either its lock is still held, and the
/// keeper looks again later, or its record is there.
///
/// It belongs to the thread that made it, and to that thread's network namespace.
package struct Keeper: ~Copyable {
    /// How a look at a guest ended.
    package enum Outcome: Sendable {
        /// As intended, or not known any more.
        case fine
        /// Another process is at it, or it is too early: look again at this time (CLOCK_MONOTONIC, nanoseconds), for
        /// this cause.
        case later(at: Int64, Watch.Cause)
        /// It is not certain where it is: look again at this time, for this cause. There is a condition where the
        /// operator should know.
        case doubtful(Condition?, again: Int64, Watch.Cause)
        /// Something fights the repairs: look again at this time; `isNews` the first time of a fight. `by` has the ports whose frames
        /// have taken addresses.
        case fought(until: Int64, Watch.Cause, by: [String], isNews: Bool)
        /// Put back as recorded; `on` has the ports where entries were found that others had taken.
        case repaired(Report, Watch.Cause, by: [String], on: [String])
        /// Addresses that the guest had by asking for them are given up, because they were seen at these ports.
        case yielded([String], to: [String])
        /// Redirected to another side, for this reason.
        case redirected(Report, reason: String)
        /// A bracket was opened, for this reason.
        case bracketed(Report, reason: String)
        /// What a dead process left was ended, in these words.
        case recovered(Reconciliation)
        /// Its bridge or a port has another name, which the record has taken over; in words.
        case renamed(String)
        /// It is not as intended, and nothing can be done here.
        case beyondRepair(String)
        /// Its primary has no carrier, and this is why no bracket was opened.
        case unbracketed(String)

        /// What failed at an earlier look is over: this one has found something else. Whether an attempt has succeeded is not said here.
        package var replacesFailure: Bool {
            switch self {
            case .doubtful, .fought, .yielded, .unbracketed, .beyondRepair: true
            case .fine, .later, .repaired, .redirected, .bracketed, .recovered, .renamed: false
            }
        }
    }

    var host: Host
    let journal: Journal
    /// Holds off a second daemon.
    private let lock: DaemonLock
    /// The guests under watch.
    package internal(set) var watch = Watch()
    /// What it remembers of each of them beside the record, by row.
    package var wards: [Int64: Ward] = [:]
    /// What is wrong with guests that the configuration names and that are not prepared.
    var absent: [GuestID: Ward] = [:]
    /// What was heard of links since it was last asked for (``takeLinkNews()``).
    var linkNews = LinkNews()
    /// MACs of guests that are not prepared, perhaps because it is not known where they are, with what was heard last of their entries:
    /// nil for one that was removed.
    var awaited: [MACAddress: [Address: Entry?]] = [:]
    /// Rows of followed guests whose ports are to be read for their next redirection.
    var unready: Set<Int64> = []
    /// When ports' counters were last looked at (``countSent(now:)``).
    var lastCount: Int64 = 0
    /// When guests with an open bracket are looked at (``judgeBrackets()``), by row, and how long one may be open.
    var openBrackets: [Int64: Int64] = [:]
    var bracketTimeout: Int64 = 60_000_000_000
    /// Rows of guests whose bridge or ports may have changed since they were judged.
    var unjudged: Set<Int64> = []
    /// A record that another process wrote was read before its writing was heard of.
    private var hasUnheard = false
    /// Changes of conditions that are to be told.
    var conditionNews: [ConditionNews] = []
    /// The file of conditions is not as they are.
    var conditionsAreNew = true
    /// When it was last written (CLOCK_MONOTONIC, nanoseconds), and what tells it from one that others have changed.
    var conditionsWrittenAt: Int64 = 0
    var conditionsWritten: FileIdentity?
    /// What an earlier daemon of this boot had found.
    var earlierConditions: EarlierConditions
    /// Ports have changed, and with them who may send from guests' addresses perhaps.
    package internal(set) var guardsAreOld = false
    /// What was done since it was made.
    package var counters: DaemonCounters
    /// How often a guest may be repaired.
    package var limits = RepairBudget.Limits()
    /// How redirections are made.
    package var options = VerbOptions()
    /// Guests of which it only says what it would do.
    package internal(set) var observed = Observed()
    /// How long and how often something must be seen before a guest is believed to have come or gone.
    package var trailLimits = Trail.Limits()
    /// When the guests on other hosts are next looked at (``heed(now:)``); never without such guests.
    package internal(set) var heedingDue = Int64.max
    /// Who is asked whether it takes its ports' frames.
    var asking: Asking
    /// Where frames are received that are kept for guests.
    var captureBuffer: CaptureBuffer?
    /// The ports where ``QueueShield`` drops frames, by their guests' rows.
    var queues: [Int64: KeptQueue] = [:]

    /// - Parameter folder: journal and history; made when they are missing.
    /// - Throws: ``ControllerError`` of code `precondition`: no netlink socket, no privilege, no journal to write to, or
    ///   another daemon that keeps its guests.
    package init(folder: StateFolder) throws(ControllerError) {
        var host = try Host(folder: folder)
        try host.kernel.requirePrivilege()
        let journal = try Journal(folder: folder, keepingRecords: .max)
        let asking = try Asking()
        lock = try journal.lockDaemon()
        self.host = host
        self.journal = journal
        self.asking = asking
        let earlier = journal.lastConditions
        earlierConditions = EarlierConditions(earlier ?? [])
        // Who asks before the first look is over has to find what is known: nothing. What fails here fails again, and is told, then.
        if earlier == nil { _ = try? journal.write([], followed: []) }
        counters = DaemonCounters(startedAt: Stopwatch.realTime)
    }

    /// Brings every guest to the side that the journal says, ends what dead processes left, and begins to watch.
    ///
    /// Be subscribed to the kernel's notifications before, so that nothing is missed in between.
    package mutating func begin() throws(ControllerError) -> ReconciliationReport {
        counters.countResync(.start)
        let report = try Reconcile(options: options, observed: observed).run(on: &host)
        _ = reload()
        learnPorts(try host.kernel.links())
        recallHandovers()
        // Who has changed hosts often is known now; what a migration has come to, nobody can know any more.
        earlierConditions.end([.fabric, .follower]) { _, _ in true }
        for record in watch.records.values where record.guest.side == .remote {
            let entries = try? host.kernel.entries(record.guest.addresses, of: record.guest)
            for case let entry? in entries ?? [] { hearClaim(entry, of: record) }
        }
        return report
    }

    /// Something was done to the lock of the daemon or to the file of conditions: that is written anew where others have done it.
    ///
    /// - Returns: false where another daemon can have the lock now.
    package mutating func seeOwnFiles() -> Bool {
        if let conditionsWritten, journal.conditionsIdentity != conditionsWritten { conditionsAreNew = true }
        return journal.isKept(lock)
    }

    /// What a reading of records has told.
    package struct News {
        /// A guest is known anew, known otherwise, or no longer known; what this process wrote itself is not news.
        package var isNews = false
        /// Guests whose records others have written, to be checked.
        package var changed: [Watch.Suspicion] = []
        /// The same of those that a verb has begun with, whose end is heard of, or ended with, after which another may follow: when to
        /// check them (CLOCK_MONOTONIC, nanoseconds), unless something else is heard.
        package var worked: [(row: Int64, at: Int64, hasEnded: Bool)] = []
        /// Records that are broken, by their names: their guests are kept as they were known. The list of records itself has no name.
        package var faults: [(name: String?, error: ControllerError)] = []
    }

    /// Reads records again that others have written.
    ///
    /// - Parameter names: the guests; nil for all.
    package mutating func reload(_ names: Set<String>? = nil) -> News {
        var news = News(isNews: hasUnheard)
        hasUnheard = false
        let all: Set<String>
        do throws(ControllerError) {
            if let names { all = names } else { all = Set(try journal.names()) }
        } catch {
            news.faults = [(nil, error)]
            return news
        }
        if names == nil {
            for record in watch.records.values where !all.contains(record.guest.id.text) {
                forget(record.row)
                news.isNews = true
            }
        }
        for name in all {
            guard let id = try? GuestID(name) else { continue }
            let old = watch.record(named: id)
            do throws(ControllerError) {
                let record = try journal.record(named: name)
                if record == old { continue }
                news.isNews = true
                if let old, old.row != record?.row { forget(old.row) }
                guard let record else { continue }
                learn(record)
                suspect([record.row])
                spoilReady(record.row)
                if record.isUnfinished || old?.row == record.row && old?.isUnfinished == true {
                    let pause = record.isUnfinished ? Keeper.unfinishedPause : Keeper.endedPause
                    news.worked.append((record.row, monotonicNanoseconds() + pause, !record.isUnfinished))
                } else {
                    news.changed.append(Watch.Suspicion(row: record.row, cause: .recorded))
                }
            } catch {
                news.faults.append((name, error))
            }
        }
        return news
    }

    /// What another process let go of and did not end is to be looked at.
    package mutating func abandoned(_ names: Set<String>) -> [Watch.Suspicion] {
        names.compactMap { name in
            guard let record = (try? GuestID(name)).flatMap({ watch.record(named: $0) }),
                record.isUnfinished, !journal.isLocked(name),
                wards[record.row]?.abandonedRevision != record.revision
            else { return nil }
            wards[record.row]?.abandonedRevision = record.revision
            return Watch.Suspicion(row: record.row, cause: .recorded)
        }
    }

    /// Looks at every guest, by single gets of its addresses: a dump may skip live entries and hand others over twice, and the
    /// kernel walks a bridge's whole table for it once for each port (`br_fdb_dump`).
    ///
    /// - Returns: the guests to ``check(_:cause:)``.
    package mutating func resync(reason: DaemonCounters.ResyncReason) throws(ControllerError) -> [Watch.Suspicion] {
        counters.countResync(reason)
        _ = reload()
        let links = try host.kernel.links()
        restoreGuards(links)
        if reason == .interval { askAllAtRest() }
        countHandovers()
        var suspects = Set(learnPorts(links))
        suspect(watch.records.keys)
        for (row, record) in watch.records {
            guard record.phase == .pinned, record.guest.neighbours == nil, !suspects.contains(row) else {
                suspects.insert(row)
                continue
            }
            // A bridge that is gone has no guest that is as intended.
            let entries = try? host.kernel.entries(record.guest.addresses, of: record.guest)
            for case let entry? in entries ?? [] { hearClaim(entry, of: record) }
            let isRight = entries?.allSatisfy { $0.map { record.fault(of: $0) == nil } ?? false } ?? false
            if !isRight { suspects.insert(row) }
        }
        return suspects.sorted().map { Watch.Suspicion(row: $0, cause: .resync) }
    }

    /// Reads how the ports are; returns the guests for whose ports that is news.
    @discardableResult
    private mutating func learnPorts(_ links: Links) -> [Int64] {
        var news = Set(links.all.filter { watch.learn($0) }.map(\.index))
        for record in watch.records.values {
            for port in [record.guest.bridge] + record.guest.ports.map(\.port)
            where links[port.index]?.name != port.name { news.insert(port.index) }
        }
        if news.isEmpty { return [] }
        return watch.records.values.filter { record in
            news.contains(record.guest.bridge.index) || record.guest.ports.contains { news.contains($0.port.index) }
        }.map(\.row)
    }

    /// Where the journal and the history are.
    package var folder: StateFolder { host.folder }

    // MARK: - Wards

    /// Watches a guest as its record is now.
    mutating func learn(_ record: GuestRecord) {
        let old = watch.records[record.row]
        watch.set(record)
        counters.lostPrimaries[record.guest.id, default: 0] += 0
        if wards[record.row] == nil { wards[record.row] = Ward() }
        noteBracket(record)
        counters.expectMoves(on: record.guest.bridge.name)
        // What was heard of it concerned the side where it was.
        if let old, old.guest.side != record.guest.side { wards[record.row]?.doubt = nil }
        if let old, (old.guest.side == .remote) != (record.guest.side == .remote) { noteHandover(record) }
        if record.guest.side == .remote, heedingDue == .max { heedingDue = 0 }
        if record.phase == .pinned, old?.phase != .pinned || old?.guest.side != record.guest.side {
            askAtRest(record.row, at: monotonicNanoseconds() + Asking.restPause)
        }
    }

    /// Watches a guest as another process has written its record: what hears of records has to be told all the same.
    mutating func learnUnheard(_ record: GuestRecord) {
        learn(record)
        hasUnheard = true
    }

    /// Watches a guest that is held as its record is now, after it was written.
    mutating func relearn(_ claim: inout Claim) throws(ControllerError) {
        if try claim.reread() { learn(claim.record) } else { forget(claim.record.row) }
    }

    /// Stops watching a guest.
    mutating func forget(_ row: Int64) {
        setFought(row, false)
        for source in Condition.Source.allCases { set(row, source, []) }
        if let guest = watch.records[row]?.guest.id {
            counters.conditions[guest] = nil
            counters.forget(guest)
        }
        forgetAsking(row)
        try? keepQueue(row, nil)
        watch.remove(row)
        wards[row] = nil
        openBrackets[row] = nil
        unready.remove(row)
        unjudged.remove(row)
    }

    /// Something fights the repairs of a guest, or does no longer.
    mutating func setFought(_ row: Int64, _ isFought: Bool) {
        guard wards[row]?.isFought == !isFought else { return }
        wards[row]?.isFought = isFought
        counters.driftFights += isFought ? 1 : -1
    }

    /// Counts what was done, and writes it to the history.
    mutating func book(_ report: Report, reason: String? = nil) -> Report {
        var report = report
        if let reason { report.notes.insert("by the daemon: \(reason)", at: 0) }
        for errno in report.refusals { counters.countError(errno) }
        return host.book(report)
    }
}
