import CNetlink
import CSQLite
import Glibc
import Netlink
import Switchdev
import System

/// Redirections that are not in the history's database yet: one line each, appended by processes that live for one
/// redirection.
///
/// Opening and writing the database takes these processes longer than moving the entries. A reader of the history merges
/// the lines first (``History/takeOver(_:)``); an appender does the same when the file is long.
///
/// Lines are appended, and the file is emptied, under a lock, so no line is lost in between; reading needs no lock. Nothing
/// waits for the disk, as with the database's own log.
package struct HistoryBacklog: ~Copyable {
    private let descriptor: Int32
    private let path: String
    /// The size in bytes at which an appender merges the lines itself.
    private static let limit = 64 << 10
    /// The time limit for the lock, in nanoseconds: the same as SQLite's.
    private static let patience: Int64 = 2_000_000_000
    /// The pause between two attempts to lock, in nanoseconds.
    private static let pause: Int64 = 500_000

    /// Opens the backlog of a folder, and creates it if it is missing.
    package init(appending folder: StateFolder) throws(DatabaseError) {
        path = folder.backlogFile
        descriptor = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure() }
    }

    /// Opens the backlog of a folder for reading; nil if it does not exist or is empty.
    package init?(reading folder: StateFolder) throws(DatabaseError) {
        var information = stat()
        guard stat(folder.backlogFile, &information) == 0, information.st_size > 0 else { return nil }
        path = folder.backlogFile
        descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure() }
    }

    deinit { close(descriptor) }

    /// The backlog is so long that it is merged before anything is appended.
    package var isLong: Bool { size > HistoryBacklog.limit }

    private var size: Int {
        var information = stat()
        return fstat(descriptor, &information) == 0 ? Int(information.st_size) : 0
    }

    /// Locks the file for the rest of this value's life.
    package func lock() throws(DatabaseError) {
        var left = HistoryBacklog.patience
        while cn_lock_byte(descriptor, 0, 0) != 0 {
            guard left > 0 else { throw failure("another process holds its lock") }
            sleepNanoseconds(HistoryBacklog.pause)
            left -= HistoryBacklog.pause
        }
    }

    /// Appends a record's line, all of it or nothing; the caller holds the lock.
    package func append(_ line: [UInt8]) throws(DatabaseError) {
        let before = size
        let written = write(descriptor, line, line.count)
        if written == line.count { return }
        let reason = written < 0 ? String(cString: strerror(errno)) : "no space left"
        if written > 0 { ftruncate(descriptor, off_t(before)) }
        throw failure(reason)
    }

    /// The content of the file.
    package func content() throws(DatabaseError) -> [UInt8] {
        lseek(descriptor, 0, SEEK_SET)
        do throws(SystemError) {
            return try SystemFile.contents(of: descriptor, limit: size)
        } catch {
            throw failure(error.errno.text)
        }
    }

    /// Empties the file, unless another process appended to it or emptied it since it was read; the caller holds the lock.
    package func clear(ifStill content: [UInt8]) throws(DatabaseError) {
        guard try self.content() == content else { return }
        guard ftruncate(descriptor, 0) == 0 else { throw failure() }
    }

    private func failure(_ reason: String = String(cString: strerror(errno))) -> DatabaseError {
        DatabaseError(path: path, code: SQLITE_IOERR, message: reason)
    }
}

extension History {
    /// The progress of the merge: the id of the backlog's first record, and the bytes up to the end of the last merged one. It
    /// is written with the rows, so a kill before the file is emptied does not duplicate any.
    private static let progressTable = "CREATE TABLE IF NOT EXISTS backlog(first TEXT NOT NULL, bytes INTEGER NOT NULL)"

    /// Merges the backlog of a folder, if there is one; a full disk postpones it.
    package static func takeOverBacklog(of folder: StateFolder) throws(DatabaseError) {
        guard let backlog = try HistoryBacklog(reading: folder) else { return }
        do throws(DatabaseError) {
            try History(folder: folder).takeOver(backlog)
        } catch  where error.code & 0xff == SQLITE_FULL {
        }
    }

    /// Inserts the rows of a backlog's lines, and empties it. The rows are on the disk before the lines are removed.
    ///
    /// - Parameter isLocked: the caller holds the backlog's lock.
    package func takeOver(_ backlog: borrowing HistoryBacklog, isLocked: Bool = false) throws(DatabaseError) {
        let content = try backlog.content()
        let newline = UInt8(ascii: "\n")
        guard let last = content.lastIndex(of: newline) else { return }
        let lines = content[...last].split(separator: newline)
        let found = lines.compactMap { line in HistoryRecord(line: line).map { (record: $0, end: line.endIndex) } }
        guard let first = found.first?.record.id, let end = found.last?.end else { return }
        var known = try progress(in: first)
        if known < end {
            try database.execute("PRAGMA synchronous = FULL")
            defer { try? database.execute("PRAGMA synchronous = NORMAL") }
            try database.transaction(
                { () throws(DatabaseError) in
                    // Another process may have merged it first.
                    known = try progress(in: first)
                    for (record, recordEnd) in found where recordEnd > known { try insert(record) }
                    try database.execute("\(History.progressTable); DELETE FROM backlog")
                    try database.run("INSERT INTO backlog VALUES(?,?)", .text(first), .integer(Int64(max(known, end))))
                }, mapping: { $0 })
        }
        try shortenLog()
        if !isLocked { try backlog.lock() }
        try backlog.clear(ifStill: content)
    }

    /// The number of bytes that were merged from the backlog that begins with a given record.
    private func progress(in first: String) throws(DatabaseError) -> Int {
        guard try database.hasTable("backlog") else { return 0 }
        return Int(try database.run("SELECT bytes FROM backlog WHERE first = ?", .text(first)).first?.integer(0) ?? 0)
    }
}
