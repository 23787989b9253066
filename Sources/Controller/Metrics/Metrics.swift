import CNetlink
package import Exposition
import Glibc
package import Policy
package import Records
import System

/// Reads the metrics that need no daemon: what the history and the journal of a state folder amount to.
///
/// It keeps what it has folded, so that a second reading costs what is new: one look for newer events of the history, and of
/// the journal none at all when nothing was written to it. The journal's writers wait for its readers; who answers
/// scrapes calls this at a bounded rate, not once a scrape.
///
/// It belongs to the network namespace of the thread that calls it, as the journal's guests do.
package struct MetricsReader: ~Copyable {
    private let folder: StateFolder
    private var history: Held<History>?
    private var totals = HistoryTotals()
    private var records: [GuestRecord] = []
    private var boot = ""
    /// The guests of this boot as they were last read.
    var here: [GuestRecord] { records.filter { $0.boot == boot } }
    /// When the journal was read, and when it had last changed then, in nanoseconds since 1970.
    private var recordsReadAt: Int64 = 0
    private var recordsChange: Int64 = 0

    /// - Parameter folder: where the journal and the history are; neither needs to exist.
    package init(folder: StateFolder) { self.folder = folder }

    /// The families of now; a journal or history that does not exist counts as empty.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when one of them exists and cannot be read.
    package mutating func read() throws(ControllerError) -> [MetricFamily] {
        try readHistory()
        return try totals.families + readRest()
    }

    /// The same without the families of a history that cannot be read: numbers that began anew would be wrong.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the journal exists and cannot be read.
    mutating func readWhatCanBe() throws(ControllerError) -> (families: [MetricFamily], hasHistory: Bool) {
        do throws(ControllerError) { try readHistory() } catch { return (try readRest(), false) }
        return (try totals.families + readRest(), true)
    }

    private mutating func readRest() throws(ControllerError) -> [MetricFamily] {
        let verdicts = try StoredVerdict.all(in: folder)
        let journal = try readJournal()
        return journal.families + StoredVerdict.families(verdicts) + [MetricsReader.buildInformation]
    }

    private static var buildInformation: MetricFamily {
        var family = MetricFamily(
            "fdbsteer_build_info", .gauge, help: "Always 1; the label tells the version of fdbsteer.",
            labels: ["version"])
        family.set(1, Build.version)
        return family
    }

    private mutating func readHistory() throws(ControllerError) {
        do throws(DatabaseError) {
            let isSame = history?.identity == FileIdentity(path: folder.historyFile)
            if !isSame || (try? history?.file.fill()) == nil {
                // Another file under the name: a new history, whose numbers begin anew.
                history = nil
                totals = HistoryTotals()
                if let opened = try History.current(in: folder),
                    let identity = FileIdentity(path: folder.historyFile)
                {
                    history = Held(file: opened, identity: identity)
                }
            }
            guard let held = history.take() else { return }
            try totals.fold(held.file)
            history = consume held
        } catch {
            history = nil
            throw error.unreadable
        }
    }

    private mutating func readJournal() throws(ControllerError) -> JournalTotals {
        guard let journal = try Journal(reading: folder) else {
            records = []
            return JournalTotals([], boot: "") { _ in false }
        }
        // Two changes within a tick of the kernel's clock have one time: one that was young when it was read may hide another.
        let change = journal.changeTime
        if change != recordsChange || recordsReadAt - change < MetricsReader.clockTick {
            recordsReadAt = Stopwatch.realTime
            records = try journal.recordsAndFaults().records.filter {
                [.here, .earlierBoot].contains(journal.place(of: $0))
            }
            recordsChange = change
            boot = journal.boot
        }
        // A process that dies writes nothing, but its lock is gone.
        return JournalTotals(records, boot: journal.boot, waiting: journal.waiting) { journal.isLocked($0) }
    }

    /// More than a tick of the clock of file times, at 100 Hz, in nanoseconds.
    private static let clockTick: Int64 = 20_000_000
}

/// A database held open, and the file that it was when it was opened.
private struct Held<File: ~Copyable>: ~Copyable {
    let file: File
    let identity: FileIdentity
}

/// Which file a name stands for. It is not opened for that: to close a file of SQLite's ends the locks that this process has on
/// it (https://www.sqlite.org/howtocorrupt.html, 2.2).
private struct FileIdentity: Hashable {
    let device: UInt64
    let inode: UInt64

    /// - Returns: nil when there is no such file.
    init?(path: String) {
        var information = stat()
        guard stat(path, &information) == 0 else { return nil }
        device = UInt64(information.st_dev)
        inode = UInt64(information.st_ino)
    }
}
