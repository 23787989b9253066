import CLab
import Glibc
package import Lab
import Synchronization
import System

/// Sends to a TCP port as much as it accepts, or up to a limit, and records how much the other end has acknowledged.
package final class BulkTransfer {
    /// The state of the transfer at one moment.
    package struct Sample: Sendable {
        /// The moment, in nanoseconds of CLOCK_REALTIME.
        package let time: Int64
        /// Bytes that the other end has acknowledged.
        package let acknowledged: UInt64
        /// Segments that were retransmitted.
        package let retransmitted: UInt32
    }

    private let memory = Memory()
    private let thread: LabThread
    /// The time between two samples, in nanoseconds.
    private static let interval: Int64 = 2_000_000
    /// The number of bytes that the kernel accepts in one system call.
    private static let chunk = 256 << 10

    private final class Memory: @unchecked Sendable {
        var samples: [Sample] = []
        let stop = Atomic(false)
    }

    /// Connects and starts to send, in the calling thread's network namespace.
    ///
    /// - Parameters:
    ///   - address: an IPv4 address as text.
    ///   - bytesPerSecond: the most bytes a second; 0: no limit.
    /// - Throws: ``LabError``.
    package init(to address: String, port: UInt16, bytesPerSecond: UInt64) throws(LabError) {
        let descriptor = clab_tcp_connect(address, port, bytesPerSecond)
        guard descriptor >= 0 else {
            throw LabError("cannot connect to \(address): \(String(cString: strerror(-descriptor)))")
        }
        let memory = memory
        thread = try Namespace.thread {
            BulkTransfer.send(on: descriptor, to: memory)
            close(descriptor)
        }
    }

    /// Ends the transfer.
    ///
    /// - Returns: the samples, in order.
    package func stop() -> [Sample] {
        memory.stop.store(true, ordering: .relaxed)
        thread.join()
        return memory.samples
    }

    private static func send(on descriptor: Int32, to memory: Memory) {
        let bytes = [UInt8](repeating: 0x5a, count: chunk)
        var due: Int64 = 0
        while !memory.stop.load(ordering: .relaxed) {
            while Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL)) > 0 {
            }
            let now = Stopwatch.realTime
            if now >= due {
                var acknowledged: UInt64 = 0
                var retransmitted: UInt32 = 0
                guard clab_tcp_progress(descriptor, &acknowledged, &retransmitted) == 0 else { return }
                memory.samples.append(
                    Sample(time: now, acknowledged: acknowledged, retransmitted: retransmitted))
                due = now + interval
            }
            var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if poll(&polled, 1, 2) > 0, polled.revents & Int16(POLLERR | POLLHUP) != 0 { return }
            // A socket that can always send more would occupy a CPU.
            usleep(500)
        }
    }
}

/// The figures of a transfer over a period.
package struct TransferSummary: Hashable, Sendable {
    /// Bytes acknowledged in each bin.
    package private(set) var bins: [UInt64] = []
    /// The longest time without any progress, in nanoseconds.
    package private(set) var longestStall: Int64 = 0
    /// The time when the longest stall began, in nanoseconds of CLOCK_REALTIME.
    package private(set) var stallBegin: Int64 = 0
    /// Segments that were retransmitted.
    package private(set) var retransmitted: Int = 0
    /// The total of acknowledged bytes.
    package private(set) var bytes: UInt64 = 0

    /// - Parameters:
    ///   - samples: the samples in the order of time.
    ///   - begin: earlier samples are ignored; in nanoseconds of CLOCK_REALTIME.
    ///   - bin: the length of a bin, in nanoseconds.
    package init(_ samples: [BulkTransfer.Sample], from begin: Int64, bin: Int64) {
        let used = samples.drop { $0.time < begin }
        guard let first = used.first, let last = used.last else { return }
        bytes = max(last.acknowledged, first.acknowledged) - first.acknowledged
        retransmitted = Int(last.retransmitted) - Int(first.retransmitted)
        bins = Array(repeating: 0, count: Int((last.time - begin) / bin) + 1)
        var before = first
        var progress = first.time
        for sample in used.dropFirst() {
            bins[Int((sample.time - begin) / bin)] +=
                max(sample.acknowledged, before.acknowledged) - before.acknowledged
            if sample.acknowledged > before.acknowledged || sample.time == last.time {
                if sample.time - progress > longestStall {
                    longestStall = sample.time - progress
                    stallBegin = progress
                }
                progress = sample.time
            }
            before = sample
        }
    }
}
