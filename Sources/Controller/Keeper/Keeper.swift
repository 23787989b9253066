public import FDB
import Glibc
public import Netlink
public import Policy
public import Records
import Switchdev
import System

/// Keeps prepared guests as the journal says: looks at the suspicious, and repairs, redirects or reports.
///
/// The CLI and the keeper share the journal and nothing else: whoever changes a guest holds its lock, and reads the record
/// after taking it. So the changes that the CLI makes are never taken for drift: either its lock is still held, and the
/// keeper looks again later, or its record is there.
///
/// It belongs to the thread that made it, and to that thread's network namespace.
public struct Keeper: ~Copyable {
    /// What was done about a primary without carrier.
    enum MuteState: Hashable {
        /// A bracket was opened for it.
        case bracketed
        /// Nothing, for this reason.
        case told(String)
    }

    /// How a look at a guest ended.
    public enum Outcome: Sendable {
        /// As intended, or not known any more.
        case fine
        /// Another process is at it, or it is too early: look again at this time (CLOCK_MONOTONIC, nanoseconds), for
        /// this cause.
        case later(at: Int64, Watch.Cause)
        /// Something fights the repairs: look again at this time; `isNews` the first time of a fight.
        case fought(until: Int64, Watch.Cause, isNews: Bool)
        /// Put back as recorded.
        case repaired(Report, Watch.Cause)
        /// Redirected to another side, for this reason.
        case redirected(Report, reason: String)
        /// What a dead process left was ended, in these words.
        case recovered(Reconciliation)
        /// It is not as intended, and nothing can be done here.
        case beyondRepair(String)
    }

    var host: Host
    let journal: Journal
    /// The guests under watch.
    public internal(set) var watch = Watch()
    /// What was done since it was made.
    public var counters: DaemonCounters
    /// How often a guest may be repaired.
    public var limits: RepairBudget.Limits
    /// How redirections are made.
    public var options: VerbOptions

    var budgets: [Int64: RepairBudget] = [:]
    /// Frames that a guest's port had received when its addresses were first seen behind the uplink.
    var strays: [Int64: UInt64] = [:]
    /// Guests whose flag was missing, with the time from which it counts as lost.
    var flagless: [Int64: Int64] = [:]
    /// Guests whose primary has no carrier, with what became of it.
    var mute: [Int64: MuteState] = [:]
    /// Guests whose redirections follow QEMU's events: what they do by themselves is not drift.
    public var followed: Set<Int64> = [] {
        didSet { followReady(before: oldValue) }
    }
    /// Those of them whose migration to another host is under way.
    public var leaving: Set<Int64> = []
    /// Guests whose next repair waits because something fights it.
    var fights = Set<Int64>()
    /// Of the journal when it was last read as a whole.
    private var journalVersion: Int64?
    private var intents = Journal.Intents()
    private let history: HistoryWriter

    /// - Parameters:
    ///   - folder: journal and history; made when they are missing.
    ///   - limits: how often a guest may be repaired.
    ///   - options: how redirections are made.
    /// - Throws: ``ControllerError`` of code `precondition`: no netlink socket, no privilege, or no journal to write to.
    public init(
        folder: StateFolder, limits: RepairBudget.Limits = .init(), options: VerbOptions = .init()
    ) throws(ControllerError) {
        var host = try Host(folder: folder)
        try host.requirePrivilege()
        host.ready = ReadyObservations()
        let journal = try Journal(folder: folder)
        self.host = host
        self.journal = journal
        history = HistoryWriter(folder)
        counters = DaemonCounters(startedAt: Stopwatch.realTime)
        self.limits = limits
        self.options = options
    }

    /// What a notification of a changed entry says about a guest.
    public func hear(_ change: FDBMonitor.Change) -> Watch.Suspicion? { watch.hear(change) }

    /// What a notification of a link says about guests.
    public mutating func hear(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> [Watch.Suspicion] {
        guard let change = try LinkChange(header, payload) else { return [] }
        spoilReady(at: change.index)
        return try watch.hear(change) { () throws(NetlinkError) in try Link(decoding: payload) }
    }

    /// Brings every guest to the side that the journal says, ends what dead processes left, and begins to watch.
    ///
    /// Be subscribed to the kernel's notifications before, so that nothing is missed in between.
    public mutating func begin() throws(ControllerError) -> ReconciliationReport {
        counters.countResync(.start)
        let report = try host.reconcile(options: options)
        _ = try reload()
        try learnPorts()
        return report
    }

    /// Reads the journal again: the guests whose record others have written since.
    ///
    /// - Returns: nil when there is nothing new but what was written here.
    public mutating func reload() throws(ControllerError) -> [Watch.Suspicion]? {
        var rows: [Int64] = []
        let intents = journal.intents()
        if intents != self.intents {
            for (row, record) in watch.records {
                guard let intent = intents[row, revision: record.revision] else { continue }
                if intent.phase != record.phase || intent.goal != record.goal { rows.append(row) }
            }
        }
        let counter = journal.database.changeCounter
        let version = try journal.dataVersion()
        let isWritten = version != journalVersion
        if isWritten {
            let revisions = try journal.revisions()
            for row in watch.records.keys where revisions[row] == nil { forget(row) }
            for (row, revision) in revisions where watch.records[row]?.revision != revision { rows.append(row) }
        }
        var changed: [Watch.Suspicion] = []
        for row in rows {
            guard let record = try journal.record(row: row), record.boot == journal.boot else { continue }
            if record.guest.side != watch.records[row]?.guest.side { strays[row] = nil }
            watch.set(record)
            if followed.contains(row) { host.ready?.spoil(row) }
            changed.append(Watch.Suspicion(row: row, cause: .recorded))
        }
        self.intents = intents
        journalVersion = version
        journal.known.readAll(counter, version: version)
        return isWritten || !changed.isEmpty ? changed : nil
    }

    /// Looks at every guest, by single gets of its addresses: a dump may skip live entries and hand others over twice, and the
    /// kernel walks a bridge's whole table for it once for each port (`br_fdb_dump`).
    ///
    /// - Returns: the guests to ``check(_:cause:)``.
    public mutating func resync(reason: DaemonCounters.ResyncReason) throws(ControllerError) -> [Watch.Suspicion] {
        counters.countResync(reason)
        _ = try reload()
        var suspects = Set(try learnPorts())
        for (row, record) in watch.records {
            guard record.phase == .pinned, !suspects.contains(row) else {
                suspects.insert(row)
                continue
            }
            let guest = record.guest
            // A bridge that is gone has no guest that is as intended.
            let entries = try? Table.read(guest.addresses, bridge: guest.bridge.index, using: &host.socket)
            let isRight = entries?.allSatisfy { $0.map { watch.suspicion($0, record) == nil } ?? false } ?? false
            if !isRight { suspects.insert(row) }
        }
        return suspects.sorted().map { Watch.Suspicion(row: $0, cause: .resync) }
    }

    /// Reads how the ports are; returns the guests for whose ports that is news.
    @discardableResult
    private mutating func learnPorts() throws(ControllerError) -> [Int64] {
        let links = try ControllerError.reading("the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &host.socket)
        }
        var news = Set(links.all.filter { watch.learn($0) }.map(\.index))
        for record in watch.records.values {
            for (_, port) in record.guest.ports where links[port.index]?.name != port.name { news.insert(port.index) }
        }
        if news.isEmpty { return [] }
        return watch.records.values.filter { $0.guest.ports.contains { news.contains($0.port.index) } }.map(\.row)
    }

    /// Stops watching a guest.
    mutating func forget(_ row: Int64) {
        watch.remove(row)
        host.ready?.forget(row)
        budgets[row] = nil
        strays[row] = nil
        flagless[row] = nil
        mute[row] = nil
        fights.remove(row)
        counters.driftFights = fights.count
    }

    /// Counts what was done, and writes it to the history, which stays open.
    mutating func write(_ report: Report, reason: String? = nil) -> Report {
        var report = report
        if let reason { report.notes.insert("by the daemon: \(reason)", at: 0) }
        for errno in report.refusals { counters.countError(errno) }
        if report.isEvent, let problem = history.append(report) { report.notes.append(problem) }
        return report
    }
}

/// The history of a process that stays: opened when it is first needed, and again after a failure.
final class HistoryWriter {
    private let folder: StateFolder
    private var file: HistoryFile?

    init(_ folder: StateFolder) { self.folder = folder }

    /// - Returns: why it was not written.
    func append(_ report: Report) -> String? {
        do throws(DatabaseError) {
            if file == nil { file = try HistoryFile(folder) }
            try file?.history.append(report)
            try file?.history.shortenLog()
            return nil
        } catch {
            file = nil
            return "the history was not written: \(error)"
        }
    }

    private final class HistoryFile {
        let history: History
        init(_ folder: StateFolder) throws(DatabaseError) { history = try History(folder: folder) }
    }
}
