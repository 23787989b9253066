import Glibc
import Lab
import MetricsServer
import Testing

/// A plain TCP connection, for a client that follows no rules.
final class Client {
    let socket: Int32
    /// The received bytes that were not consumed yet.
    private var received: [UInt8] = []

    /// Connects to 127.0.0.1.
    init(port: Int) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        // Nothing here takes this long, so a hang is a failure instead of an endless test.
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(socket, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if code != 0 {
            throw LabError("cannot connect to port \(port): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(socket) }

    /// - Returns: false if the server has closed the connection.
    @discardableResult
    func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count < 0 { return false }
            sent += count
        }
        return true
    }

    /// - Returns: false at the end of the connection, however it ended.
    private func receive() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(socket, &buffer, buffer.count, 0)
        if count > 0 { received += buffer.prefix(count) }
        if count < 0, errno == EAGAIN { Issue.record("nothing came for 30 seconds") }
        return count > 0
    }

    /// All bytes until the server closes the connection.
    func rest() -> String {
        while receive() {}
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    /// One answer: the status code, the head, and the body of its Content-Length; nil if the connection ended.
    func answer(bodyFollows: Bool = true) -> (status: Int, head: String, body: String)? {
        let separator = Array("\r\n\r\n".utf8)
        var end: Int?
        while true {
            end = received.indices.first { received[$0...].starts(with: separator) }
            if end != nil { break }
            if !receive() { return nil }
        }
        guard let end else { return nil }
        let head = String(decoding: received[..<end], as: UTF8.self)
        let lines = head.split(separator: "\r\n").map { $0.lowercased() }
        let length =
            bodyFollows ? lines.first { $0.hasPrefix("content-length: ") }.flatMap { Int($0.dropFirst(16)) } : 0
        while received.count < end + 4 + (length ?? 0) { if !receive() { return nil } }
        let body = String(decoding: received[(end + 4)..<(end + 4 + (length ?? 0))], as: UTF8.self)
        received.removeFirst(end + 4 + (length ?? 0))
        let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return (status, head, body)
    }

    /// Sends one request on a new connection.
    static func get(
        _ target: String, port: Int, method: String = "GET"
    ) throws -> (status: Int, head: String, body: String) {
        let client = try Client(port: port)
        client.send("\(method) \(target) HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return try #require(client.answer(bodyFollows: method != "HEAD"))
    }
}

/// Runs `body` with a server on a port that the kernel chose, and stops the server.
func withServer(
    limits: Limits = Limits(), answer: @escaping @Sendable (Route) -> Response = { Response(text: "\($0.rawValue)\n") },
    _ body: (MetricsServer) throws -> Void
) throws {
    let server = try MetricsServer.start(port: 0, limits: limits, answer: answer)
    defer { server.stop() }
    try body(server)
}
