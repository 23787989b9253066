package import Policy

/// Where a process writes the reports of its redirections.
package enum HistoryLog {
    /// To the file beside the database: by a process that lives for one redirection.
    case backlog(StateFolder)
    /// To the database, which stays open: by a process that stays.
    case database(HistoryDatabase)

    /// Appends a report. The redirection is over, so a failure is only a note.
    ///
    /// - Returns: why it was not written.
    package func append(_ report: Report) -> String? {
        do throws(DatabaseError) {
            switch self {
            case .backlog(let folder):
                let line = HistoryRecord(report).line
                let backlog = try HistoryBacklog(appending: folder)
                try backlog.lock()
                if backlog.isLong { try History(folder: folder).takeOver(backlog, isLocked: true) }
                try backlog.append(line)
            case .database(let database):
                try database.append(report)
            }
            return nil
        } catch {
            return "the history was not written: \(error)"
        }
    }
}

/// The history of a process that stays: opened when it is first needed, and again after a failure.
package final class HistoryDatabase {
    private let folder: StateFolder
    private var file: File?

    /// - Parameter folder: where the history is; it is made when it is missing.
    package init(_ folder: StateFolder) { self.folder = folder }

    func append(_ report: Report) throws(DatabaseError) {
        do throws(DatabaseError) {
            let open: File
            if let file { open = file } else { open = try File(folder) }
            file = open
            try open.history.append(report)
            try open.history.shortenLog()
        } catch {
            file = nil
            throw error
        }
    }

    private final class File {
        let history: History
        init(_ folder: StateFolder) throws(DatabaseError) { history = try History(folder: folder) }
    }
}
