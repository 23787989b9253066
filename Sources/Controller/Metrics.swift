public import Exposition
import Glibc

/// Reads the metrics that need no daemon: what the history and the journal of a state folder amount to.
///
/// It keeps what it has folded, so that a second reading costs what is new: one look for newer rows of the history, and of
/// the journal none at all when nothing was written to it. The journal's writers wait for its readers; who answers
/// scrapes calls this at a bounded rate, not once a scrape.
///
/// It belongs to the network namespace of the thread that calls it, as the journal's guests do.
public struct MetricsReader: ~Copyable {
    private let folder: StateFolder
    private var totals = HistoryTotals()
    private var history: OpenHistory?
    private var tallies: [GuestTally] = []
    private var journalStamp: FileStamp?

    /// - Parameter folder: where the journal and the history are; neither needs to exist.
    public init(folder: StateFolder) { self.folder = folder }

    /// The families of now; a journal or history that does not exist counts as empty.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when one of them exists and cannot be read.
    public mutating func read() throws(ControllerError) -> [MetricFamily] {
        try readHistory()
        let journal = try readJournal()
        return totals.families + journal.families + [MetricsReader.buildInformation]
    }

    private static var buildInformation: MetricFamily {
        var family = MetricFamily(
            "fdbsteer_build_info", .gauge, help: "Always 1; the label tells the version of fdbsteer.",
            labels: ["version"])
        family.set(1, Build.version)
        return family
    }

    private mutating func readHistory() throws(ControllerError) {
        guard let stamp = FileStamp(path: folder.historyFile) else {
            guard errno == ENOENT || errno == ENOTDIR else {
                throw MetricsReader.unreadable(folder.historyFile, String(cString: strerror(errno)))
            }
            history = nil
            totals = HistoryTotals()
            return
        }
        do throws(DatabaseError) {
            // Another file under the name: a new history, whose numbers begin anew.
            if history?.isOf(stamp) != true {
                history = nil
                totals = HistoryTotals()
                history = OpenHistory(history: try History(folder: folder, readOnly: true), stamp: stamp)
            }
            try totals.fold(&history)
        } catch {
            history = nil
            throw MetricsReader.unreadable(error.path, error.message)
        }
    }

    private mutating func readJournal() throws(ControllerError) -> JournalTotals {
        // Before the journal, so that a commit meanwhile is seen the next time.
        let stamp = FileStamp(path: folder.stateFile)
        if stamp != nil, stamp == journalStamp, tallies.allSatisfy({ $0.phase == .pinned }) {
            return JournalTotals(tallies) { _ in true }
        }
        guard let journal = try Journal(reading: folder) else {
            (tallies, journalStamp) = ([], nil)
            return JournalTotals([]) { _ in true }
        }
        (tallies, journalStamp) = (try journal.tallies(), stamp)
        return JournalTotals(tallies) { journal.isLocked(row: $0) }
    }

    private static func unreadable(_ path: String, _ reason: String) -> ControllerError {
        ControllerError(
            .precondition, "cannot read the history \(path): \(reason)",
            remedy: "run as root, or name the right folder by --state or FDBSTEER_STATE")
    }
}

/// A history held open, and the file that it is.
private struct OpenHistory: ~Copyable {
    let history: History
    let stamp: FileStamp

    func isOf(_ other: FileStamp) -> Bool { stamp.device == other.device && stamp.inode == other.inode }
}

extension HistoryTotals {
    fileprivate mutating func fold(_ open: inout OpenHistory?) throws(DatabaseError) {
        guard let held = open.take() else { return }
        try fold(held.history)
        open = consume held
    }
}
