import CLab
import Glibc
package import Lab
import System

/// Sends numbered frames at a modest rate and counts where they arrive, without occupying a CPU. It is for demonstrations
/// and does not measure gaps.
package struct PacedSender: ~Copyable {
    /// The results for the frames.
    package struct Count: Sendable {
        /// Frames passed to the kernel.
        package var sent = 0
        /// The number of different frames that each interface received.
        package var received: [Int]
        /// Frames that no interface received.
        package var lost = 0
        /// Frames that more than one interface received.
        package var duplicated = 0
    }

    private let socket: PacketSocket
    private let receivers: [Receiver]
    private let frame: [UInt8]
    private let run: UInt32
    private let rate: Int

    private final class Receiver {
        let socket: PacketSocket
        var sequences = Set<UInt32>()
        init(_ socket: PacketSocket) { self.socket = socket }
    }

    /// - Parameters:
    ///   - interface: the interface to send from, in the calling thread's network namespace.
    ///   - receivers: the interfaces to count on.
    ///   - destinationMAC: six octets.
    ///   - sourceMAC: six octets.
    ///   - rate: frames a second.
    /// - Throws: ``LabError``.
    package init(
        interface: String, receivers: [String], destinationMAC: [UInt8], sourceMAC: [UInt8], rate: Int
    ) throws(LabError) {
        var opened: [Receiver] = []
        for name in receivers {
            opened.append(Receiver(try PacketSocket(interface: name, receiveBuffer: 16 << 20)))
        }
        let socket = try PacketSocket(interface: interface, receiveBuffer: 0)
        self.socket = socket
        self.receivers = opened
        run = UInt32.random(in: .min ... .max)
        frame = Frame.make(destination: destinationMAC, source: sourceMAC, run: run)
        self.rate = rate
    }

    /// Sends for the given time, one group each millisecond, and returns the results.
    package consuming func send(seconds: Double) -> Count {
        var count = Count(received: [])
        var bytes = frame
        let start = monotonicNanoseconds()
        let end = start + Int64(seconds * 1e9)
        var now = start
        while now < end {
            let due = Int(Double(now - start) * Double(rate) / 1e9)
            while count.sent < due {
                bytes.withUnsafeMutableBytes {
                    $0.storeBytes(
                        of: UInt32(count.sent).bigEndian, toByteOffset: Frame.sequenceOffset, as: UInt32.self)
                }
                guard Glibc.send(socket.descriptor, bytes, bytes.count, 0) == bytes.count else { break }
                count.sent += 1
            }
            drain()
            usleep(1000)
            now = monotonicNanoseconds()
        }
        usleep(50_000)
        drain()
        count.received = receivers.map(\.sequences.count)
        let all = receivers.reduce(into: Set<UInt32>()) { $0.formUnion($1.sequences) }
        count.lost = count.sent - all.count
        count.duplicated = count.received.reduce(0, +) - all.count
        return count
    }

    private func drain() {
        let batch = UnsafeMutablePointer<clab_frame>.allocate(capacity: Int(CLAB_BATCH))
        defer { batch.deallocate() }
        for receiver in receivers {
            var count = clab_receive(receiver.socket.descriptor, batch)
            while count > 0 {
                for index in 0..<Int(count) where batch[index].length > 0 {
                    let sequence = withUnsafeBytes(of: &batch[index].bytes) { Frame.sequence(of: $0, run: run) }
                    if let sequence { receiver.sequences.insert(sequence) }
                }
                count = clab_receive(receiver.socket.descriptor, batch)
            }
        }
    }
}
