import CNetlink
import Controller
import Glibc
import Policy

/// Signals as a descriptor to poll (signalfd(2)); blocked in every thread that is started afterwards.
struct SignalDescriptor: ~Copyable {
    let descriptor: Int32

    init(_ signals: [Int32]) throws(ControllerError) {
        var before: UInt64 = 0
        let result = cn_signal_descriptor(signals.reduce(0) { $0 | 1 << UInt64($1 - 1) }, &before)
        if result < 0 {
            throw ControllerError(.precondition, "cannot wait for signals: \(String(cString: strerror(-result)))")
        }
        descriptor = result
    }

    deinit { close(descriptor) }

    /// The next signal that came, nil for none.
    func next() -> Int32? {
        let signal = cn_next_signal(descriptor)
        return signal > 0 ? signal : nil
    }
}

/// Tells when one of some files in a folder was written (inotify(7)).
struct FileWatch: ~Copyable {
    let descriptor: Int32
    private let names: [String]

    /// - Parameter paths: the files, all in one folder, which must exist.
    init(_ paths: [String]) throws(ControllerError) {
        let parts = paths.map { $0.split(separator: "/", omittingEmptySubsequences: false) }
        names = parts.map { String($0.last ?? "") }
        let folder = parts.first?.dropLast().joined(separator: "/") ?? "."
        descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0, inotify_add_watch(descriptor, folder, UInt32(IN_MODIFY) | FileWatch.otherFile) >= 0
        else {
            throw ControllerError(
                .precondition, "cannot watch \(folder) for changes: \(String(cString: strerror(errno)))",
                remedy: "name a folder that exists by --state or in the configuration; inotify watches may be used up "
                    + "(sysctl fs.inotify.max_user_watches)")
        }
    }

    deinit { close(descriptor) }

    /// What happened to the files.
    struct Changes {
        /// One was written.
        var areWritten = false
        /// A name stands for another file now, or for none.
        var areReplaced = false
    }

    private static let otherFile = UInt32(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

    /// What happened since the last call.
    func changes() -> Changes {
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
                    if event.mask & FileWatch.otherFile != 0 { changes.areReplaced = true }
                }
            }
        }
        return changes
    }
}

/// The descriptors that a loop waits for (epoll(7)): waiting costs by what has happened, not by how many there are.
struct DescriptorSet: ~Copyable {
    private let descriptor: Int32
    private var events = [epoll_event](repeating: epoll_event(), count: 64)

    init() throws(ControllerError) {
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        if descriptor < 0 {
            throw ControllerError(.precondition, "cannot wait for descriptors: \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// Waits for a descriptor from now on; one that is closed leaves the set by itself.
    ///
    /// - Parameters:
    ///   - events: as for poll(2).
    ///   - token: what ``wait(milliseconds:_:)`` tells when something happened.
    func watch(_ watched: Int32, events: Int16 = Int16(POLLIN), token: Int64) {
        // The flags of poll(2) and epoll(7) are the same.
        var event = epoll_event(
            events: UInt32(UInt16(bitPattern: events)), data: epoll_data(u64: UInt64(bitPattern: token)))
        if epoll_ctl(descriptor, EPOLL_CTL_MOD, watched, &event) != 0, errno == ENOENT {
            epoll_ctl(descriptor, EPOLL_CTL_ADD, watched, &event)
        }
    }

    /// Waits until something happens, and adds the tokens of it; a signal is a turn for nothing.
    mutating func wait(milliseconds: Int32, _ tokens: inout [Int64]) {
        let count = epoll_wait(descriptor, &events, Int32(events.count), milliseconds)
        for index in 0..<Int(max(0, count)) { tokens.append(Int64(bitPattern: events[index].data.u64)) }
    }
}
