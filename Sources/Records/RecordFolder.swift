import CNetlink
import Glibc
package import Policy
import System

/// The folder of the records, opened once.
///
/// Only its owner may write in it, which is checked when it is opened, so that nobody else can put a link or a FIFO in the place
/// of a record. Everything in it is reached from the descriptor, and no link is followed.
package final class RecordFolder {
    /// Its path, for messages.
    package let path: String
    /// Who works in it.
    var doer: Doer
    private let descriptor: Int32
    /// Files to be closed when there is time (``closeRetired()``), and the most of them.
    private var retired: [Int32] = []
    var mostRetired = 0

    /// The most bytes of a record: one with 6,400 addresses has 700 KB.
    static let sizeLimit = 8 << 20

    /// Opens a folder.
    ///
    /// - Returns: nil when there is none.
    /// - Throws: ``ControllerError`` of code `precondition` when it cannot be opened, or others may write in it.
    package init?(_ folder: StateFolder) throws(ControllerError) {
        path = folder.path
        doer = folder.doer
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if descriptor < 0 {
            if errno == ENOENT { return nil }
            throw RecordFolder.unreadable(path, FileFault(errno))
        }
        var information = stat()
        guard fstat(descriptor, &information) == 0 else {
            throw RecordFolder.unreadable(path, FileFault(errno))
        }
        guard information.st_uid == geteuid() || information.st_uid == 0, information.st_mode & 0o022 == 0 else {
            throw ControllerError(
                .precondition,
                "the folder \(path) belongs to user \(information.st_uid) and has mode "
                    + "\(String(information.st_mode & 0o7777, radix: 8)): others could change records in it",
                remedy: "use a folder that only its owner, root, may write in")
        }
    }

    deinit {
        closeRetired()
        if descriptor >= 0 { close(descriptor) }
    }

    /// Closes a file, or keeps it to be closed later: who puts another in its place does not free its space meanwhile, which takes longer
    /// than to write it.
    func retire(_ file: Int32) {
        if retired.count < mostRetired { retired.append(file) } else { close(file) }
    }

    /// Closes the files that were kept.
    func closeRetired() {
        for file in retired { close(file) }
        retired.removeAll(keepingCapacity: true)
    }

    // MARK: - Reading

    /// The content of a file; nil when there is none.
    ///
    /// - Parameter name: relative to the folder.
    /// - Throws: ``ControllerError`` of code `precondition` that names the file.
    func read(_ name: String) throws(ControllerError) -> [UInt8]? {
        let file = openat(descriptor, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        if file < 0 {
            if errno == ENOENT { return nil }
            throw unreadable(name, FileFault(errno))
        }
        defer { retire(file) }
        var information = stat()
        guard fstat(file, &information) == 0 else { throw unreadable(name, FileFault(errno)) }
        guard information.st_mode & S_IFMT == S_IFREG else { throw unreadable(name, .irregular) }
        let size = Int(information.st_size)
        guard size <= RecordFolder.sizeLimit else { throw unreadable(name, "it has \(size) bytes") }
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            while count < size {
                let more = pread(file, buffer.baseAddress?.advanced(by: count), size - count, off_t(count))
                if more > 0 { count += more } else if more == 0 || errno != EINTR { break }
            }
        }
        guard bytes.count == size else { throw unreadable(name, "it cannot be read to its end") }
        return bytes
    }

    /// Whether there is a file.
    func exists(_ name: String) -> Bool { faccessat(descriptor, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 }

    /// The names in a subfolder without those that begin with a dot; none when there is no such folder.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a folder that cannot be listed: that is not an empty one.
    func names(in name: String) throws(ControllerError) -> [String] {
        let folder = openat(descriptor, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if folder < 0, errno == ENOENT { return [] }
        guard folder >= 0 else { throw unreadable(name, FileFault(errno)) }
        guard let stream = fdopendir(folder) else {
            close(folder)
            throw unreadable(name, FileFault(errno))
        }
        defer { closedir(stream) }
        return SystemFile.names(in: stream)
    }

    /// The names of a subfolder's records, without `.json`.
    ///
    /// - Throws: as ``names(in:)``.
    func records(in name: String) throws(ControllerError) -> [String] {
        try names(in: name).compactMap { $0.hasSuffix(".json") ? String($0.dropLast(5)) : nil }
    }

    /// The target of a symbolic link; nil when there is no such link.
    func target(of name: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let count = readlinkat(descriptor, name, base, buffer.count)
            guard count > 0, count < buffer.count else { return nil }
            return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// When a name in a subfolder was last made, changed or removed, in nanoseconds since 1970; nil when there is no such folder.
    func changeTime(of name: String) -> Int64? {
        var information = stat()
        guard fstatat(descriptor, name, &information, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        return Int64(information.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(information.st_mtim.tv_nsec)
    }

    /// What has a name, without following a link; nil for nothing.
    func identity(of name: String) -> FileIdentity? {
        var information = stat()
        guard fstatat(descriptor, name, &information, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        let changed = Int64(information.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(information.st_ctim.tv_nsec)
        return FileIdentity(inode: UInt64(information.st_ino), size: Int64(information.st_size), changed: changed)
    }

    // MARK: - Writing

    /// Makes a subfolder, unless it is there.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    func makeFolder(_ name: String) throws(ControllerError) {
        guard mkdirat(descriptor, name, 0o750) == 0 || errno == EEXIST else { throw unwritable(name) }
    }

    /// Opens a file to write it, and makes it when it is missing.
    ///
    /// - Returns: its descriptor; negative with `errno` set on failure.
    func openLock(_ name: String, makes: Bool) -> Int32 {
        openat(
            descriptor, name, (makes ? O_RDWR | O_CREAT : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o640)
    }

    /// Makes a new file. One that a killed process left under the name is removed: the caller holds the lock of the name.
    ///
    /// - Returns: its descriptor.
    func make(_ name: String) throws(ControllerError) -> Int32 {
        for _ in 0..<2 {
            let file = openat(descriptor, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o640)
            if file >= 0 { return file }
            guard errno == EEXIST, unlinkat(descriptor, name, 0) == 0 else { break }
        }
        throw unwritable(name)
    }

    /// Writes a new file's whole content.
    func write(_ bytes: [UInt8], to file: Int32, _ name: String) throws(ControllerError) {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes {
                pwrite(file, $0.baseAddress?.advanced(by: written), bytes.count - written, off_t(written))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw unwritable(name) }
            written += count
        }
    }

    /// Makes an empty file, unless it is there.
    func touch(_ name: String) throws(ControllerError) {
        let file = openLock(name, makes: true)
        guard file >= 0 else { throw unwritable(name) }
        close(file)
    }

    /// Gives a file another name, in the place of what has it.
    func rename(_ old: String, _ new: String) throws(ControllerError) {
        guard renameat(descriptor, old, descriptor, new) == 0 else { throw unwritable(new) }
    }

    /// Puts a file with this content in the place of what has its name.
    ///
    /// - Parameter temporary: a name that only the caller uses.
    func replace(_ name: String, by bytes: [UInt8], through temporary: String) throws(ControllerError) {
        let file = try make(temporary)
        defer { close(file) }
        do throws(ControllerError) {
            try write(bytes, to: file, temporary)
            try rename(temporary, name)
        } catch {
            try? remove(temporary)
            throw error
        }
    }

    /// Makes a symbolic link.
    ///
    /// - Returns: false when the name is taken.
    func link(_ name: String, to target: String) throws(ControllerError) -> Bool {
        if symlinkat(target, descriptor, name) == 0 { return true }
        guard errno == EEXIST else { throw unwritable(name) }
        return false
    }

    /// Removes a file.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`; not when there is none.
    func remove(_ name: String) throws(ControllerError) {
        guard unlinkat(descriptor, name, 0) == 0 || errno == ENOENT else { throw unwritable(name) }
    }

    /// Removes a subfolder if it is empty.
    func removeFolder(_ name: String) { _ = unlinkat(descriptor, name, AT_REMOVEDIR) }

    // MARK: - Errors

    private func unwritable(_ name: String) -> ControllerError {
        StateFolder.unwritable("\(path)/\(name)", code: errno)
    }

    /// A file that is there and cannot be used.
    func unreadable(_ name: String, _ reason: String, remedy: String? = nil) -> ControllerError {
        RecordFolder.unreadable("\(path)/\(name)", reason, remedy: remedy)
    }

    private func unreadable(_ name: String, _ fault: FileFault) -> ControllerError {
        RecordFolder.unreadable("\(path)/\(name)", fault)
    }

    private static func unreadable(_ path: String, _ fault: FileFault) -> ControllerError {
        unreadable(path, fault.words, remedy: fault.remedy)
    }

    private static func unreadable(_ path: String, _ reason: String, remedy: String?) -> ControllerError {
        ControllerError(.precondition, "cannot read \(path): \(reason)", remedy: remedy)
    }
}

/// Tells a file from another one, and from itself after a change.
package struct FileIdentity: Equatable {
    let inode: UInt64
    let size: Int64
    /// When content or attributes have last changed, in nanoseconds since 1970.
    let changed: Int64
}
