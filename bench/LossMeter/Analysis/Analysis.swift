/// The cost of one change, measured by the frames around it. Durations are in nanoseconds.
package struct MoveResult: Hashable, Sendable {
    /// The number of the change in the run.
    package var index: Int
    /// Frames that were sent and reached no path.
    package var lost: Int
    /// Frames that reached more than one path, or one path more than once.
    package var duplicated: Int
    /// Frames that arrived after a later-numbered one (RFC 4689, 3.3.3).
    package var reordered: Int
    /// The time from the transmission of the last frame delivered before the loss to that of the first delivered after it; 0
    /// without loss.
    package var window: Int64
    /// The largest transmit gap around the change: a shorter loss may have gone unseen.
    package var resolution: Int64
    /// The tester lost frames itself, its clock was set, or no frames were sent before and after the change: the result has no
    /// meaning.
    package var isVoid: Bool
    /// No loss was seen, but the resolution is worse than the bound: the gap may hide a loss.
    package var isInconclusive: Bool
    /// The duration of the command.
    package var command: Int64
}

/// The one-way latency of delivered frames in nanoseconds. It counts from when a frame was due, so a late sender does not
/// improve the result (coordinated omission).
package struct Latencies: Sendable {
    /// Frames from up to 1 ms before the command.
    package var before: [Int64] = []
    /// Frames from while the command ran, and up to the first frame on the new path.
    package var during: [Int64] = []
    /// Frames from up to 1 ms after that.
    package var after: [Int64] = []

    /// Makes an empty set.
    package init() {}

    /// Adds the frames of other changes.
    package mutating func append(_ other: Latencies) {
        before += other.before
        during += other.during
        after += other.after
    }
}

/// Analyses a recording without I/O.
///
/// Every frame belongs to one change: each change has the frames from half-way since the previous change to half-way to the
/// next. A frame that was sent and received nowhere is lost; one received twice is duplicated.
///
/// Zero lost frames only prove that no loss was longer than the gap between two frames. The moment of the change is between
/// the last frame on the old path and the first on the new one. The largest gap there is the resolution, and a change
/// without loss whose resolution is worse than ``bound`` is inconclusive.
package struct Analysis: Sendable {
    /// The worst resolution of a conclusive change, in nanoseconds.
    package let bound: Int64

    /// With fewer frames than this before or after a change, the effect of the change does not show.
    static let leastFrames = 10

    /// The span around a change in which latencies count, in nanoseconds.
    static let latencySpan: Int64 = 1_000_000

    /// - Parameter bound: the worst resolution of a conclusive change, in nanoseconds.
    package init(bound: Int64) { self.bound = bound }

    /// The results of a burst's changes, in order, and the latencies around them.
    package func results(_ recording: Recording, moves: [Move]) -> ([MoveResult], Latencies) {
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

    /// The first frame that was sent at or after a moment; a late sender sends frames after they were due.
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

    /// The largest transmit gap between the last frame on the old path and the first on the new one. For a change that
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
