import CNetlink
import Glibc
import System

/// The lock of the history's folder, held for this value's life: nobody else makes or renames a file there. Who only appends to
/// the log does not need it.
struct HistoryLock: ~Copyable {
    private let folder: StateFolder
    private let descriptor: Int32
    /// The time limit for the lock, in nanoseconds: the same as SQLite's.
    private static let patience: Int64 = 2_000_000_000
    /// The age in seconds above which a file that was put aside is deleted.
    private static let longest = 90 * 24 * 3600

    /// - Throws: ``DatabaseError`` when the folder cannot be written, or another process keeps the lock for two seconds.
    init(_ folder: StateFolder) throws(DatabaseError) {
        self.folder = folder
        descriptor = open(folder.eventsLockFile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw DatabaseError(path: folder.eventsLockFile, errno: errno) }
        try HistoryLock.wait(for: descriptor, folder.eventsLockFile)
    }

    deinit { SystemFile.unlock(descriptor) }

    /// Locks a file until ``SystemFile/unlock(_:)``.
    ///
    /// - Throws: ``DatabaseError`` when another process keeps the lock for two seconds.
    static func wait(for descriptor: Int32, _ path: String) throws(DatabaseError) {
        var left = patience
        guard SystemFile.lock(descriptor, patience: &left) else {
            throw DatabaseError(path: path, errno: EAGAIN, message: "another process holds its lock")
        }
    }

    /// Makes the log if there is none. Its first line is there from the start, and is unique.
    ///
    /// - Throws: ``DatabaseError`` when it cannot be made.
    func begin() throws(DatabaseError) {
        guard access(folder.eventsFile, F_OK) != 0 else { return }
        try replace(folder.eventsFile, with: EventKind.log.line(Stopwatch.realTime))
    }

    /// Puts the log aside if it is large, and begins another. Of those that were put aside the oldest makes room.
    ///
    /// A kill on the way leaves a number free, which the next rotation fills first, or no log, which the next event makes.
    func rotate(ifAbove limit: Int) throws(DatabaseError) {
        var information = stat()
        guard stat(folder.eventsFile, &information) == 0, information.st_size > limit else { return }
        let oldest = Stopwatch.realTime / 1_000_000_000 - Int64(HistoryLock.longest)
        let rotated = folder.rotatedFiles
        for path in rotated where stat(path, &information) == 0 && Int64(information.st_mtim.tv_sec) < oldest {
            unlink(path)
        }
        let free = rotated.firstIndex { access($0, F_OK) != 0 } ?? rotated.count - 1
        for index in stride(from: free, through: 0, by: -1) {
            let from = index == 0 ? folder.eventsFile : rotated[index - 1]
            guard rename(from, rotated[index]) == 0 else { throw DatabaseError(path: from, errno: errno) }
        }
        try begin()
    }

    /// Puts a file with a content in the place of another, or makes it: at no time does a part of it have the name.
    ///
    /// - Parameter isKept: it is on the disk before it has the name, so that a power failure leaves one of the two.
    /// - Throws: ``DatabaseError`` when that failed; what had the name still has it.
    func replace(_ path: String, with content: [UInt8], isKept: Bool = false) throws(DatabaseError) {
        let new = path + ".new"
        // Left by a kill.
        unlink(new)
        let file = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw DatabaseError(path: new, errno: errno) }
        defer { close(file) }
        let written = write(file, content, content.count)
        guard written == content.count, !isKept || fsync(file) == 0, rename(new, path) == 0 else {
            let failure = (0..<content.count).contains(written) ? ENOSPC : errno
            unlink(new)
            throw DatabaseError(path: path, errno: failure)
        }
    }
}
