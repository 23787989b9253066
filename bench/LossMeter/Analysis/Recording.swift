/// The results for the frames of one burst, by sequence number; times in nanoseconds of CLOCK_REALTIME, 0 for never.
package struct Recording: Sendable {
    /// The time when each frame was passed to the kernel; 0: it was not sent.
    package var transmitted: [Int64]
    /// The time when each frame was due.
    package var due: [Int64]
    /// For each path, the time when the kernel first received each frame there.
    package var received: [[Int64]]
    /// For each path, the number of further copies of a frame on the same path.
    package var repeats: [Int]
    /// Frames that the receivers' sockets dropped: the tester's fault, not the path's.
    package var testerDrops: Int64
    /// CLOCK_REALTIME was set during the burst.
    package var clockStepped: Bool

    /// Makes a recording of frames that were neither sent nor received yet.
    package init(frames: Int, paths: Int) {
        transmitted = Array(repeating: 0, count: frames)
        due = Array(repeating: 0, count: frames)
        received = Array(repeating: Array(repeating: 0, count: frames), count: paths)
        repeats = Array(repeating: 0, count: paths)
        testerDrops = 0
        clockStepped = false
    }
}

/// The effect of a change, as its maker reports it.
package struct Change: Hashable, Sendable {
    /// The path that should carry the frames afterwards; nil: the same path as before.
    package let destination: Int?
    /// The time of its writes to the kernel (CLOCK_REALTIME, nanoseconds), if that is known more precisely than the time of the
    /// whole command.
    package let writes: ClosedRange<Int64>?

    /// Makes a change from its fields.
    package init(destination: Int?, writes: ClosedRange<Int64>? = nil) {
        self.destination = destination
        self.writes = writes
    }
}

/// One measured change, with the begin and end of its command (CLOCK_REALTIME, nanoseconds).
package struct Move: Hashable, Sendable {
    /// The number of the change in the run.
    package let index: Int
    /// The time before the command.
    package let begin: Int64
    /// The time after the command.
    package let end: Int64
    /// The effect of the change.
    package let change: Change

    /// Makes a move from its fields.
    package init(index: Int, begin: Int64, end: Int64, change: Change) {
        self.index = index
        self.begin = begin
        self.end = end
        self.change = change
    }
}
