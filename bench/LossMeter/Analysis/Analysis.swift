/// What one change cost, by the frames around it. Durations in nanoseconds.
public struct MoveResult: Hashable, Sendable {
    /// Its number in the run.
    public var index: Int
    /// Frames that were sent and reached no path.
    public var lost: Int
    /// Frames that reached more than one path, or one path more than once.
    public var duplicated: Int
    /// Frames that arrived after a later-numbered one (RFC 4689, 3.3.3).
    public var reordered: Int
    /// From the transmission of the last frame delivered before the loss to that of the first delivered after it; 0
    /// without loss.
    public var window: Int64
    /// The largest transmit gap around the change: a loss shorter than it may have gone unseen.
    public var resolution: Int64
    /// The tester lost frames itself, its clock was set, or no frames were sent before and after the change: the result
    /// says nothing.
    public var isVoid: Bool
    /// No loss was seen, but the resolution is worse than the bound: a loss may hide in the gap.
    public var isInconclusive: Bool
    /// From the command's begin to its end.
    public var command: Int64
}

/// One-way latency of delivered frames in nanoseconds, from when they were due, so that a late sender does not flatter
/// the path (coordinated omission).
public struct Latencies: Sendable {
    /// Up to 1 ms before the command.
    public var before: [Int64] = []
    /// While the command ran, and up to the first frame on the new path.
    public var during: [Int64] = []
    /// Up to 1 ms after it.
    public var after: [Int64] = []

    /// No frames.
    public init() {}

    /// Adds the frames of other changes.
    public mutating func append(_ other: Latencies) {
        before += other.before
        during += other.during
        after += other.after
    }
}

/// Judges a recording: pure, no I/O.
///
/// Every frame belongs to one change: those from half-way since the change before to half-way to the one after.
/// A frame that was sent and received nowhere is lost; one received twice is duplicated.
///
/// Zero lost frames prove only that no loss was longer than the gap between two frames. The moment of the change lies
/// between the last frame on the old path and the first on the new one; the largest gap there is the resolution, and a
/// change without loss whose resolution is worse than ``bound`` is inconclusive.
public struct Analysis: Sendable {
    /// The worst resolution of a conclusive change, in nanoseconds.
    public let bound: Int64

    /// Fewer frames than this before or after a change, and nothing would show what it did.
    static let leastFrames = 10

    /// How far around a change latencies are taken, in nanoseconds.
    static let latencySpan: Int64 = 1_000_000

    /// - Parameter bound: nanoseconds.
    public init(bound: Int64) { self.bound = bound }

    /// The results of a burst's changes, in order, and the latencies around them.
    public func results(_ recording: Recording, moves: [Move]) -> ([MoveResult], Latencies) {
        var results: [MoveResult] = []
        var latencies = Latencies()
        var first = 0
        for (index, move) in moves.enumerated() {
            var next = recording.transmitted.count
            if index + 1 < moves.count {
                let middle = move.end + (moves[index + 1].begin - move.end) / 2
                next = boundary(recording, from: first, before: middle)
            }
            let range = first..<next
            results.append(result(recording, move: move, frames: range))
            latencies.append(latency(recording, move: move, frames: range))
            first = next
        }
        return (results, latencies)
    }

    /// The first frame that was sent at or after a moment: a sender that is late sends frames after they were due.
    private func boundary(_ recording: Recording, from first: Int, before moment: Int64) -> Int {
        recording.transmitted[first...].firstIndex { $0 >= moment } ?? recording.transmitted.count
    }

    private func result(_ recording: Recording, move: Move, frames: Range<Int>) -> MoveResult {
        var lost = 0
        var duplicated = 0
        var reordered = 0
        var newest: Int64 = 0
        var lastGood: Int64?
        var lossBegin: Int64?
        var lossEnd: Int64?
        var inLoss = false
        for frame in frames where recording.transmitted[frame] != 0 {
            let times = recording.received.map { $0[frame] }.filter { $0 != 0 }
            guard let arrival = times.min() else {
                lost += 1
                if lossBegin == nil { lossBegin = lastGood ?? recording.transmitted[frame] }
                inLoss = true
                lossEnd = recording.transmitted[frame]
                continue
            }
            if inLoss {
                lossEnd = recording.transmitted[frame]
                inLoss = false
            }
            lastGood = recording.transmitted[frame]
            duplicated += times.count - 1
            if arrival < newest { reordered += 1 }
            newest = max(newest, arrival)
        }
        let resolution = resolution(recording, move: move, frames: frames)
        let sent = frames.map { recording.transmitted[$0] }.filter { $0 != 0 }
        let isVoid =
            recording.testerDrops != 0 || recording.clockStepped
            || min(sent.count { $0 < move.begin }, sent.count { $0 > move.end }) < Analysis.leastFrames
        return MoveResult(
            index: move.index, lost: lost, duplicated: duplicated, reordered: reordered,
            window: (lossEnd ?? 0) - (lossBegin ?? 0), resolution: resolution, isVoid: isVoid,
            isInconclusive: !isVoid && lost == 0 && resolution > bound, command: move.end - move.begin)
    }

    /// The largest transmit gap between the last frame on the old path and the first on the new; for a change that
    /// keeps the path, the largest gap while it wrote to the kernel.
    private func resolution(_ recording: Recording, move: Move, frames: Range<Int>) -> Int64 {
        let sent = frames.filter { recording.transmitted[$0] != 0 }
        let writes = move.change.writes ?? move.begin...move.end
        var low = sent.firstIndex { recording.transmitted[$0] >= writes.lowerBound } ?? sent.endIndex
        var high = sent.firstIndex { recording.transmitted[$0] > writes.upperBound } ?? sent.endIndex
        if let destination = move.change.destination {
            let path = recording.received[destination]
            if let newest = sent.firstIndex(where: { path[$0] != 0 && recording.transmitted[$0] >= move.begin }) {
                high = newest
                low =
                    sent[..<newest].lastIndex { frame in
                        recording.received.indices.contains { $0 != destination && recording.received[$0][frame] != 0 }
                    }.map { $0 + 1 } ?? newest
            }
        }
        var largest: Int64 = 0
        for index in max(1, low)..<max(max(1, low), min(high + 1, sent.count)) {
            largest = max(largest, recording.transmitted[sent[index]] - recording.transmitted[sent[index - 1]])
        }
        return largest
    }

    private func latency(_ recording: Recording, move: Move, frames: Range<Int>) -> Latencies {
        var latencies = Latencies()
        for frame in frames {
            let due = recording.due[frame]
            guard due >= move.begin - Analysis.latencySpan, due <= move.end + Analysis.latencySpan,
                let arrival = recording.received.lazy.map({ $0[frame] }).filter({ $0 != 0 }).min()
            else { continue }
            if due < move.begin {
                latencies.before.append(arrival - due)
            } else if due <= move.end {
                latencies.during.append(arrival - due)
            } else {
                latencies.after.append(arrival - due)
            }
        }
        return latencies
    }
}
