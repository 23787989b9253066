import Glibc
import JSON
package import Policy

/// The log of events (docs/records.md): each is a line, appended by the process that it happened in, with one call and
/// without a lock.
///
/// Nothing waits for the disk. A power failure may lose the lines of the last seconds.
package struct EventLog {
    private let folder: StateFolder
    private let limit: Int

    /// - Parameters:
    ///   - folder: where the history is; the log is made when it is missing, but not its folder.
    ///   - limit: the size in bytes above which the file is put aside, and another begun.
    package init(_ folder: StateFolder, limit: Int = 4 << 20) {
        self.folder = folder
        self.limit = limit
    }

    /// Appends a report. The redirection is over, so a failure is only a note.
    ///
    /// - Returns: why it was not written.
    package func append(_ report: Report) -> String? {
        do throws(DatabaseError) {
            try append(report.eventLine(by: folder.doer))
            return nil
        } catch {
            return "the history was not written: \(error)"
        }
    }

    /// Appends what happened to a guest beside redirections. That it cannot be written is no reason to fail.
    ///
    /// - Parameters:
    ///   - time: in nanoseconds since 1970.
    ///   - words: why, for people.
    ///   - code: the stable word of a condition.
    ///   - from: the side where the guest is, of a verb that was refused.
    ///   - to: the side that the verb asked for.
    ///   - bracketChange: what it was to do to a bracket.
    package func append(
        _ kind: EventKind, guest: String, at time: Int64, _ words: String, code: String? = nil, from: Side? = nil,
        to: Side? = nil, bracketChange: BracketChange? = nil
    ) {
        let known = [
            ("code", code), ("from", from?.rawValue), ("to", to?.rawValue), ("bracket_change", bracketChange?.rawValue),
        ]
        append(
            kind, guest: guest, at: time, words,
            known.compactMap { name, text in text.map { .init(name, .string($0)) } })
    }

    /// Appends what a replay has come to.
    package func append(_ account: ReplayAccount, guest: String, at time: Int64) {
        append(.replay, guest: guest, at: time, account.words, account.members)
    }

    private func append(
        _ kind: EventKind, guest: String, at time: Int64, _ words: String, _ more: [JSON.Member]
    ) {
        let members: [JSON.Member] = [
            .init("guest", .string(guest)), .init("by", .string(folder.doer.label)),
            .init("uid", .integer(folder.doer.user)), .init("message", .string(words)),
        ]
        try? append(kind.line(time, members + more))
    }

    /// Appends a line, which begins with a newline and ends with one: what a kill or a full disk cut off ends before it.
    ///
    /// - Throws: ``DatabaseError`` when it was not written, or not all of it.
    package func append(_ line: [UInt8]) throws(DatabaseError) {
        while true {
            let descriptor = try opened()
            defer { close(descriptor) }
            let written = write(descriptor, line, line.count)
            // A full disk may cut off the newline at the end alone: the next line begins with one.
            guard written >= line.count - 1 else {
                throw DatabaseError(path: folder.eventsFile, errno: written < 0 ? errno : ENOSPC)
            }
            var information = stat()
            fstat(descriptor, &information)
            // Put aside since it was opened, and deleted.
            if information.st_nlink == 0 { continue }
            if information.st_size > limit { try? HistoryLock(folder).rotate(ifAbove: limit) }
            return
        }
    }

    private func opened() throws(DatabaseError) -> Int32 {
        // A FIFO is not waited for.
        let flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        var descriptor = open(folder.eventsFile, flags)
        if descriptor < 0, errno == ENOENT {
            try HistoryLock(folder).begin()
            descriptor = open(folder.eventsFile, flags)
        }
        guard descriptor >= 0 else { throw DatabaseError(path: folder.eventsFile, errno: errno) }
        return descriptor
    }
}

extension StateFolder {
    /// The file that events are appended to.
    package var eventsFile: String { historyFolder + "/events.log" }
    /// The file whose lock who makes, renames or looks for files of the log holds.
    var eventsLockFile: String { historyFolder + "/events.lock" }
    /// What versions before the log left for the database.
    package var backlogFile: String { historyFolder + "/history.backlog" }
    /// The verdicts about NICs.
    package var verdictsFile: String { historyFolder + "/verdicts.json" }
    /// The files that were put aside, the newest first.
    var rotatedFiles: [String] { (1...4).map { "\(eventsFile).\($0)" } }
    /// The log's files, the oldest first.
    var eventFiles: [String] { rotatedFiles.reversed() + [eventsFile] }

    /// A file of the log exists, although it may not be readable.
    var hasLog: Bool { eventFiles.contains(where: StateFolder.exists) }

    /// A file of the history exists, although it may not be readable.
    package var hasHistory: Bool { hasLog || StateFolder.exists(historyFile) || StateFolder.exists(backlogFile) }

    private static func exists(_ path: String) -> Bool {
        access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)
    }
}
