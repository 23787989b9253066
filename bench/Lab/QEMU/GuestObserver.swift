/// An event that the guest recorded: a NIC appeared, disappeared, or changed.
package struct GuestNote: Hashable, Sendable {
    /// Nanoseconds of the guest's clock since `begin`. The clock stops while the guest is stopped.
    package let time: Int64
    /// For each peer, the newest frame that the guest had seen.
    package let newest: [Int]
    /// The observer's text (bench/guest/observer.c).
    package let text: String
}

/// The frames of one peer as the guest saw them.
package struct GuestCount: Sendable {
    /// For each frame, up to the newest one seen, the places where it was seen (bench/guest/observer.c, `enum mark`).
    package let marks: [UInt8]
    /// For each frame, the time of its acceptance, in units of 10 microseconds of the guest's clock since `begin`; 0: never.
    package let times: [UInt32]
    /// For each frame, its place in the order in which the guest accepted this peer's frames, from 1; 0: never.
    package let places: [UInt32]
    /// Frames from any peer that the observer's socket dropped since `begin`.
    package let drops: Int
}

/// A session with the observer in the guest, through QEMU's end of a virtio-serial port; used on one thread.
package final class GuestObserver {
    private let stream: DescriptorStream

    /// - Parameter path: the socket of the port.
    init(path: String) throws { stream = DescriptorStream(try QEMUSession.connect(path), name: "the guest's port") }

    /// Sends one request and returns its answer.
    ///
    /// - Parameter timeout: in milliseconds.
    /// - Throws: ``LabError`` if there is no answer.
    @discardableResult
    package func ask(_ request: String, timeout: Int32 = 10_000) throws -> String {
        try stream.write(line: request)
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
    package func begin(run: UInt32, frames: Int, replies: Int) throws {
        try ask("begin \(run) \(frames) \(max(1, 1000 / replies))")
    }

    /// The events that the guest recorded since `begin`.
    ///
    /// - Throws: ``LabError``.
    package func notes() throws -> [GuestNote] {
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
    package func count(stream: Int) throws -> GuestCount {
        try self.stream.write(line: "dump \(stream)")
        let header = try line(timeout: 10_000).split(separator: " ")
        guard header.count == 3, header[0] == "frames", let frames = Int(header[1]), let drops = Int(header[2]) else {
            throw LabError("the guest said \(header.joined(separator: " "))")
        }
        let marks = try bytes(frames)
        let times = try words(frames)
        let places = try words(frames)
        guard try line(timeout: 10_000) == "." else { throw LabError("the guest's answer has no end") }
        return GuestCount(marks: marks, times: times, places: places, drops: drops)
    }

    private func words(_ count: Int) throws -> [UInt32] {
        try bytes(count * 4).withUnsafeBytes { raw in
            (0..<count).map { UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
        }
    }

    private func line(timeout: Int32) throws -> String {
        String(decoding: try inTime(stream.line(timeout: timeout), timeout), as: UTF8.self)
    }

    private func bytes(_ count: Int) throws -> [UInt8] { try inTime(stream.bytes(count, timeout: 10_000), 10_000) }

    private func inTime(_ answer: [UInt8]?, _ timeout: Int32) throws -> [UInt8] {
        guard let answer else { throw LabError("the guest did not answer within \(timeout) ms") }
        return answer
    }
}
