import CNetlink
import Glibc
package import JSON
package import Policy
import System

/// Who holds a guest.
package struct Holder: Hashable, Sendable, Encodable {
    /// The process.
    package let pid: Int32
    /// Since when, in nanoseconds since 1970.
    @JSON.Time package private(set) var since: Int64
    /// The program and its verb.
    package let by: String

    /// The length of a lock's file, in bytes.
    static let length = 128

    /// - Parameter content: of a lock's file.
    init?(_ content: [UInt8]) {
        let line = String(decoding: content.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count == 3, let pid = Int32(words[0]), let since = Int64(words[1]) else { return nil }
        self.pid = pid
        self.since = since
        by = String(words[2])
    }
}

/// A lock that this process holds until the value ends: an OFD lock (fcntl(2)) on a file of its own.
///
/// The file is removed only by who holds the lock, and whoever gets the lock of a file that is gone tries again, so no lock of
/// a removed file holds anybody off. Two locks of one process exclude each other too: each has its own open file.
struct GuestLock: ~Copyable {
    private let descriptor: Int32
    /// Of its file.
    let inode: UInt64

    /// Takes a lock.
    ///
    /// - Parameters:
    ///   - name: in the folder of locks.
    ///   - patience: how long to try, in nanoseconds.
    /// - Returns: nil when another holds it.
    /// - Throws: ``ControllerError`` of code `precondition` when the file cannot be made.
    init?(_ name: String, in folder: RecordFolder, patience: Int64) throws(ControllerError) {
        try self.init(path: "locks/\(name)", in: folder, patience: patience)
    }

    /// The same of a path that is relative to the folder of the records.
    init?(path: String, in folder: RecordFolder, patience: Int64) throws(ControllerError) {
        var left = patience
        while true {
            let file = folder.openLock(path, makes: true)
            guard file >= 0 else {
                throw StateFolder.unwritable("\(folder.path)/\(path)", code: errno)
            }
            guard SystemFile.lock(file, patience: &left) else {
                close(file)
                return nil
            }
            var information = stat()
            if fstat(file, &information) == 0, information.st_nlink > 0 {
                descriptor = file
                inode = UInt64(information.st_ino)
                break
            }
            close(file)
        }
        GuestLock.sign(descriptor, folder.doer)
    }

    /// Says who holds the lock. One write of a length that covers what another has left: a reader sees one holder or the other.
    private static func sign(_ file: Int32, _ doer: Doer) {
        var content = Array("\(getpid()) \(Stopwatch.realTime) \(doer.label)".utf8.prefix(Holder.length - 1))
        content += [UInt8](repeating: UInt8(ascii: "\n"), count: Holder.length - content.count)
        _ = pwrite(file, content, content.count, 0)
    }

    deinit { SystemFile.unlock(descriptor) }
}

extension Journal {
    /// Whether a process holds a guest's lock.
    package func isLocked(_ record: GuestRecord) -> Bool { isLocked(record.guest.id.text) }

    /// Whether a process holds the lock of a name: a guest's, or one of those that begin with a dot.
    package func isLocked(_ name: String) -> Bool { isLocked(path: "locks/\(name)") }

    func isLocked(path: String) -> Bool {
        let descriptor = folder.openLock(path, makes: false)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return cn_is_byte_locked(descriptor, 0) != 0
    }

    /// Who holds a guest, or held it last; nil when nobody has.
    package func holder(of name: String) -> Holder? { holder(path: "locks/\(name)") }

    func holder(path: String) -> Holder? {
        guard let content = (try? folder.read(path)) ?? nil else { return nil }
        return Holder(content)
    }

    /// Takes the lock of those who need several guests' truth: who owns an address, and who shares a port. It is taken after a
    /// guest's own, never before.
    func lockAll() throws(ControllerError) -> GuestLock {
        guard let lock = try GuestLock(".all", in: folder, patience: 2_000_000_000) else {
            throw ControllerError(
                .busy, "another process prepares or releases guests, for more than 2 s",
                remedy: "\(folder.path)/locks/.all names it")
        }
        return lock
    }
}
