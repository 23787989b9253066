import CNetlink
import Glibc
import System

/// A client of a local stream socket, and its messages, each of which ends with a NUL. It belongs to one thread, which it may block.
final class Connection {
    /// The client (SO_PEERCRED of unix(7)): as it was when it connected.
    struct Peer: Hashable, Sendable {
        let user: uid_t
        let process: pid_t
    }

    /// What comes from a client.
    enum Input {
        case message([UInt8])
        /// More bytes than a message may have.
        case tooLong
        /// The client has gone or said nothing for too long, or the server ends.
        case end
    }

    let descriptor: Int32
    let peer: Peer
    private let limits: ClientLimits
    private let unread: Unread
    /// Readable once the server ends.
    private let stop: Int32
    private var buffer: [UInt8] = []
    /// So many bytes of the buffer have no NUL.
    private var scanned = 0
    private var hasAsked = false

    /// - Parameters:
    ///   - descriptor: a connected socket that does not block; it is closed with this object.
    ///   - unread: the answers that clients have not taken yet.
    ///   - stop: a descriptor that is readable once the server ends.
    /// - Returns: nil for a client of which the kernel does not say who it is.
    init?(_ descriptor: Int32, limits: ClientLimits, unread: Unread, stop: Int32) {
        var (process, user) = (pid_t(), uid_t())
        guard cn_peer(descriptor, &process, &user) == 0 else {
            close(descriptor)
            return nil
        }
        self.descriptor = descriptor
        self.limits = limits
        self.unread = unread
        self.stop = stop
        peer = Peer(user: user, process: process)
    }

    deinit { close(descriptor) }

    /// Waits for the next message.
    func next() -> Input {
        let begin = monotonicNanoseconds()
        var deadline = begin + (hasAsked && buffer.isEmpty ? limits.idleTime : limits.headTime)
        var hasWaited = false
        while true {
            if let message = takeMessage() {
                // Of several that came at once the rest is not answered at the end.
                if !hasWaited, isStopping { return .end }
                hasAsked = true
                return .message(message)
            }
            if buffer.count > limits.messageBytes { return .tooLong }
            guard wait(for: Int16(POLLIN), until: deadline) else { return .end }
            hasWaited = true
            let wasEmpty = buffer.isEmpty
            let count = withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 1) { chunk in
                let count = recv(descriptor, chunk.baseAddress, chunk.count, Int32(MSG_DONTWAIT))
                if count > 0 { buffer += chunk[..<count] }
                return count < 0 && errno != EAGAIN && errno != EINTR ? 0 : count
            }
            if count == 0 { return .end }
            if wasEmpty, count > 0, hasAsked { deadline = monotonicNanoseconds() + limits.headTime }
        }
    }

    private var isStopping: Bool {
        var polled = pollfd(fd: stop, events: Int16(POLLIN), revents: 0)
        return poll(&polled, 1, 0) > 0
    }

    private func takeMessage() -> [UInt8]? {
        let place = buffer.withUnsafeBytes { bytes -> Int? in
            guard let base = bytes.baseAddress, scanned < bytes.count else { return nil }
            return memchr(base + scanned, 0, bytes.count - scanned).map { UnsafeRawPointer($0) - base }
        }
        guard let place, place <= limits.messageBytes else {
            scanned = buffer.count
            return nil
        }
        let message = Array(buffer[..<place])
        // What a long message took is given back.
        if place + 1 == buffer.count { buffer = [] } else { buffer = Array(buffer[(place + 1)...]) }
        scanned = 0
        return message
    }

    /// Sends bytes, as far as the client takes them in time.
    ///
    /// - Returns: false for a client that does not, or has gone.
    func send(_ bytes: [UInt8]) -> Bool {
        var deadline: Int64?
        defer { if deadline != nil { unread.remove(descriptor) } }
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { part in
                Glibc.send(
                    descriptor, part.baseAddress.map { $0 + sent }, part.count - sent,
                    Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count > 0 {
                sent += count
            } else if errno != EAGAIN && errno != EINTR {
                return false
            } else {
                if deadline == nil { unread.add(bytes.count, of: descriptor) }
                let end = deadline ?? monotonicNanoseconds() + limits.answerTime
                deadline = end
                if !wait(for: Int16(POLLOUT), until: end, heedsStop: false) { return false }
            }
        }
        return true
    }

    /// Waits until another descriptor has input, at most so many nanoseconds.
    ///
    /// - Returns: false when the client has gone, or the server ends.
    func wait(beside other: Int32, atMost time: Int64) -> Bool {
        var polled = [
            pollfd(fd: other, events: Int16(POLLIN), revents: 0), pollfd(fd: descriptor, events: 0, revents: 0),
            pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
        ]
        poll(&polled, 3, milliseconds(time))
        return polled[1].revents == 0 && polled[2].revents == 0
    }

    private func wait(for events: Int16, until deadline: Int64, heedsStop: Bool = true) -> Bool {
        while true {
            let left = deadline - monotonicNanoseconds()
            guard left > 0 else { return false }
            var polled = [
                pollfd(fd: descriptor, events: events, revents: 0),
                pollfd(fd: heedsStop ? stop : -1, events: Int16(POLLIN), revents: 0),
            ]
            poll(&polled, 2, milliseconds(left))
            if polled[1].revents != 0 { return false }
            if polled[0].revents != 0 { return true }
        }
    }

    private func milliseconds(_ time: Int64) -> Int32 { Int32(clamping: (time + 999_999) / 1_000_000) }
}
