import CLab
import Glibc
package import Lab
import Synchronization

/// Watches ports of a host: which numbered frames leave through them towards their guests, and when the guests send.
package final class PortWatch {
    /// A guest, and its ports in the calling thread's network namespace.
    package struct Guest: Sendable {
        let mac: [UInt8]
        let ports: [String]

        /// - Parameters:
        ///   - mac: the guest's MAC, six octets.
        ///   - ports: the names of its ports.
        package init(mac: [UInt8], ports: [String]) {
            self.mac = mac
            self.ports = ports
        }
    }

    /// The frames that left through the ports.
    package struct Record: Sendable {
        /// For each guest, each of its runs and each frame, one bit for each of the guest's ports that it left through; the
        /// first port has the lowest bit.
        package let served: [[[UInt8]]]
        /// For each guest, each of its runs, and each of its ports, when each frame last left by it, in nanoseconds of CLOCK_REALTIME; 0:
        /// never.
        package let left: [[[[Int64]]]]
        /// For each guest, the questions to it and its answers, with the number of the port by which the question was put.
        package let signals: [[(time: Int64, port: Int, isAnswer: Bool)]]
        /// For each guest, the number of its frames that left through a port of another guest.
        package let strayed: [Int]
        /// Frames that the watch missed.
        package let drops: Int64
    }

    private let memory: Memory
    private let thread: LabThread

    private static let receiveBuffer: Int32 = 16 << 20
    /// Questions and answers of a guest that are noted.
    private static let mostSignals = 200_000
    /// The pause between two polls, for each guest: many sockets are polled less often.
    private static let idleMicroseconds: UInt32 = 500

    /// Written by the watching thread, except `stop`.
    private final class Memory: @unchecked Sendable {
        /// For each guest, its runs one after the other.
        let served: [UnsafeMutablePointer<UInt8>]
        /// Each run's ports one after the other.
        let left: [UnsafeMutablePointer<Int64>]
        var signals: [[(time: Int64, port: Int, isAnswer: Bool)]]
        let runs: Int
        let capacity: Int
        var newest: [Int]
        var strayed: [Int]
        var drops: Int64 = 0
        let spoken: [[Moment]]
        let stop = Atomic(false)

        init(_ guests: [Guest], runs: Int, capacity: Int) throws(LabError) {
            func memory<T>(_ type: T.Type) throws(LabError) -> UnsafeMutablePointer<T> {
                // Pages that are never written to use none.
                guard let memory = calloc(capacity, MemoryLayout<T>.size) else { throw LabError("no memory") }
                return memory.bindMemory(to: type, capacity: capacity)
            }
            var (memories, moments) = ([UnsafeMutablePointer<UInt8>](), [UnsafeMutablePointer<Int64>]())
            for guest in guests {
                for _ in 0..<runs {
                    memories.append(try memory(UInt8.self))
                    for _ in guest.ports { moments.append(try memory(Int64.self)) }
                }
            }
            (served, left) = (memories, moments)
            signals = Array(repeating: [], count: guests.count)
            self.runs = runs
            self.capacity = capacity
            newest = Array(repeating: -1, count: memories.count)
            strayed = Array(repeating: 0, count: guests.count)
            spoken = guests.map { $0.ports.map { _ in Moment() } }
        }

        deinit {
            served.forEach { free($0) }
            left.forEach { free($0) }
        }
    }

    private final class Moment: Sendable {
        let last = Atomic<Int64>(0)
    }

    /// A port of a guest.
    private struct Place {
        let socket: PacketSocket
        let guest: Int
        let port: Int
    }

    /// Starts to watch.
    ///
    /// - Parameters:
    ///   - guests: at least one.
    ///   - run: the first run of the first guest; the runs of all guests follow without gaps.
    ///   - runs: the number of runs for each guest.
    ///   - capacity: the most frames of a run.
    /// - Throws: ``LabError``.
    package init(_ guests: [Guest], run: UInt32, runs: Int, capacity: Int) throws(LabError) {
        let memory = try Memory(guests, runs: runs, capacity: capacity)
        self.memory = memory
        var opened: [Place] = []
        for (number, guest) in guests.enumerated() {
            for (port, name) in guest.ports.enumerated() {
                let socket = try PacketSocket(
                    interface: name, receiveBuffer: PortWatch.receiveBuffer, etherType: UInt16(ETH_P_ALL))
                opened.append(Place(socket: socket, guest: number, port: port))
            }
        }
        let places = opened
        let macs = guests.map(\.mac)
        thread = try Namespace.thread { PortWatch.watch(places, run: run, macs: macs, into: memory) }
    }

    /// The time when a guest itself last sent on one of its ports, in nanoseconds of CLOCK_REALTIME; 0: not yet. Frames that
    /// its hypervisor sends for it do not count.
    package func lastWord(guest: Int, port: Int) -> Int64 {
        memory.spoken[guest][port].last.load(ordering: .acquiring)
    }

    /// Stops watching.
    package func stop() -> Record {
        memory.stop.store(true, ordering: .releasing)
        thread.join()
        let served = memory.served.indices.map {
            Array(UnsafeBufferPointer(start: memory.served[$0], count: memory.newest[$0] + 1))
        }
        let ports = memory.left.count / max(1, memory.served.count)
        let left = memory.served.indices.map { run in
            (0..<ports).map {
                Array(UnsafeBufferPointer(start: memory.left[run * ports + $0], count: memory.newest[run] + 1))
            }
        }
        func each<T>(_ runs: [T]) -> [[T]] {
            memory.strayed.indices.map { Array(runs[($0 * memory.runs)..<(($0 + 1) * memory.runs)]) }
        }
        return Record(
            served: each(served), left: each(left), signals: memory.signals, strayed: memory.strayed,
            drops: memory.drops)
    }

    private static func watch(_ places: [Place], run: UInt32, macs: [[UInt8]], into memory: Memory) {
        let batch = UnsafeMutablePointer<clab_frame>.allocate(capacity: Int(CLAB_BATCH))
        defer { batch.deallocate() }
        while true {
            let isLast = memory.stop.load(ordering: .acquiring)
            for place in places {
                var count = clab_receive(place.socket.descriptor, batch)
                while count > 0 {
                    for index in 0..<Int(count) {
                        let (time, isOutgoing) = (batch[index].time, batch[index].outgoing != 0)
                        withUnsafeBytes(of: &batch[index].bytes) { bytes in
                            if let question = Frame.place(bytes, isOutgoing: isOutgoing) {
                                if memory.signals[place.guest].count < mostSignals {
                                    // An answer may come by the other port.
                                    let port = question == 3 ? 1 : question == 4 ? 0 : place.port
                                    memory.signals[place.guest].append((time, port, !isOutgoing))
                                }
                            } else if isOutgoing {
                                note(bytes, at: place, time, run: run, into: memory)
                            } else if Frame.isGuest(bytes, mac: macs[place.guest]) {
                                memory.spoken[place.guest][place.port].last.store(time, ordering: .releasing)
                            }
                        }
                    }
                    count = clab_receive(place.socket.descriptor, batch)
                }
            }
            if isLast { break }
            usleep(idleMicroseconds * UInt32(macs.count))
        }
        memory.drops = places.reduce(0) { $0 + clab_drops($1.socket.descriptor) }
    }

    private static func note(
        _ bytes: UnsafeRawBufferPointer, at place: Place, _ time: Int64, run: UInt32, into memory: Memory
    ) {
        guard let frame = Frame.numbers(of: bytes), case let index = Int(frame.run &- run), index < memory.served.count,
            frame.sequence < memory.capacity
        else { return }
        let guest = index / memory.runs
        if guest != place.guest {
            memory.strayed[guest] += 1
            return
        }
        memory.served[index][Int(frame.sequence)] |= 1 << UInt8(place.port)
        let ports = memory.left.count / memory.served.count
        memory.left[index * ports + place.port][Int(frame.sequence)] = time
        memory.newest[index] = max(memory.newest[index], Int(frame.sequence))
    }
}
