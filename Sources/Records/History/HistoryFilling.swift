import CSQLite
import Glibc
import System

extension History {
    /// The history of a folder, with all that happened until now; nil if there is none.
    ///
    /// - Throws: ``DatabaseError`` when it cannot be read, or lines of the log are not in it and cannot be written to it. A full
    ///   file system only postpones them.
    package static func current(in folder: StateFolder) throws(DatabaseError) -> History? {
        guard folder.hasHistory else { return nil }
        let history = try History(folder: folder)
        do throws(DatabaseError) { try history.fill() } catch  where error.code & 0xff == SQLITE_FULL {}
        return history
    }

    /// Inserts rows for the lines that have none yet. Nothing is written if there are none, so a folder that is read-only will do.
    ///
    /// - Throws: ``DatabaseError``.
    package func fill() throws(DatabaseError) {
        try takeOverVerdicts()
        if let backlog = try LogFile(folder.backlogFile, O_RDWR) {
            // Its writers hold this lock.
            try HistoryLock.wait(for: backlog.descriptor, folder.backlogFile)
            try fill(from: backlog)
            unlink(folder.backlogFile)
        }
        for file in try openFiles() { try fill(from: file) }
        // Who tries a refused verb again and again fills no disk.
        let old = "FROM refusal WHERE rowid <= (SELECT max(rowid) FROM refusal) - 10000"
        // Who may not write can still read what is up to date.
        if try !database.run("SELECT 1 \(old) LIMIT 1").isEmpty { try database.execute("DELETE \(old)") }
    }

    /// Opens the log's files, the oldest first.
    private func openFiles() throws(DatabaseError) -> [LogFile] {
        // None is renamed in between. Who cannot write there can still see whether there is anything new.
        let lock = folder.hasLog ? try? HistoryLock(folder) : nil
        var files: [LogFile] = []
        for path in folder.eventFiles { if let file = try LogFile(path) { files.append(file) } }
        _ = consume lock
        return files
    }

    /// The id of a file's first line, and how much of it has rows, are in the transaction of the rows: a kill loses and doubles
    /// nothing.
    private func fill(from file: LogFile) throws(DatabaseError) {
        guard let id = try file.id() else { return }
        var (offset, skipped) = try progress(of: id)
        while true {
            let part = try file.lines(from: offset)
            if part.isEmpty { return }
            // The lines must be on the disk before their rows. If a power failure cut them off afterwards, the next lines
            // would start below the stored offset and would never be read.
            fdatasync(file.descriptor)
            try database.transaction(
                { () throws(DatabaseError) in
                    let known = try progress(of: id)
                    // Another process was faster.
                    guard known.bytes == offset else { return (offset, skipped) = known }
                    for line in part.split(separator: UInt8(ascii: "\n")) {
                        if let line = ReadLine(line) { try insert(line) } else { skipped += 1 }
                    }
                    offset += part.count
                    try database.run(
                        "INSERT OR REPLACE INTO log VALUES(?,?,?)", .text(id), .integer(Int64(offset)),
                        .integer(Int64(skipped)))
                }, mapping: { $0 })
        }
    }

    /// How many bytes of the file with a first line are read, and how many lines among them were none.
    private func progress(of id: String) throws(DatabaseError) -> (bytes: Int, skipped: Int) {
        let row = try database.run("SELECT bytes, skipped FROM log WHERE id = ?", .text(id)).first
        return (Int(row?.integer(0) ?? 0), Int(row?.integer(1) ?? 0))
    }
}

/// A file of the log, open for reading.
private final class LogFile {
    /// The size in bytes of what is read at once: a line fits into half of it.
    private static let part = 2 * EventKind.limit
    private let path: String
    let descriptor: Int32

    /// - Returns: nil if there is no such file.
    /// - Throws: ``DatabaseError`` when it cannot be opened.
    init?(_ path: String, _ access: Int32 = O_RDONLY) throws(DatabaseError) {
        self.path = path
        descriptor = open(path, access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        if descriptor >= 0 { return }
        if errno == ENOENT { return nil }
        throw DatabaseError(path: path, errno: errno)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// What tells the file from others: the id of its first line that is whole. Nil if it has none.
    func id() throws(DatabaseError) -> String? {
        // A file's first line is short, unless somebody has cut it off.
        for limit in [4096, LogFile.part] {
            for line in try lines(from: 0, limit: limit).split(separator: UInt8(ascii: "\n")) {
                if let line = ReadLine(line) { return line.id }
            }
        }
        return nil
    }

    /// The whole lines from an offset on, as many as are read at once. A line that does not fit is handed over in parts, of which
    /// none is a line.
    func lines(from offset: Int, limit: Int = LogFile.part) throws(DatabaseError) -> ArraySlice<UInt8> {
        lseek(descriptor, off_t(offset), SEEK_SET)
        do throws(SystemError) {
            let bytes = try SystemFile.contents(of: descriptor, limit: limit)
            if let last = bytes.lastIndex(of: UInt8(ascii: "\n")) { return bytes[...last] }
            return bytes.count == LogFile.part ? bytes[...] : []
        } catch {
            throw DatabaseError(path: path, errno: error.errno.rawValue)
        }
    }
}
