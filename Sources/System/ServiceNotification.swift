import Glibc

/// Tells the service manager how a daemon is: the protocol of sd_notify(3), without its library.
///
/// Each message is one datagram to the socket that the variable `NOTIFY_SOCKET` names: a path, or with a leading `@` a name
/// in the abstract space. A message is never waited for: a manager that does not read must not stop the daemon.
public struct ServiceNotification: Hashable, Sendable {
    /// How often the manager wants ``alive()`` at least, in nanoseconds: half of `WATCHDOG_USEC`; nil for never.
    public let watchdogInterval: Int64?
    private let address: [UInt8]

    /// `sun_path` holds so many bytes.
    private static let mostBytes = MemoryLayout.size(ofValue: sockaddr_un().sun_path)

    /// The manager that started this process.
    ///
    /// - Returns: nil when none did, or its socket is of a kind that is not known here.
    public init?() {
        guard let socket = getenv("NOTIFY_SOCKET") else { return nil }
        func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
        self.init(
            socket: String(cString: socket), watchdogMicroseconds: variable("WATCHDOG_USEC"),
            watchdogProcess: variable("WATCHDOG_PID"))
    }

    /// - Parameters:
    ///   - socket: as `NOTIFY_SOCKET` has it.
    ///   - watchdogMicroseconds: as `WATCHDOG_USEC` has it.
    ///   - watchdogProcess: as `WATCHDOG_PID` has it; the watchdog is another process's if it is not this one's.
    /// - Returns: nil for a socket that is neither an absolute path nor abstract, or too long.
    public init?(socket: String, watchdogMicroseconds: String? = nil, watchdogProcess: String? = nil) {
        var address = Array(socket.utf8)
        guard address.count > 1, address.count < ServiceNotification.mostBytes, !address.contains(0) else { return nil }
        switch address[0] {
        case UInt8(ascii: "@"): address[0] = 0
        case UInt8(ascii: "/"): break
        default: return nil
        }
        self.address = address
        let isMine = watchdogProcess.map { $0 == "\(getpid())" } ?? true
        let microseconds = watchdogMicroseconds.flatMap { Int64($0) } ?? 0
        watchdogInterval = isMine && microseconds > 0 && microseconds <= .max / 1000 ? microseconds * 500 : nil
    }

    /// The daemon has started, or has read its configuration again.
    @discardableResult
    public func ready(status: String) -> Bool { send("READY=1\n" + line(status)) }

    /// The daemon reads its configuration again; ``ready(status:)`` ends that.
    @discardableResult
    public func reloading() -> Bool {
        send("RELOADING=1\nMONOTONIC_USEC=\(monotonicNanoseconds() / 1000)")
    }

    /// The daemon ends.
    @discardableResult
    public func stopping() -> Bool { send("STOPPING=1") }

    /// The daemon's loop goes round: to be called once in ``watchdogInterval``.
    @discardableResult
    public func alive() -> Bool { send("WATCHDOG=1") }

    /// What the daemon does, in a few words, for `systemctl status`.
    @discardableResult
    public func status(_ words: String) -> Bool { send(line(words)) }

    /// A line break would begin another variable.
    private func line(_ status: String) -> String {
        "STATUS=" + String(decoding: status.utf8.map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
    }

    /// - Returns: false when the message did not reach the manager's socket; there is nobody to tell.
    private func send(_ message: String) -> Bool {
        let socket = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return false }
        defer { close(socket) }
        var target = sockaddr_un()
        target.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &target.sun_path) { $0.copyBytes(from: address) }
        // An abstract name is as long as it is said to be; a path ends with NUL.
        let length = socklen_t(
            (MemoryLayout.offset(of: \sockaddr_un.sun_path) ?? 2) + address.count + (address[0] == 0 ? 0 : 1))
        let bytes = Array(message.utf8)
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        return withUnsafePointer(to: &target) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                sendto(socket, bytes, bytes.count, flags, address, length) == bytes.count
            }
        }
    }
}
