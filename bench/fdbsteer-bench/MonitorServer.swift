import Glibc
import Lab
import QMP

/// QEMU's end of a monitor (QMP) for one client: greets, answers what a follower asks, and tells of events.
///
/// It is used by two threads: one answers, one tells.
final class MonitorServer: @unchecked Sendable {
    let path: String
    private let listener: Int32
    private var peer: Int32 = -1
    private var thread: LabThread?

    /// - Parameter path: of the socket, which is made.
    init(_ path: String) throws {
        self.path = path
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard bound == 0, listen(listener, 1) == 0 else {
            throw LabError("cannot listen at \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        if peer >= 0 { close(peer) }
        close(listener)
        unlink(path)
    }

    /// Waits for the client and answers it from then on.
    ///
    /// - Returns: false when none comes in time.
    func serve(within milliseconds: Int32) throws -> Bool {
        var polled = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, milliseconds) > 0 else { return false }
        peer = accept(listener, nil, nil)
        guard peer >= 0 else { return false }
        tell(
            #"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 1, "major": 9}, "package": ""}, "capabilities": []}}"#)
        thread = try Namespace.thread { [self] in answer() }
        return true
    }

    /// Sends one line; it returns when the kernel has it.
    func tell(_ line: String) {
        let bytes = Array((line + "\r\n").utf8)
        _ = send(peer, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Hangs up, and waits for the thread.
    func end() {
        if peer >= 0 { shutdown(peer, Int32(SHUT_RDWR)) }
        thread?.join()
        thread = nil
    }

    private func answer() {
        var pending: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(peer, &chunk, chunk.count, 0)
            if count <= 0 { return }
            pending += chunk[..<count]
            while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                let line = pending[..<end]
                pending.removeSubrange(...end)
                guard let command = JSON(text: String(decoding: line, as: UTF8.self)) else { continue }
                let id = command["id"]?.integer.map { ", \"id\": \($0)" } ?? ""
                let answer =
                    switch command["execute"]?.text {
                    case "query-status": #"{"status": "running", "singlestep": false, "running": true}"#
                    case "query-rx-filter": "[]"
                    default: "{}"
                    }
                tell("{\"return\": \(answer)\(id)}")
            }
        }
    }
}
