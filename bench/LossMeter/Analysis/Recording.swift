/// What happened to the frames of one burst, by sequence number; times in nanoseconds of CLOCK_REALTIME, 0 for never.
public struct Recording: Sendable {
    /// When each frame was handed to the kernel; 0: it was not sent.
    public var transmitted: [Int64]
    /// When each frame was due.
    public var due: [Int64]
    /// For each path, when the kernel received each frame there first.
    public var received: [[Int64]]
    /// For each path, how many further copies of a frame came by the same path.
    public var repeats: [Int]
    /// Frames that the receivers' sockets dropped: the tester's fault, not the path's.
    public var testerDrops: Int64
    /// CLOCK_REALTIME was set during the burst.
    public var clockStepped: Bool

    /// Makes a recording of frames that were neither sent nor received yet.
    public init(frames: Int, paths: Int) {
        transmitted = Array(repeating: 0, count: frames)
        due = Array(repeating: 0, count: frames)
        received = Array(repeating: Array(repeating: 0, count: frames), count: paths)
        repeats = Array(repeating: 0, count: paths)
        testerDrops = 0
        clockStepped = false
    }
}

/// What a change did, as its maker says.
public struct Change: Hashable, Sendable {
    /// The path that should carry the frames afterwards; nil: the same as before.
    public let destination: Int?
    /// When its writes to the kernel began and ended (CLOCK_REALTIME, nanoseconds), where that is known more closely
    /// than by the whole command.
    public let writes: ClosedRange<Int64>?

    /// Makes a change from its parts.
    public init(destination: Int?, writes: ClosedRange<Int64>? = nil) {
        self.destination = destination
        self.writes = writes
    }
}

/// One change under measurement: when its command began and ended (CLOCK_REALTIME, nanoseconds).
public struct Move: Hashable, Sendable {
    /// Its number in the run.
    public let index: Int
    /// Before the command.
    public let begin: Int64
    /// After it.
    public let end: Int64
    /// What it did.
    public let change: Change

    /// Makes a move from its parts.
    public init(index: Int, begin: Int64, end: Int64, change: Change) {
        self.index = index
        self.begin = begin
        self.end = end
        self.change = change
    }
}
