import Glibc
import Lab

/// A connection to an HTTP server on this namespace's loopback, with the features that a scraper needs.
final class HTTPConnection {
    let descriptor: Int32
    private var buffer = [UInt8](repeating: 0, count: 65536)
    private var received: [UInt8] = []

    /// - Throws: `LabError` if no server listens.
    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw LabError("socket: \(String(cString: strerror(errno)))") }
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw LabError("connect to port \(port): \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    /// Sends one request and returns the whole answer.
    func get(_ path: String, keepAlive: Bool = true) throws -> [UInt8] {
        try request(path, keepAlive: keepAlive)
        while true {
            if let answer = try answer() { return answer }
        }
    }

    /// Sends one request.
    func request(_ path: String, keepAlive: Bool = true) throws {
        let text = "GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(keepAlive ? "" : "Connection: close\r\n")\r\n"
        let bytes = Array(text.utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw LabError("cannot send a request: \(String(cString: strerror(errno)))")
        }
    }

    /// Reads once and returns the answer if it is complete; nil if more follows.
    func answer() throws -> [UInt8]? {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else {
            throw LabError(count == 0 ? "the server closed" : "recv: \(String(cString: strerror(errno)))")
        }
        received += buffer.prefix(count)
        guard let head = endOfHead else { return nil }
        let text = String(decoding: received[..<head], as: UTF8.self).lowercased()
        guard let line = text.split(separator: "\r\n").first(where: { $0.hasPrefix("content-length:") }),
            let length = Int(line.dropFirst(15).filter { $0 != " " })
        else { throw LabError("an answer without a length: \(text)") }
        guard received.count >= head + length else { return nil }
        defer { received.removeFirst(head + length) }
        return Array(received[..<(head + length)])
    }

    private var endOfHead: Int? {
        let mark: [UInt8] = [13, 10, 13, 10]
        guard received.count >= 4 else { return nil }
        return (0...(received.count - 4)).first { received[$0..<($0 + 4)].elementsEqual(mark) }.map { $0 + 4 }
    }
}
