import CNetlink
import CSQLite
import Glibc
import Netlink
import Switchdev
import System

/// Redirections that are not in the history's database yet: a line each, appended by processes that live for one redirection.
///
/// To open the database and write to it takes such a process longer than to move the entries. Who reads the history takes the lines
/// over first (``History/takeOver(_:)``), and so does who finds many.
///
/// Lines are appended, and the file is emptied, under a lock, so that none is lost between the two; reading needs none. Nothing waits
/// for the disk, as with the database's own log.
package struct HistoryBacklog: ~Copyable {
    private let descriptor: Int32
    private let path: String
    /// Bytes at which an appender takes the lines over itself.
    private static let limit = 64 << 10
    /// How long the lock is waited for, in nanoseconds: as long as SQLite's.
    private static let patience: Int64 = 2_000_000_000
    /// Between two attempts to lock, in nanoseconds.
    private static let pause: Int64 = 500_000

    /// The file of a folder, made when it is missing.
    package init(appending folder: StateFolder) throws(DatabaseError) {
        path = folder.backlogFile
        descriptor = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure() }
    }

    /// The file of a folder; nil when there is none, or nothing in it.
    package init?(reading folder: StateFolder) throws(DatabaseError) {
        var information = stat()
        guard stat(folder.backlogFile, &information) == 0, information.st_size > 0 else { return nil }
        path = folder.backlogFile
        descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure() }
    }

    deinit { close(descriptor) }

    /// There is enough to be taken over before more is appended.
    package var isLong: Bool { size > HistoryBacklog.limit }

    private var size: Int {
        var information = stat()
        return fstat(descriptor, &information) == 0 ? Int(information.st_size) : 0
    }

    /// Holds others off until the end of this value's life.
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

    /// What is in it.
    package func content() throws(DatabaseError) -> [UInt8] {
        lseek(descriptor, 0, SEEK_SET)
        do throws(SystemError) {
            return try SystemFile.contents(of: descriptor, limit: size)
        } catch {
            throw failure(error.errno.text)
        }
    }

    /// Empties it, unless somebody appended to it or emptied it since it was read; the caller holds the lock.
    package func clear(ifStill content: [UInt8]) throws(DatabaseError) {
        guard try self.content() == content else { return }
        guard ftruncate(descriptor, 0) == 0 else { throw failure() }
    }

    private func failure(_ reason: String = String(cString: strerror(errno))) -> DatabaseError {
        DatabaseError(path: path, code: SQLITE_IOERR, message: reason)
    }
}

extension History {
    /// How far the backlog was taken over: the id of its first record, and the bytes up to the end of the last one. Written with the
    /// rows, so that a kill between that and emptying the file doubles none.
    private static let progressTable = "CREATE TABLE IF NOT EXISTS backlog(first TEXT NOT NULL, bytes INTEGER NOT NULL)"

    /// Takes over what is in the backlog of a folder, if anything; a disk that is full puts it off.
    package static func takeOverBacklog(of folder: StateFolder) throws(DatabaseError) {
        guard let backlog = try HistoryBacklog(reading: folder) else { return }
        do throws(DatabaseError) {
            try History(folder: folder).takeOver(backlog)
        } catch  where error.code & 0xff == SQLITE_FULL {
        }
    }

    /// Makes rows of a backlog's lines, and empties it. The rows are on the disk before the lines are gone.
    ///
    /// - Parameter isLocked: the caller holds its lock.
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
                    // Another process may have been faster.
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

    /// How much was taken over of the backlog that begins with a record.
    private func progress(in first: String) throws(DatabaseError) -> Int {
        guard try database.hasTable("backlog") else { return 0 }
        return Int(try database.run("SELECT bytes FROM backlog WHERE first = ?", .text(first)).first?.integer(0) ?? 0)
    }
}
