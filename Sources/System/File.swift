import CNetlink
import Glibc

/// A failed system call on a file, another descriptor, or a process.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file, if there is one.
    public let path: String?
    /// The attempted operation.
    public let activity: String
    /// The kernel's error number.
    public let errno: KernelErrno

    /// - Parameters:
    ///   - activity: what was attempted.
    ///   - path: the file, if one was involved.
    ///   - errno: the kernel's error number, positive.
    package init(_ activity: String, path: String? = nil, errno: Int32) {
        self.path = path
        self.activity = activity
        self.errno = KernelErrno(rawValue: errno)
    }

    public var description: String { "\(activity)\(path.map { " (\($0))" } ?? ""): \(errno)" }
}

/// Small files and descriptors, by the system calls themselves.
package enum SystemFile {
    /// Makes printing harmless: to be called first of all by every program that changes something.
    ///
    /// Opens /dev/null for each of the descriptors 0 to 2 that the caller has closed. A file opened later would get its number, and
    /// would be written to by everything that is printed. SIGPIPE is ignored: a reader that has ended makes a write fail with EPIPE,
    /// instead of killing the process between two changes.
    package static func secureStandardDescriptors() {
        for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) < 0 { _ = open("/dev/null", O_RDWR) }
        signal(SIGPIPE, SIG_IGN)
    }

    /// The first and the longest pause between two attempts to lock, in nanoseconds: a look of the daemon's takes some 100 us.
    private static let lockPauses: (first: Int64, longest: Int64) = (50_000, 500_000)

    /// Takes the OFD lock (fcntl(2)) of a file's first byte, until ``unlock(_:)``.
    ///
    /// - Parameter patience: how long to try, in nanoseconds; what is left of it afterwards.
    /// - Returns: false when another holds it.
    package static func lock(_ descriptor: Int32, patience: inout Int64) -> Bool {
        var pause = lockPauses.first
        while cn_lock_byte(descriptor, 0, 0) != 0 {
            guard patience > 0 else { return false }
            sleepNanoseconds(pause)
            patience -= pause
            pause = min(2 * pause, lockPauses.longest)
        }
        return true
    }

    /// Gives back the lock that ``lock(_:patience:)`` took, and closes the file.
    ///
    /// An OFD lock ends with the last descriptor of its open file. A process that another thread is starting has one until its
    /// exec, so that closing alone would hold others off for that long.
    package static func unlock(_ descriptor: Int32) {
        _ = cn_lock_byte(descriptor, 0, 1)
        close(descriptor)
    }

    /// The first line of a file, as those of sysfs have; nil if the file cannot be read.
    ///
    /// - Returns: at most the first 256 bytes.
    package static func firstLine(of path: String) -> String? {
        guard let bytes = try? contents(of: path, limit: 256) else { return nil }
        return String(decoding: bytes.prefix { $0 != 0x0a }, as: UTF8.self)
    }

    /// The content of a file, at most `limit` bytes of it. A FIFO is not waited for.
    ///
    /// - Throws: ``SystemError``.
    package static func contents(of path: String, limit: Int) throws(SystemError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw SystemError("cannot open", path: path, errno: errno) }
        defer { close(descriptor) }
        return try contents(of: descriptor, limit: limit, path: path)
    }

    /// Reads a descriptor to its end, or until there are `limit` bytes.
    ///
    /// - Throws: ``SystemError``.
    package static func contents(
        of descriptor: Int32, limit: Int, path: String? = nil
    ) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: min(limit, 65536))
        while bytes.count < limit {
            let count = read(descriptor, &part, min(part.count, limit - bytes.count))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw SystemError("cannot read", path: path, errno: errno) }
            if count == 0 { break }
            bytes += part[..<count]
        }
        return bytes
    }

    /// Writes a text with one write call, as sysfs requires.
    package static func write(_ text: String, to path: String, activity: String) throws(SystemError) {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw SystemError(activity, path: path, errno: errno)
        }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        let count = Glibc.write(descriptor, bytes, bytes.count)
        guard count == bytes.count else {
            throw SystemError(activity, path: path, errno: count < 0 ? errno : EIO)
        }
    }

    /// The last part of a link's target; nil if there is no such link.
    package static func linkName(_ path: String) -> String? {
        target(of: path)?.split(separator: "/").last.map(String.init)
    }

    /// The target of a link; nil if there is no such link.
    package static func target(of path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let count = readlink(path, base, buffer.count - 1)
            guard count > 0 else { return nil }
            return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// The names in a folder except those with a leading dot; empty if there is no such folder.
    package static func names(in path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        return SystemFile.names(in: folder)
    }

    /// The names in an open folder except those with a leading dot, sorted.
    package static func names(in folder: OpaquePointer) -> [String] {
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
}
