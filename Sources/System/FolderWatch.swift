import Glibc

/// Reports when one of some files in a folder was written (inotify(7)).
package struct FolderWatch: ~Copyable {
    /// For poll(2).
    package let descriptor: Int32
    private let names: [String]

    /// - Parameter paths: the files. All are in one folder, which must exist.
    /// - Throws: ``SystemError``.
    package init(_ paths: [String]) throws(SystemError) {
        let parts = paths.map { $0.split(separator: "/", omittingEmptySubsequences: false) }
        names = parts.map { String($0.last ?? "") }
        let folder = parts.first?.dropLast().joined(separator: "/") ?? "."
        descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0, inotify_add_watch(descriptor, folder, UInt32(IN_MODIFY) | FolderWatch.otherFile) >= 0
        else { throw SystemError("cannot watch \(folder) for changes", errno: errno) }
    }

    deinit { close(descriptor) }

    /// What happened to the files.
    package struct Changes {
        /// One was written.
        package var areWritten = false
        /// A name stands for another file now, or for none.
        package var areReplaced = false
    }

    private static let otherFile = UInt32(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

    /// What happened since the last call.
    package func changes() -> Changes {
        var changes = Changes()
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
            while true {
                let length = read(descriptor, buffer.baseAddress, buffer.count)
                guard length > 0 else { return }
                var offset = 0
                let head = MemoryLayout<inotify_event>.size
                while offset + head <= length {
                    let event = buffer.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
                    let bytes = buffer[(offset + head)..<min(offset + head + Int(event.len), length)]
                    offset += head + Int(event.len)
                    // Lost events have no name.
                    if event.mask & UInt32(IN_Q_OVERFLOW) != 0 { changes.areWritten = true }
                    guard names.contains(String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)) else { continue }
                    changes.areWritten = true
                    if event.mask & FolderWatch.otherFile != 0 { changes.areReplaced = true }
                }
            }
        }
        return changes
    }
}
