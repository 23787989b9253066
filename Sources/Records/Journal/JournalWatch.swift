import Glibc
package import Policy
import System

/// Hears what other processes do to the journal (inotify(7)): records that are written or removed, and locks that are let go.
package struct JournalWatch: ~Copyable {
    /// For poll(2).
    package let descriptor: Int32
    private let guests: Int32
    private let locks: Int32
    private let itself: Int32

    /// What happened.
    package struct Changes {
        /// Guests whose record was written or removed.
        package var guests: Set<String> = []
        /// Guests whose lock was let go.
        package var locks: Set<String> = []
        /// Events were lost: any guest may be another.
        package var areLost = false
        /// Something was done to a file of the daemon's own: its lock, or what it has found. It may have been the daemon.
        package var concernsDaemon = false
        /// The folder is no longer that of the journal.
        package var isReplaced = false
    }

    /// - Parameter folder: has a journal.
    /// - Throws: ``ControllerError`` of code `precondition`.
    package init(_ folder: StateFolder) throws(ControllerError) {
        descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        let ends = UInt32(IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
        guests = inotify_add_watch(
            descriptor, folder.path + "/guests", UInt32(IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) | ends)
        locks = inotify_add_watch(descriptor, folder.path + "/locks", UInt32(IN_CLOSE_WRITE) | ends)
        itself = inotify_add_watch(
            descriptor, folder.path,
            UInt32(IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM) | ends)
        guard descriptor >= 0, guests >= 0, locks >= 0, itself >= 0 else {
            throw ControllerError(
                .precondition, "cannot watch \(folder.path) for changes: \(String(cString: strerror(errno)))",
                remedy: "name a folder that exists by --state or in the configuration; inotify watches may be used up "
                    + "(sysctl fs.inotify.max_user_watches)")
        }
    }

    deinit { close(descriptor) }

    /// What happened since the last call.
    package func changes() -> Changes {
        var changes = Changes()
        withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 8) { buffer in
            while true {
                let length = read(descriptor, buffer.baseAddress, buffer.count)
                guard length > 0 else { return }
                var offset = 0
                let head = MemoryLayout<inotify_event>.size
                while offset + head <= length {
                    let event = buffer.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
                    let bytes = buffer[(offset + head)..<min(offset + head + Int(event.len), length)]
                    offset += head + Int(event.len)
                    take(event, String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self), into: &changes)
                }
                // Another event would have fitted: there is none.
                if buffer.count - length >= head + Int(NAME_MAX) + 1 { return }
            }
        }
        return changes
    }

    private func take(_ event: inotify_event, _ name: String, into changes: inout Changes) {
        if event.mask & UInt32(IN_Q_OVERFLOW) != 0 {
            changes.areLost = true
            changes.concernsDaemon = true
        } else if event.mask & UInt32(IN_DELETE_SELF | IN_MOVE_SELF) != 0 {
            changes.isReplaced = true
        } else if name.hasPrefix(".") {
            return
        } else if event.wd == itself {
            if name == Journal.daemonLock || name == Journal.conditionsFile { changes.concernsDaemon = true }
        } else if event.wd == locks {
            changes.locks.insert(name)
        } else if event.wd == guests, name.hasSuffix(".json") {
            changes.guests.insert(String(name.dropLast(5)))
        }
    }
}
