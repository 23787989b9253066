import CLab
import Glibc
import Synchronization
import System

/// Sends numbered frames to one MAC at a steady rate while a test changes things, and records where each arrived.
///
/// Receivers can be added while it runs, for interfaces that appear later. It keeps no CPU busy: it shows which frames are
/// lost and which are duplicated, not how long anything takes.
package final class SteadyFrames: Sendable {
    /// The results for a range of frames.
    package struct Count: Hashable, Sendable {
        /// Frames that were sent.
        package let sent: Int
        /// Numbers of frames that arrived nowhere.
        package let lost: [Int]
        /// Frames that arrived at more than one place.
        package let duplicated: Int
        /// Frames that arrived, by place.
        package let received: [String: Int]
    }

    private struct State {
        var receivers: [(place: String, descriptor: Int32)] = []
        var received: [String: Set<Int>] = [:]
        var next = 0
        var isStopping = false
    }

    private let state = Mutex(State())
    private let run = UInt32.random(in: 1 ... .max)
    private let output: Int32
    private let frame: [UInt8]
    private let rate: Int
    private let thread = Mutex<LabThread?>(nil)

    private static let numberOffset = 18

    /// Opens the receivers and starts to send.
    ///
    /// - Parameters:
    ///   - interface: the interface to send from, in the calling thread's network namespace.
    ///   - source: the source MAC.
    ///   - destination: the destination MAC.
    ///   - places: the interfaces to count on.
    ///   - rate: frames a second.
    /// - Throws: ``LabError``.
    package init(
        from interface: String, source: String, to destination: String, places: [String], rate: Int = 500
    ) throws {
        output = try Interface.open(interface, type: FrameProbe.experimental, receiveBuffer: 0)
        var bytes = Interface.octets(destination) + Interface.octets(source)
        bytes += [UInt8(FrameProbe.experimental >> 8), UInt8(FrameProbe.experimental & 0xff)]
        bytes += withUnsafeBytes(of: run.bigEndian, Array.init)
        frame = bytes + [UInt8](repeating: 0, count: 64 - bytes.count)
        self.rate = rate
        for place in places { try attach(place) }
        let body: @Sendable () -> Void = { [self] in send() }
        let started = try Namespace.thread(body)
        thread.withLock { $0 = started }
    }

    deinit { close(output) }

    /// Counts on one more interface, which may still be down.
    ///
    /// - Throws: ``LabError``.
    package func attach(_ place: String) throws {
        let descriptor = try Interface.open(place, type: UInt16(ETH_P_ALL), receiveBuffer: 16 << 20)
        state.withLock {
            $0.receivers.append((place, descriptor))
            if $0.received[place] == nil { $0.received[place] = [] }
        }
    }

    /// The number of the next frame, which marks a moment.
    package var position: Int { state.withLock { $0.next } }

    /// The results for a range of frames; before ``stop()`` the last ones sent may still be in flight.
    package func count(from begin: Int, to end: Int) -> Count {
        state.withLock { state in
            let numbers = begin..<max(begin, end)
            let places = state.received.mapValues { $0.filter(numbers.contains) }
            let all = places.values.reduce(into: Set<Int>()) { $0.formUnion($1) }
            return Count(
                sent: numbers.count, lost: numbers.filter { !all.contains($0) },
                duplicated: places.values.reduce(0) { $0 + $1.count } - all.count, received: places.mapValues(\.count))
        }
    }

    /// Whether this frame or a later one has arrived at a place.
    package func hasReceived(at place: String, from number: Int) -> Bool {
        state.withLock { $0.received[place]?.contains { $0 >= number } ?? false }
    }

    /// Stops sending, and waits for the frames in flight.
    package func stop() {
        state.withLock { $0.isStopping = true }
        let running = thread.withLock { thread -> LabThread? in
            defer { thread = nil }
            return thread
        }
        running?.join()
        state.withLock { state in
            for receiver in state.receivers { close(receiver.descriptor) }
            state.receivers = []
        }
    }

    private func send() {
        var bytes = frame
        let start = monotonicNanoseconds()
        let batch = UnsafeMutablePointer<clab_frame>.allocate(capacity: Int(CLAB_BATCH))
        defer { batch.deallocate() }
        while !state.withLock({ $0.isStopping }) {
            let due = Int(Double(monotonicNanoseconds() - start) * Double(rate) / 1e9)
            // After a pause of the machine the backlog is not sent all at once, because no queue is long enough.
            for _ in 0..<min(8, max(0, due - position)) {
                let number = position
                bytes.withUnsafeMutableBytes {
                    $0.storeBytes(
                        of: UInt32(number).bigEndian, toByteOffset: SteadyFrames.numberOffset, as: UInt32.self)
                }
                guard Glibc.send(output, bytes, bytes.count, 0) == bytes.count else { break }
                state.withLock { $0.next += 1 }
            }
            drain(batch)
            usleep(1000)
        }
        for _ in 0..<20 {
            usleep(10_000)
            drain(batch)
        }
    }

    private func drain(_ batch: UnsafeMutablePointer<clab_frame>) {
        for (place, descriptor) in state.withLock({ $0.receivers }) {
            var numbers: [Int] = []
            var count = clab_receive(descriptor, batch)
            while count > 0 {
                for index in 0..<Int(count) where batch[index].length > 0 {
                    if let number = withUnsafeBytes(of: &batch[index].bytes, { number(of: $0) }) {
                        numbers.append(number)
                    }
                }
                count = clab_receive(descriptor, batch)
            }
            if numbers.isEmpty { continue }
            let found = numbers
            state.withLock { $0.received[place]?.formUnion(found) }
        }
    }

    private func number(of bytes: UnsafeRawBufferPointer) -> Int? {
        func word(_ offset: Int) -> UInt32 { bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self).bigEndian }
        guard bytes.count >= SteadyFrames.numberOffset + 4,
            bytes.loadUnaligned(fromByteOffset: 12, as: UInt16.self).bigEndian == FrameProbe.experimental,
            word(14) == run
        else { return nil }
        return Int(word(SteadyFrames.numberOffset))
    }
}
