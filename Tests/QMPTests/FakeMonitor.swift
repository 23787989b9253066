import Glibc
import QMP

/// The other end of a monitor's socket, in the test's hands.
final class FakeMonitor {
    let path: String
    private let listener: Int32
    private var peer: Int32 = -1
    static let greeting =
        #"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 1, "major": 9}, "package": ""}, "capabilities": []}}"#
        + "\n"

    init() throws {
        var template = Array("/tmp/fdbsteer-qmp-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw FakeMonitorError(text: "cannot make a folder") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        path = folder + "/qmp"
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
        guard bound == 0, listen(listener, 4) == 0 else { throw FakeMonitorError(text: "cannot listen at \(path)") }
    }

    deinit {
        hangUp()
        close(listener)
        unlink(path)
        rmdir(path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/"))
    }

    /// Takes the next client.
    func accept() { peer = Glibc.accept(listener, nil, nil) }

    func say(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { send(peer, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    /// What the client has sent, a line each.
    func heard() -> [String] {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(peer, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: "\n").map(String.init)
    }

    func hangUp() {
        if peer >= 0 { close(peer) }
        peer = -1
    }
}

struct FakeMonitorError: Error {
    let text: String
}

/// CLOCK_MONOTONIC in nanoseconds.
func monotonic() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
