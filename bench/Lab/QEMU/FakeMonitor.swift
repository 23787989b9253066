import CLab
import Glibc

/// A QEMU monitor without QEMU: the other end of the monitor's socket, driven by a test or a bench.
package final class FakeMonitor {
    /// The path of the socket.
    package let path: String
    private let folder: TemporaryFolder
    private let listener: Int32
    private var peer: Int32 = -1
    /// The greeting of QEMU.
    package static let greeting =
        #"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 1, "major": 9}, "package": ""}, "capabilities": []}}"#
        + "\n"

    /// Listens in a private folder, which is removed with this object.
    ///
    /// - Throws: ``LabError``.
    package init() throws {
        folder = try TemporaryFolder()
        path = folder.path + "/qmp"
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
        guard bound == 0, listen(listener, 4) == 0 else { throw LabError("cannot listen at \(path)") }
    }

    deinit {
        hangUp()
        close(listener)
        folder.remove()
    }

    /// Whether a client connects in time.
    package func hasClient(within milliseconds: Int32) -> Bool {
        var polled = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        return poll(&polled, 1, milliseconds) > 0
    }

    /// Accepts the next client.
    package func accept() { peer = Glibc.accept(listener, nil, nil) }

    /// Sends a text unchanged.
    package func say(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { send(peer, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    /// The lines that the client has sent.
    package func heard() -> [String] {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(peer, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// An honest answer to a line of a client: the machine runs and was never migrated.
    ///
    /// - Parameter filters: the answer to `query-rx-filter`.
    package static func answer(_ question: String, filters: String = "[]") -> String {
        let answer =
            question.contains("query-status")
            ? #"{"status": "running", "running": true}"# : question.contains("query-rx-filter") ? filters : "{}"
        return reply(answer, to: question)
    }

    private static func reply(_ answer: String, to question: String) -> String {
        let mark = question.contains("\"id\"") ? question.split(separator: "\"id\"").last ?? "" : ""
        let id = mark.drop { !("0"..."9").contains($0) }.prefix { ("0"..."9").contains($0) }
        return "{\"return\": \(answer)\(id.isEmpty ? "" : ", \"id\": \(id)")}\n"
    }

    /// An event as QEMU sends it.
    ///
    /// - Parameters:
    ///   - name: the name as QEMU spells it.
    ///   - data: a JSON object.
    package static func event(_ name: String, _ data: String = "{}") -> String {
        #"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "\#(name)", "data": \#(data)}"# + "\n"
    }

    /// Closes the connection; the next client may connect.
    package func hangUp() {
        if peer >= 0 { close(peer) }
        peer = -1
    }

    /// Accepts the next client, and answers the queries of a new connection.
    ///
    /// - Parameters:
    ///   - status: the answer to `query-status`.
    ///   - migration: the answer to `query-migrate`; nil: no migration was ever begun.
    /// - Throws: ``LabError`` if the client does not ask within ten seconds.
    package func serve(status: String = "running", migration: String? = nil) throws {
        accept()
        say(FakeMonitor.greeting)
        try answer(["qmp_capabilities"] + FakeMonitor.queries, status: status, migration: migration)
    }

    /// Answers a client that asks once more how things stand; parameters as for ``serve(status:migration:)``.
    ///
    /// - Throws: ``LabError`` if the client does not ask within ten seconds.
    package func serveAgain(status: String = "running", migration: String? = nil) throws {
        try answer(FakeMonitor.queries, status: status, migration: migration)
    }

    private static let queries = ["query-status", "query-migrate", "query-rx-filter"]

    private func answer(_ questions: [String], status: String, migration: String?) throws {
        let answers = [
            "query-status": #"{"status": "\#(status)", "running": \#(status == "running")}"#,
            "query-migrate": migration.map { #"{"status": "\#($0)"}"# } ?? "{}", "query-rx-filter": "[]",
        ]
        var left = Set(questions)
        for _ in 0..<1000 where !left.isEmpty {
            for line in heard() {
                guard let name = left.first(where: { line.contains("\"\($0)\"") }) else { continue }
                say(FakeMonitor.reply(answers[name] ?? "{}", to: line))
                left.remove(name)
            }
            usleep(10_000)
        }
        if !left.isEmpty { throw LabError("the client did not ask for \(left.sorted().joined(separator: ", "))") }
    }

    /// Sends an event (``event(_:_:)``).
    package func tell(_ name: String, _ data: String = "{}") { say(FakeMonitor.event(name, data)) }
}
