import CLab
import Glibc
import Lab
import Synchronization
import System

/// One burst of numbered frames from one interface to receivers on others, during which changes are made.
///
/// The sender busy-waits for an absolute schedule on its own CPU, with SCHED_FIFO if that is allowed. Receivers and changes
/// are on the other CPU, and receivers poll, so no frame causes a wakeup on the sender's CPU. A burst stays under 0.9 s,
/// because the kernel stops real-time threads that run longer for 50 ms (sched_rt_runtime_us).
package struct Burst: Sendable {
    /// The interface to send from.
    package var source: String
    /// The interfaces to receive on, one for each path.
    package var paths: [String]
    /// The destination MAC, six octets.
    package var destinationMAC: [UInt8]
    /// The source MAC, six octets.
    package var sourceMAC: [UInt8]
    /// Frames a second.
    package var rate: Int
    /// The average number of frames before the first change, after the last and between two.
    package var framesBetweenMoves: Int
    /// The number of changes.
    package var moves: Int
    /// The sender sleeps between frames instead of occupying a CPU, and may send for longer than ``longest``. This is for
    /// emulated hardware, at rates at which a gap says little.
    package var isPaced: Bool
    /// The time when the first frame is due (CLOCK_REALTIME, nanoseconds); nil: soon. For bursts that run in parallel.
    package var start: Int64?
    /// The sender has priority over other threads even if it is paced: a sender that waits for a CPU sees no loss.
    package var isRealTime = false

    /// The longest burst in nanoseconds.
    package static let longest: Int64 = 850_000_000
    private static let slack: Int64 = 150_000_000
    private static let receiveBuffer: Int32 = 64 << 20

    /// Makes a burst from its fields.
    package init(
        source: String, paths: [String], destinationMAC: [UInt8], sourceMAC: [UInt8], rate: Int,
        framesBetweenMoves: Int, moves: Int, isPaced: Bool = false
    ) {
        self.source = source
        self.paths = paths
        self.destinationMAC = destinationMAC
        self.sourceMAC = sourceMAC
        self.rate = rate
        self.framesBetweenMoves = framesBetweenMoves
        self.moves = moves
        self.isPaced = isPaced
    }

    /// Sends the burst and makes the changes, each at a random moment of its share of the burst.
    ///
    /// A change that takes longer than its share delays the later ones. A change that would not end before the last frame is
    /// not made, because no frame would show its effect.
    ///
    /// - Parameters:
    ///   - perform: makes change number `index` on the calling thread and returns its effect.
    /// - Returns: the results for the frames, and the times of the changes.
    /// - Throws: ``LabError``, or what `perform` throws.
    package func run(perform: (Int) throws -> Change) throws -> (Recording, [Move]) {
        let gap = 1_000_000_000 / Int64(rate)
        // Extra frames for changes that take longer than their share.
        let wanted = framesBetweenMoves * (moves + 1) + Int(Burst.slack / gap)
        let frames = isPaced ? wanted : min(wanted, Int(Burst.longest / gap))
        let run = UInt32.random(in: .min ... .max)
        let shared = Shared(frames: frames, paths: paths.count)
        let clockOffset = Burst.clockOffset()
        let backlogDrops = Burst.backlogDrops()
        var receivers: [LabThread] = []
        for (path, interface) in paths.enumerated() {
            let socket = try PacketSocket(interface: interface, receiveBuffer: Burst.receiveBuffer)
            receivers.append(
                try Namespace.thread { [isPaced] in
                    if !isPaced { _ = clab_pin(0) }
                    Burst.receive(socket, path: path, run: run, into: shared)
                })
        }
        let output = try PacketSocket(interface: source, receiveBuffer: 0)
        let frame = Frame.make(destination: destinationMAC, source: sourceMAC, run: run)
        // CPU 0 is left to the rest; with one CPU both must share it.
        let cpus = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        let start = self.start ?? Stopwatch.realTime + 20_000_000
        let isPaced = isPaced
        let isRealTime = isRealTime
        let sender = try Namespace.thread {
            if !isPaced, cpus > 1 { _ = clab_pin(Int32(cpus - 1)) }
            if !isPaced || isRealTime { _ = clab_fifo() }
            Burst.send(frame, on: output, start: start, gap: gap, isPaced: isPaced, into: shared)
        }
        if cpus > 1, !isPaced { _ = clab_pin(0) }
        var made: [Move] = []
        let result = Result {
            let share = Int64(framesBetweenMoves) * gap
            let end = start + gap * Int64(frames)
            var longest = share / 2
            for index in 0..<moves {
                // Each change has its own frames before and after it, even if the previous change was slow.
                let due = max(start + share * Int64(index) + share / 2, (made.last?.end ?? start) + share / 4)
                let moment = due + Int64.random(in: 0..<max(1, share / 2))
                guard moment + 2 * longest < end else { break }
                Burst.sleep(until: moment)
                let begin = Stopwatch.realTime
                let change = try perform(index)
                let move = Move(index: index, begin: begin, end: Stopwatch.realTime, change: change)
                longest = max(longest, move.end - move.begin)
                made.append(move)
            }
        }
        sender.join()
        // Frames in flight may still arrive: a receive queue is drained within milliseconds.
        Burst.sleep(until: Stopwatch.realTime + 30_000_000)
        shared.stop.store(true, ordering: .releasing)
        receivers.forEach { $0.join() }
        try result.get()
        var recording = shared.recording
        // The sender's CPU queues frames for the bridge in its own backlog: frames dropped there never reached the bridge.
        recording.testerDrops += Burst.backlogDrops() - backlogDrops
        recording.clockStepped = abs(Burst.clockOffset() - clockOffset) > 50_000
        return (recording, made)
    }

    // MARK: - Threads

    /// Memory in which each thread writes its own part, and which is read after all threads were joined.
    private final class Shared: @unchecked Sendable {
        let frames: Int
        let transmitted: UnsafeMutablePointer<Int64>
        let due: UnsafeMutablePointer<Int64>
        let received: [UnsafeMutablePointer<Int64>]
        let repeats: UnsafeMutablePointer<Int>
        let drops: UnsafeMutablePointer<Int64>
        let stop = Atomic(false)

        init(frames: Int, paths: Int) {
            func zeros<T: FixedWidthInteger>(_ count: Int) -> UnsafeMutablePointer<T> {
                let memory = UnsafeMutablePointer<T>.allocate(capacity: count)
                memory.initialize(repeating: 0, count: count)
                return memory
            }
            self.frames = frames
            transmitted = zeros(frames)
            due = zeros(frames)
            received = (0..<paths).map { _ in zeros(frames) }
            repeats = zeros(paths)
            drops = zeros(paths)
        }

        deinit {
            transmitted.deallocate()
            due.deallocate()
            received.forEach { $0.deallocate() }
            repeats.deallocate()
            drops.deallocate()
        }

        var recording: Recording {
            var recording = Recording(frames: frames, paths: received.count)
            recording.transmitted = Array(UnsafeBufferPointer(start: transmitted, count: frames))
            recording.due = Array(UnsafeBufferPointer(start: due, count: frames))
            recording.received = received.map { Array(UnsafeBufferPointer(start: $0, count: frames)) }
            recording.repeats = Array(UnsafeBufferPointer(start: repeats, count: received.count))
            recording.testerDrops = (0..<received.count).reduce(0) { $0 + drops[$1] }
            return recording
        }
    }

    private static func send(
        _ frame: [UInt8], on socket: PacketSocket, start: Int64, gap: Int64, isPaced: Bool, into shared: Shared
    ) {
        var frame = frame
        let descriptor = socket.descriptor
        sleep(until: start - 1_000_000)
        frame.withUnsafeMutableBytes { bytes in
            for sequence in 0..<shared.frames {
                let due = start + gap * Int64(sequence)
                bytes.storeBytes(of: UInt32(sequence).bigEndian, toByteOffset: Frame.sequenceOffset, as: UInt32.self)
                if isPaced { sleep(until: due) }
                var now = Stopwatch.realTime
                while now < due { now = Stopwatch.realTime }
                shared.due[sequence] = due
                if Glibc.send(descriptor, bytes.baseAddress, bytes.count, 0) == bytes.count {
                    shared.transmitted[sequence] = now
                }
            }
        }
    }

    private static func receive(_ socket: PacketSocket, path: Int, run: UInt32, into shared: Shared) {
        let descriptor = socket.descriptor
        let batch = UnsafeMutablePointer<clab_frame>.allocate(capacity: Int(CLAB_BATCH))
        defer { batch.deallocate() }
        let times = shared.received[path]
        while true {
            let last = shared.stop.load(ordering: .acquiring)
            var count = clab_receive(descriptor, batch)
            while count > 0 {
                for index in 0..<Int(count) where batch[index].length > 0 {
                    let sequence = withUnsafeBytes(of: &batch[index].bytes) { Frame.sequence(of: $0, run: run) }
                    guard let sequence, sequence < shared.frames else { continue }
                    if times[Int(sequence)] == 0 {
                        times[Int(sequence)] = batch[index].time
                    } else {
                        shared.repeats[path] += 1
                    }
                }
                count = clab_receive(descriptor, batch)
            }
            if last { break }
            usleep(1000)
        }
        shared.drops[path] = clab_drops(descriptor)
    }

    private static func sleep(until moment: Int64) {
        var time = timespec(tv_sec: Int(moment / 1_000_000_000), tv_nsec: Int(moment % 1_000_000_000))
        while clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &time, nil) == EINTR {}
    }

    /// Frames that the CPUs' receive backlogs dropped since boot: the second column of /proc/net/softnet_stat.
    private static func backlogDrops() -> Int64 {
        TextFile.read("/proc/net/softnet_stat").split(separator: "\n").reduce(0) { sum, line in
            let words = line.split(separator: " ")
            return sum &+ (words.count > 1 ? Int64(words[1], radix: 16) ?? 0 : 0)
        }
    }

    private static func clockOffset() -> Int64 { Stopwatch.realTime - monotonicNanoseconds() }
}
