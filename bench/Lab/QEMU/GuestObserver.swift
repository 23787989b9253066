import CLab
import Glibc

/// An event that the guest recorded: a NIC appeared, disappeared, or changed.
public struct GuestNote: Hashable, Sendable {
    /// Nanoseconds of the guest's clock since `begin`. The clock stops while the guest is stopped.
    public let time: Int64
    /// For each peer, the newest frame that the guest had seen.
    public let newest: [Int]
    /// The observer's text (bench/guest/observer.c).
    public let text: String
}

/// The frames of one peer as the guest saw them.
public struct GuestCount: Sendable {
    /// For each frame, up to the newest one seen, the places where it was seen (bench/guest/observer.c, `enum mark`).
    public let marks: [UInt8]
    /// For each frame, the time of its acceptance, in units of 10 microseconds of the guest's clock since `begin`; 0: never.
    public let times: [UInt32]
    /// Frames from any peer that the observer's socket dropped since `begin`.
    public let drops: Int
}

/// A session with the observer in the guest, through QEMU's end of a virtio-serial port; used on one thread.
public final class GuestObserver {
    private let descriptor: Int32
    private var rest: [UInt8] = []

    /// - Parameter path: the socket of the port.
    init(path: String) throws { descriptor = try QEMUSession.connect(path) }

    deinit { close(descriptor) }

    /// Sends one request and returns its answer.
    ///
    /// - Parameter timeout: in milliseconds.
    /// - Throws: ``LabError`` if there is no answer.
    @discardableResult
    public func ask(_ request: String, timeout: Int32 = 10_000) throws -> String {
        try write(request)
        var answer = ""
        while true {
            let line = try line(timeout: timeout)
            if line == "." { return answer }
            answer += line + "\n"
        }
    }

    /// Clears all records, and counts the frames of three runs from `run` on.
    ///
    /// - Parameters:
    ///   - frames: the most frames of a run.
    ///   - replies: the number of frames a second that the guest sends itself.
    /// - Throws: ``LabError``.
    public func begin(run: UInt32, frames: Int, replies: Int) throws {
        try ask("begin \(run) \(frames) \(max(1, 1000 / replies))")
    }

    /// The events that the guest recorded since `begin`.
    ///
    /// - Throws: ``LabError``.
    public func notes() throws -> [GuestNote] {
        try ask("events").split(separator: "\n").map { line in
            let words = line.split(separator: " ", maxSplits: 4)
            let numbers = words.prefix(4).compactMap { Int64($0) }
            guard numbers.count == 4, words.count == 5 else { throw LabError("the guest said \(line)") }
            return GuestNote(time: numbers[0], newest: numbers.dropFirst().map(Int.init), text: String(words[4]))
        }
    }

    /// The frames of one peer as the guest saw them.
    ///
    /// - Throws: ``LabError``.
    public func count(stream: Int) throws -> GuestCount {
        try write("dump \(stream)")
        let header = try line(timeout: 10_000).split(separator: " ")
        guard header.count == 3, header[0] == "frames", let frames = Int(header[1]), let drops = Int(header[2]) else {
            throw LabError("the guest said \(header.joined(separator: " "))")
        }
        let marks = try bytes(frames)
        let times = try bytes(frames * 4)
        guard try line(timeout: 10_000) == "." else { throw LabError("the guest's answer has no end") }
        return GuestCount(
            marks: marks,
            times: times.withUnsafeBytes { raw in
                (0..<frames).map { UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
            }, drops: drops)
    }

    private func write(_ request: String) throws {
        let bytes = Array((request + "\n").utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw LabError("cannot write to the guest: \(String(cString: strerror(errno)))")
        }
    }

    private func line(timeout: Int32) throws -> String {
        while true {
            if let end = rest.firstIndex(of: 0x0a) {
                let line = String(decoding: rest[..<end], as: UTF8.self)
                rest.removeSubrange(...end)
                return line
            }
            try receive(timeout: timeout)
        }
    }

    private func bytes(_ count: Int) throws -> [UInt8] {
        while rest.count < count { try receive(timeout: 10_000) }
        let bytes = Array(rest[..<count])
        rest.removeSubrange(..<count)
        return bytes
    }

    private func receive(timeout: Int32) throws {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, timeout) > 0 else { throw LabError("the guest did not answer within \(timeout) ms") }
        var chunk = [UInt8](repeating: 0, count: 1 << 18)
        let count = read(descriptor, &chunk, chunk.count)
        guard count > 0 else { throw LabError("the guest's port was closed") }
        rest += chunk[..<count]
    }
}
