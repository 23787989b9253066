import CLab
import Glibc

/// Sends frames at a modest rate without keeping a CPU busy: for demonstrations, not for measuring gaps.
public struct PacedSender: ~Copyable {
    private let socket: PacketSocket
    private let frame: [UInt8]
    private let rate: Int

    /// - Parameters:
    ///   - interface: its name, in the calling thread's network namespace.
    ///   - destinationMAC: six octets.
    ///   - sourceMAC: six octets.
    ///   - rate: frames a second.
    /// - Throws: ``LossMeterError``.
    public init(interface: String, destinationMAC: [UInt8], sourceMAC: [UInt8], rate: Int) throws(LossMeterError) {
        socket = try PacketSocket(interface: interface, receiveBuffer: 0)
        frame = Frame.make(destination: destinationMAC, source: sourceMAC, run: 0)
        self.rate = rate
    }

    /// Sends for so long, in small groups a millisecond, and returns how many frames were handed to the kernel.
    public func run(seconds: Double) -> Int {
        let start = clab_now(CLOCK_MONOTONIC)
        let end = start + Int64(seconds * 1e9)
        var sent = 0
        while true {
            let now = clab_now(CLOCK_MONOTONIC)
            if now >= end { return sent }
            let due = Int(Double(now - start) * Double(rate) / 1e9)
            while sent < due, send(socket.descriptor, frame, frame.count, 0) == frame.count { sent += 1 }
            usleep(1000)
        }
    }
}
