import Glibc
import JSON
import Lab

/// A connection to a local API, by which a test sends whatever it wants.
final class VarlinkClient {
    let descriptor: Int32
    private var received: [UInt8] = []
    /// Seconds: no reply takes this long, so that a hang is a failure and not a run that never ends.
    private static let patience = 60

    /// - Throws: ``LabError`` when nobody listens.
    init(_ lab: CommandLineLab) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: VarlinkClient.patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array("\(lab.state)/io.fdbsteer".utf8)) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw LabError("cannot connect: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    /// - Returns: false when the other end is closed.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count <= 0 { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// Sends a call of `io.fdbsteer`.
    ///
    /// - Parameter parameters: JSON.
    func begin(_ method: String, _ parameters: String = "{}", more: Bool = false) {
        let name = method.contains(".") ? method : "io.fdbsteer.\(method)"
        send(Array(#"{"method":"\#(name)","parameters":\#(parameters),"more":\#(more)}"#.utf8) + [0])
    }

    /// The next reply; nil when the connection is closed.
    func reply() throws -> JSON? {
        while true {
            if let end = received.firstIndex(of: 0) {
                let line = Array(received[..<end])
                received.removeFirst(end + 1)
                guard let json = line.withUnsafeBytes({ JSON($0) }) else {
                    throw LabError("no JSON: \(String(decoding: line, as: UTF8.self))")
                }
                return json
            }
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count == 0 || count < 0 && errno == ECONNRESET { return nil }
            guard count > 0 else { throw LabError("no reply: \(String(cString: strerror(errno)))") }
            received += chunk[..<count]
        }
    }

    /// Calls a method of `io.fdbsteer`.
    func call(_ method: String, _ parameters: String = "{}", more: Bool = false) throws -> JSON {
        begin(method, parameters, more: more)
        guard let reply = try reply() else { throw LabError("\(method): the connection was closed") }
        return reply
    }

    /// The answer of a verb.
    func answer(_ method: String, _ parameters: String = "{}") throws -> JSON {
        let reply = try call(method, parameters)
        guard let answer = reply["parameters"]?["answer"], reply["error"] == nil else {
            throw LabError("\(method): \(reply)")
        }
        return answer
    }
}
