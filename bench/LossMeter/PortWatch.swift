import CLab
import Glibc
import Synchronization

/// Watches ports of a host: which numbered frames leave by them towards a guest, and when the guest speaks on them.
public final class PortWatch {
    /// What left by the ports.
    public struct Record: Sendable {
        /// For each run and frame, a bit for each port that it left by, the first port's the lowest.
        public let served: [[UInt8]]
        /// Frames that the watch missed.
        public let drops: Int64
    }

    private let memory: Memory
    private let thread: WorkerThread

    private static let receiveBuffer: Int32 = 16 << 20
    private static let idleMicroseconds: UInt32 = 500

    /// Written by the watching thread, but for `stop`.
    private final class Memory: @unchecked Sendable {
        let served: [UnsafeMutablePointer<UInt8>]
        let capacity: Int
        var newest: [Int]
        var drops: Int64 = 0
        let spoken: [Moment]
        let stop = Atomic(false)

        init(runs: Int, capacity: Int, ports: Int) throws(LossMeterError) {
            var memories: [UnsafeMutablePointer<UInt8>] = []
            for _ in 0..<runs {
                guard let memory = calloc(capacity, 1) else { throw LossMeterError("no memory") }
                memories.append(memory.bindMemory(to: UInt8.self, capacity: capacity))
            }
            served = memories
            self.capacity = capacity
            newest = Array(repeating: -1, count: runs)
            spoken = (0..<ports).map { _ in Moment() }
        }

        deinit { served.forEach { free($0) } }
    }

    private final class Moment: Sendable {
        let last = Atomic<Int64>(0)
    }

    private final class SocketBox {
        let socket: PacketSocket
        init(_ socket: consuming PacketSocket) { self.socket = socket }
    }

    /// Starts to watch.
    ///
    /// - Parameters:
    ///   - ports: in the calling thread's network namespace.
    ///   - run: the first of the runs.
    ///   - runs: how many.
    ///   - capacity: the most frames of a run.
    ///   - guest: the guest's MAC.
    /// - Throws: ``LossMeterError``.
    public init(ports: [String], run: UInt32, runs: Int, capacity: Int, guest: [UInt8]) throws(LossMeterError) {
        let memory = try Memory(runs: runs, capacity: capacity, ports: ports.count)
        self.memory = memory
        var boxes: [SocketBox] = []
        for port in ports {
            boxes.append(
                SocketBox(
                    try PacketSocket(
                        interface: port, receiveBuffer: PortWatch.receiveBuffer, etherType: UInt16(ETH_P_ALL))))
        }
        let sockets = boxes
        thread = try WorkerThread { PortWatch.watch(sockets, run: run, guest: guest, into: memory) }
    }

    /// When the guest itself spoke last on a port, in nanoseconds of CLOCK_REALTIME; 0: not yet. What its hypervisor
    /// says in its name does not count.
    public func lastWord(port: Int) -> Int64 { memory.spoken[port].last.load(ordering: .acquiring) }

    /// Stops.
    public func stop() -> Record {
        memory.stop.store(true, ordering: .releasing)
        thread.join()
        return Record(
            served: memory.served.indices.map {
                Array(UnsafeBufferPointer(start: memory.served[$0], count: memory.newest[$0] + 1))
            }, drops: memory.drops)
    }

    private static func watch(_ boxes: [SocketBox], run: UInt32, guest: [UInt8], into memory: Memory) {
        let batch = UnsafeMutablePointer<clab_frame>.allocate(capacity: Int(CLAB_BATCH))
        defer { batch.deallocate() }
        while true {
            let isLast = memory.stop.load(ordering: .acquiring)
            for (port, box) in boxes.enumerated() {
                var count = clab_receive(box.socket.descriptor, batch)
                while count > 0 {
                    for index in 0..<Int(count) {
                        withUnsafeBytes(of: &batch[index].bytes) { bytes in
                            if batch[index].outgoing != 0 {
                                note(bytes, port: port, run: run, into: memory)
                            } else if Frame.isGuest(bytes, mac: guest) {
                                memory.spoken[port].last.store(batch[index].time, ordering: .releasing)
                            }
                        }
                    }
                    count = clab_receive(box.socket.descriptor, batch)
                }
            }
            if isLast { break }
            usleep(idleMicroseconds)
        }
        memory.drops = boxes.reduce(0) { $0 + clab_drops($1.socket.descriptor) }
    }

    private static func note(_ bytes: UnsafeRawBufferPointer, port: Int, run: UInt32, into memory: Memory) {
        for index in memory.served.indices {
            guard let frame = Frame.sequence(of: bytes, run: run &+ UInt32(index)), frame < memory.capacity else {
                continue
            }
            memory.served[index][Int(frame)] |= 1 << UInt8(port)
            memory.newest[index] = max(memory.newest[index], Int(frame))
        }
    }
}
