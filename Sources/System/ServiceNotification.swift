import Glibc

/// Reports the state of a daemon to the service manager: the protocol of sd_notify(3), without its library.
///
/// Each message is one datagram to the socket in the variable `NOTIFY_SOCKET`: a path, or with a leading `@` a name in the
/// abstract namespace. Sending never blocks: a manager that does not read must not stop the daemon.
public struct ServiceNotification: Hashable, Sendable {
    /// The longest interval between calls of ``alive()``, in nanoseconds: half of `WATCHDOG_USEC`; nil if none are needed.
    public let watchdogInterval: Int64?
    private let address: [UInt8]

    /// The size of `sun_path` in bytes.
    private static let mostBytes = MemoryLayout.size(ofValue: sockaddr_un().sun_path)

    /// The manager that started this process.
    ///
    /// - Returns: nil if no manager started it, or the kind of its socket is unknown.
    public init?() {
        guard let socket = Environment.value("NOTIFY_SOCKET") else { return nil }
        self.init(
            socket: socket, watchdogMicroseconds: Environment.value("WATCHDOG_USEC"),
            watchdogProcess: Environment.value("WATCHDOG_PID"))
    }

    /// - Parameters:
    ///   - socket: the value of `NOTIFY_SOCKET`.
    ///   - watchdogMicroseconds: the value of `WATCHDOG_USEC`.
    ///   - watchdogProcess: the value of `WATCHDOG_PID`; if it is another process, the watchdog does not apply to this one.
    /// - Returns: nil for a socket that is neither an absolute path nor an abstract name, or that is too long.
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

    /// Reports that the daemon has started, or has read its configuration again.
    @discardableResult
    public func ready(status: String) -> Bool { send("READY=1\n" + line(status)) }

    /// Reports that the daemon is reading its configuration again, until ``ready(status:)`` is called.
    @discardableResult
    public func reloading() -> Bool {
        send("RELOADING=1\nMONOTONIC_USEC=\(monotonicNanoseconds() / 1000)")
    }

    /// Reports that the daemon is ending.
    @discardableResult
    public func stopping() -> Bool { send("STOPPING=1") }

    /// Reports that the daemon's loop is running. Call it once in each ``watchdogInterval``.
    @discardableResult
    public func alive() -> Bool { send("WATCHDOG=1") }

    /// Reports what the daemon does, in a few words, for `systemctl status`.
    @discardableResult
    public func status(_ words: String) -> Bool { send(line(words)) }

    /// The status without line breaks, because each would begin another variable.
    private func line(_ status: String) -> String {
        "STATUS=" + String(decoding: status.utf8.map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
    }

    /// - Returns: false if the message did not reach the manager's socket; nothing else can be done then.
    private func send(_ message: String) -> Bool {
        let socket = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return false }
        defer { close(socket) }
        var target = sockaddr_un()
        target.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &target.sun_path) { $0.copyBytes(from: address) }
        // The length includes exactly the bytes of an abstract name; a path ends with NUL.
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
