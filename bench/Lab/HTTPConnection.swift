import Glibc

/// A TCP connection to a server on this namespace's loopback. The client sends whatever it is told to, and reads answers of HTTP.
package final class HTTPConnection {
    /// One answer.
    package struct Answer: Sendable {
        /// The status code; 0 if there is none.
        package let status: Int
        /// Status line and header lines.
        package let head: String
        /// As long as Content-Length says.
        package let body: String
    }

    /// For poll(2).
    package let descriptor: Int32
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)
    /// What was received and not taken yet.
    private var received: [UInt8] = []
    /// Seconds. No answer takes this long, so that a hang is a failure and not a run that never ends.
    private static let patience = 30

    /// - Throws: ``LabError`` when nobody listens.
    package init(port: Int) throws(LabError) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        var limit = timeval(tv_sec: HTTPConnection.patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            throw LabError("cannot connect to port \(port): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// One request on a connection of its own.
    ///
    /// - Throws: ``LabError`` when there is no answer.
    package static func get(_ target: String, port: Int, method: String = "GET") throws(LabError) -> Answer {
        let connection = try HTTPConnection(port: port)
        connection.send("\(method) \(target) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        guard let answer = try connection.answer(bodyFollows: method != "HEAD") else {
            throw LabError("port \(port) closed the connection without an answer to \(method) \(target)")
        }
        return answer
    }

    /// Asks for a page on a connection that is kept.
    ///
    /// - Returns: false when the server has closed the connection.
    @discardableResult
    package func request(_ target: String) -> Bool { send("GET \(target) HTTP/1.1\r\nHost: localhost\r\n\r\n") }

    /// - Returns: false when the server has closed the connection.
    @discardableResult
    package func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    /// - Returns: false when the server has closed the connection.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count < 0 { return false }
            sent += count
        }
        return true
    }

    /// Reads once.
    ///
    /// - Returns: false at the end of the connection, however it ended.
    /// - Throws: ``LabError`` when nothing comes.
    package func receive() throws(LabError) -> Bool {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count < 0, errno == EAGAIN { throw LabError("nothing came for \(HTTPConnection.patience) s") }
        if count > 0 { received += buffer.prefix(count) }
        return count > 0
    }

    /// Takes an answer from what was received; nil when it is not whole.
    package func takeAnswer(bodyFollows: Bool = true) -> Answer? {
        let separator = Array("\r\n\r\n".utf8)
        guard let end = received.indices.first(where: { received[$0...].starts(with: separator) }) else { return nil }
        let head = String(decoding: received[..<end], as: UTF8.self)
        let length = head.split(separator: "\r\n").map { $0.lowercased() }.first { $0.hasPrefix("content-length: ") }
            .flatMap { Int($0.dropFirst(16)) }
        let rest = end + 4 + (bodyFollows ? length ?? 0 : 0)
        guard received.count >= rest else { return nil }
        defer { received.removeFirst(rest) }
        return Answer(
            status: head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0, head: head,
            body: String(decoding: received[(end + 4)..<rest], as: UTF8.self))
    }

    /// Waits for an answer; nil when the connection ends before.
    ///
    /// - Throws: ``LabError`` when nothing comes.
    package func answer(bodyFollows: Bool = true) throws(LabError) -> Answer? {
        while true {
            if let answer = takeAnswer(bodyFollows: bodyFollows) { return answer }
            if try !receive() { return nil }
        }
    }

    /// Everything until the server closes the connection.
    ///
    /// - Throws: ``LabError`` when nothing comes.
    package func rest() throws(LabError) -> String {
        while try receive() {}
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }
}
