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

/// One change under measurement: when its command began and ended (CLOCK_REALTIME, nanoseconds).
public struct Move: Hashable, Sendable {
    /// Its number in the run.
    public let index: Int
    /// Before the command.
    public let begin: Int64
    /// After it.
    public let end: Int64
    /// The path that should carry the frames afterwards; nil: the same as before.
    public let destination: Int?

    /// Makes a move from its parts.
    public init(index: Int, begin: Int64, end: Int64, destination: Int?) {
        self.index = index
        self.begin = begin
        self.end = end
        self.destination = destination
    }
}
