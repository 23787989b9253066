import CLab
import Glibc
package import Lab
import Synchronization
import System

/// Sends numbered frames from one interface at a rate, until it is stopped.
///
/// The sender sleeps between frames and has priority over other threads, because a sender that waits for a CPU sees no loss.
package final class FrameStream {
    /// The most frames that are sent.
    package let capacity: Int
    private let memory: Memory
    private let thread: LabThread

    /// Written by the sender, and read after it was joined.
    private final class Memory: @unchecked Sendable {
        let transmitted: UnsafeMutablePointer<Int64>
        var count = 0
        let stop = Atomic(false)

        /// Pages that are never touched use no memory.
        init(_ capacity: Int) throws(LabError) {
            guard let memory = calloc(capacity, MemoryLayout<Int64>.stride) else {
                throw LabError("no memory for \(capacity) frames")
            }
            transmitted = memory.bindMemory(to: Int64.self, capacity: capacity)
        }

        deinit { free(transmitted) }
    }

    /// Starts to send.
    ///
    /// - Parameters:
    ///   - interface: an interface in the calling thread's network namespace.
    ///   - destination: a MAC, six octets.
    ///   - source: a MAC, six octets.
    ///   - run: a number that identifies these frames.
    ///   - rate: frames a second.
    ///   - start: the time when the first frame is due, in nanoseconds of CLOCK_REALTIME.
    ///   - capacity: the most frames.
    /// - Throws: ``LabError``.
    package init(
        interface: String, destination: [UInt8], source: [UInt8], run: UInt32, rate: Int, start: Int64, capacity: Int
    ) throws(LabError) {
        let memory = try Memory(capacity)
        let socket = try PacketSocket(interface: interface, receiveBuffer: 0)
        let frame = Frame.make(destination: destination, source: source, run: run)
        self.memory = memory
        self.capacity = capacity
        thread = try Namespace.thread {
            _ = clab_fifo()
            FrameStream.send(frame, on: socket.descriptor, rate: rate, start: start, capacity: capacity, to: memory)
        }
    }

    /// Stops sending and waits for the sender.
    ///
    /// - Returns: the time when each frame was passed to the kernel, in nanoseconds of CLOCK_REALTIME; 0: it was not sent.
    package func stop() -> [Int64] {
        memory.stop.store(true, ordering: .releasing)
        thread.join()
        return Array(UnsafeBufferPointer(start: memory.transmitted, count: memory.count))
    }

    private static func send(
        _ frame: [UInt8], on descriptor: Int32, rate: Int, start: Int64, capacity: Int, to memory: Memory
    ) {
        var frame = frame
        frame.withUnsafeMutableBytes { bytes in
            while memory.count < capacity, !memory.stop.load(ordering: .acquiring) {
                let due = start + Int64(memory.count) * 1_000_000_000 / Int64(rate)
                var time = timespec(tv_sec: Int(due / 1_000_000_000), tv_nsec: Int(due % 1_000_000_000))
                while clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &time, nil) == EINTR {}
                bytes.storeBytes(
                    of: UInt32(memory.count).bigEndian, toByteOffset: Frame.sequenceOffset, as: UInt32.self)
                let now = Stopwatch.realTime
                if Glibc.send(descriptor, bytes.baseAddress, bytes.count, 0) == bytes.count {
                    memory.transmitted[memory.count] = now
                }
                memory.count += 1
            }
        }
    }
}
