import CNetlink
import Glibc

/// The descriptors that a loop waits for (epoll(7)). The cost of a wait depends on what happened, not on how many there are.
package struct EventSet: ~Copyable {
    /// For poll(2), or for another set: it has input while something has happened.
    package let descriptor: Int32
    private var events = [epoll_event](repeating: epoll_event(), count: 64)

    /// - Throws: ``SystemError``.
    package init() throws(SystemError) {
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        if descriptor < 0 { throw SystemError("cannot wait for descriptors", errno: errno) }
    }

    deinit { close(descriptor) }

    /// Waits for a descriptor from now on; one that is closed leaves the set by itself.
    ///
    /// - Parameters:
    ///   - events: as for poll(2).
    ///   - token: what ``wait(milliseconds:_:)`` adds when something happened.
    package func watch(_ watched: Int32, events: Int16 = Int16(POLLIN), token: Int64) {
        // The flags of poll(2) and epoll(7) are the same.
        var event = epoll_event(
            events: UInt32(UInt16(bitPattern: events)), data: epoll_data(u64: UInt64(bitPattern: token)))
        if epoll_ctl(descriptor, EPOLL_CTL_MOD, watched, &event) != 0, errno == ENOENT {
            epoll_ctl(descriptor, EPOLL_CTL_ADD, watched, &event)
        }
    }

    /// Waits until something happens, and adds its tokens; a signal that is delivered ends the wait with none.
    package mutating func wait(milliseconds: Int32, _ tokens: inout [Int64]) {
        let count = epoll_wait(descriptor, &events, Int32(events.count), milliseconds)
        for index in 0..<Int(max(0, count)) { tokens.append(Int64(bitPattern: events[index].data.u64)) }
    }
}
