import CLab
import FoundationEssentials
import Glibc

/// An event of a QEMU.
public struct QEMUEvent: Hashable, Sendable {
    /// The host of the QEMU.
    public let host: String
    /// Its name, as in QEMU's schema.
    public let name: String
    /// The time of the event according to QEMU, in nanoseconds of CLOCK_REALTIME.
    public let time: Int64
    /// The new status, in MIGRATION.
    public let status: String?
    /// The device that the event concerns.
    public let device: String?

    /// The event in a few words.
    public var words: String {
        var words = name
        if let status { words += " " + status }
        if let device { words += " " + device }
        return words
    }
}

/// A session of QEMU's machine protocol (QMP) over a Unix socket, with its events; used on one thread.
public final class QEMUSession {
    /// The host of its events.
    private let host: String
    private let descriptor: Int32
    private var rest: [UInt8] = []
    private var waiting: [QEMUEvent] = []

    private struct Line: Decodable {
        struct Stamp: Decodable { let seconds, microseconds: Int64 }
        struct Data: Decodable {
            let status, device, deviceID: String?
            enum CodingKeys: String, CodingKey { case status, device, deviceID = "device-id" }
        }
        struct Failure: Decodable { let desc: String }
        let event: String?
        let timestamp: Stamp?
        let data: Data?
        let error: Failure?
    }

    /// Connects and leaves the negotiation mode.
    ///
    /// - Parameters:
    ///   - path: the socket, which may still be missing.
    ///   - host: a name for the events.
    /// - Throws: ``LabError``.
    public init(path: String, host: String) throws {
        self.host = host
        descriptor = try QEMUSession.connect(path)
        try execute("qmp_capabilities")
    }

    deinit { close(descriptor) }

    /// Connects to a socket of a QEMU that is starting.
    static func connect(_ path: String) throws -> Int32 {
        var failure: Int32 = 0
        for _ in 0..<500 {
            let descriptor = clab_connect(path)
            if descriptor >= 0 { return descriptor }
            failure = -descriptor
            usleep(20_000)
        }
        throw LabError("cannot connect to \(path): \(String(cString: strerror(failure)))")
    }

    /// Runs one command.
    ///
    /// - Parameter arguments: a JSON object.
    /// - Returns: the whole answer.
    /// - Throws: ``LabError`` with QEMU's own message.
    @discardableResult
    public func execute(_ command: String, _ arguments: String = "{}") throws -> [UInt8] {
        let bytes = Array("{\"execute\": \"\(command)\", \"arguments\": \(arguments)}\n".utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw LabError("cannot write to QEMU: \(String(cString: strerror(errno)))")
        }
        while true {
            guard let bytes = try readLine(timeout: 20_000) else {
                throw LabError("QEMU did not answer \(command) within 20 s")
            }
            let line = try decode(bytes)
            if let event = event(line) {
                waiting.append(event)
            } else if let failure = line.error {
                throw LabError("\(command): \(failure.desc)")
            } else if String(decoding: bytes, as: UTF8.self).contains("\"return\"") {
                return bytes
            }
        }
    }

    /// The next event; nil if there is none within the given milliseconds.
    ///
    /// - Throws: ``LabError`` if QEMU has ended.
    public func nextEvent(timeout: Int32) throws -> QEMUEvent? {
        if !waiting.isEmpty { return waiting.removeFirst() }
        while let bytes = try readLine(timeout: timeout) {
            if let event = event(try decode(bytes)) { return event }
        }
        return nil
    }

    private func event(_ line: Line) -> QEMUEvent? {
        guard let name = line.event, let stamp = line.timestamp else { return nil }
        return QEMUEvent(
            host: host, name: name, time: stamp.seconds * 1_000_000_000 + stamp.microseconds * 1000,
            status: line.data?.status, device: line.data?.deviceID ?? line.data?.device)
    }

    private func decode(_ bytes: [UInt8]) throws -> Line {
        do { return try JSONDecoder().decode(Line.self, from: Data(bytes)) } catch {
            throw LabError("QEMU said \(String(decoding: bytes, as: UTF8.self)): \(error)")
        }
    }

    private func readLine(timeout: Int32) throws -> [UInt8]? {
        while true {
            if let end = rest.firstIndex(of: 0x0a) {
                let line = Array(rest[..<end])
                rest.removeSubrange(...end)
                return line
            }
            var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&polled, 1, timeout) > 0 else { return nil }
            var chunk = [UInt8](repeating: 0, count: 65536)
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { throw LabError("the QEMU on host \(host) ended") }
            rest += chunk[..<count]
        }
    }
}
