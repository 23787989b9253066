import Glibc
import System
import Testing

/// A service manager's end of the socket.
private final class Manager {
    let socket: Int32

    /// - Parameter name: the value of NOTIFY_SOCKET.
    init(_ name: String) throws {
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var bytes = Array(name.utf8)
        if bytes.first == UInt8(ascii: "@") { bytes[0] = 0 }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(2 + bytes.count + (bytes[0] == 0 ? 0 : 1))
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, length) }
        }
        try #require(code == 0, "\(String(cString: strerror(errno)))")
    }

    deinit { close(socket) }

    /// The next message; nil if there is none.
    func message() -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
    }
}

struct ServiceNotificationTests {
    @Test(arguments: ["@fdbsteer-test-\(getpid())", "/tmp/fdbsteer-test-notify-\(getpid())"])
    func messages(socket: String) throws {
        defer { if socket.hasPrefix("/") { unlink(socket) } }
        let manager = try Manager(socket)
        let service = try #require(
            ServiceNotification(socket: socket, watchdogMicroseconds: "30000000", watchdogProcess: "\(getpid())"))
        #expect(service.watchdogInterval == 15_000_000_000)
        #expect(service.ready(status: "12 guests\nWATCHDOG=trigger"))
        #expect(manager.message() == "READY=1\nSTATUS=12 guests WATCHDOG=trigger")
        #expect(service.alive() && manager.message() == "WATCHDOG=1")
        #expect(service.status("idle") && manager.message() == "STATUS=idle")
        var before = timespec()
        clock_gettime(CLOCK_MONOTONIC, &before)
        #expect(service.reloading())
        let reloading = try #require(manager.message())
        let prefix = "RELOADING=1\nMONOTONIC_USEC="
        #expect(reloading.hasPrefix(prefix), "\(reloading)")
        let time = try #require(Int64(reloading.dropFirst(prefix.count)))
        #expect(time >= Int64(before.tv_sec) * 1_000_000 + Int64(before.tv_nsec) / 1000)
        #expect(service.stopping() && manager.message() == "STOPPING=1")
        #expect(manager.message() == nil)
    }

    /// A manager that is gone, or does not read, blocks nothing.
    @Test func nobodyListens() throws {
        let gone = try #require(ServiceNotification(socket: "/tmp/fdbsteer-test-no-such-socket"))
        #expect(!gone.alive())
        let name = "@fdbsteer-test-full-\(getpid())"
        let manager = try Manager(name)
        let full = try #require(ServiceNotification(socket: name))
        #expect((0..<100_000).contains { _ in !full.alive() }, "the socket's queue has no end")
        #expect(manager.message() == "WATCHDOG=1")
    }

    @Test func settings() {
        for socket in ["", "@", "/", "relative", "vsock:2:1", "/" + String(repeating: "a", count: 107)] {
            #expect(ServiceNotification(socket: socket) == nil, "\(socket)")
        }
        #expect(ServiceNotification(socket: "/" + String(repeating: "a", count: 106)) != nil)
        func interval(_ microseconds: String?, _ process: String?) -> Int64? {
            ServiceNotification(socket: "@a", watchdogMicroseconds: microseconds, watchdogProcess: process)?
                .watchdogInterval
        }
        #expect(interval("2000000", nil) == 1_000_000_000)
        #expect(interval("2000000", "1") == nil)
        #expect(interval(nil, nil) == nil && interval("0", nil) == nil && interval("x", nil) == nil)
        #expect(interval("9223372036854775807", nil) == nil)
    }
}
