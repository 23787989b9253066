import LossMeter
import Testing

/// The analysis of hand-made recordings: one frame every 5 microseconds, with 20 microseconds of latency.
@Suite struct AnalysisTests {
    private static let gap: Int64 = 5000
    private static let latency: Int64 = 20_000
    private static let start: Int64 = 1_000_000_000

    /// A hundred frames, on path 0 up to the frame `cut` and on path 1 from there on.
    private func recording(cut: Int, frames: Int = 100) -> Recording {
        var recording = Recording(frames: frames, paths: 2)
        for frame in 0..<frames {
            let time = AnalysisTests.start + Int64(frame) * AnalysisTests.gap
            recording.due[frame] = time
            recording.transmitted[frame] = time
            recording.received[frame < cut ? 0 : 1][frame] = time + AnalysisTests.latency
        }
        return recording
    }

    /// A change whose command runs from frame 48 to frame 52.
    private func move(destination: Int? = 1, index: Int = 0, around frame: Int64 = 50) -> Move {
        Move(
            index: index, begin: AnalysisTests.start + (frame - 2) * AnalysisTests.gap,
            end: AnalysisTests.start + (frame + 2) * AnalysisTests.gap, change: Change(destination: destination))
    }

    private func result(_ recording: Recording) -> MoveResult {
        Analysis(bound: 10_000).results(recording, moves: [move()]).0[0]
    }

    @Test func hitless() {
        let result = result(recording(cut: 50))
        #expect(result.lost == 0 && result.duplicated == 0 && result.reordered == 0 && result.window == 0)
        #expect(result.resolution == 5000)
        #expect(!result.isVoid && !result.isInconclusive)
        #expect(result.command == 20_000)
    }

    @Test func lost() {
        var recording = recording(cut: 50)
        for frame in 50..<53 { recording.received[1][frame] = 0 }
        let result = result(recording)
        #expect(result.lost == 3)
        // From frame 49 to frame 53.
        #expect(result.window == 20_000)
        #expect(!result.isInconclusive)
    }

    @Test func lostForEver() {
        var recording = recording(cut: 50)
        for frame in 50..<100 { recording.received[1][frame] = 0 }
        let result = result(recording)
        #expect(result.lost == 50)
        #expect(result.window == 50 * 5000)
    }

    @Test(arguments: [2, 98, 200]) func aChangeWithoutFramesAroundItIsVoid(frame: Int64) {
        let results = Analysis(bound: 10_000).results(recording(cut: 50), moves: [move(around: frame)]).0
        #expect(results[0].isVoid)
    }

    @Test func framesThatWereNotSentAreNotLost() {
        var recording = recording(cut: 50)
        recording.transmitted[49] = 0
        recording.received[0][49] = 0
        let result = result(recording)
        #expect(result.lost == 0)
        #expect(result.resolution == 10_000)
        #expect(!result.isInconclusive)
    }

    @Test func duplicated() {
        var recording = recording(cut: 50)
        for frame in 50..<54 { recording.received[0][frame] = AnalysisTests.start + Int64(frame) * 5000 + 21_000 }
        #expect(result(recording).duplicated == 4)
        #expect(result(recording).lost == 0)
    }

    @Test func reordered() {
        var recording = recording(cut: 50)
        // Frame 49 arrives after frames 50 and 51.
        recording.received[0][49] = AnalysisTests.start + 51 * 5000 + AnalysisTests.latency + 1
        #expect(result(recording).reordered == 2)
    }

    @Test func aGapThatHidesTheMoveIsInconclusive() {
        var recording = recording(cut: 50)
        for frame in 50..<100 {
            recording.transmitted[frame] += 30_000
            recording.received[1][frame] += 30_000
        }
        let result = result(recording)
        #expect(result.lost == 0)
        #expect(result.resolution == 35_000)
        #expect(result.isInconclusive)
    }

    @Test func aGapElsewhereDoesNotMatter() {
        var recording = recording(cut: 50)
        for frame in 80..<100 {
            recording.transmitted[frame] += 30_000
            recording.received[1][frame] += 30_000
        }
        #expect(!result(recording).isInconclusive)
    }

    @Test func aTesterThatDropsProvesNothing() {
        var dropped = recording(cut: 50)
        dropped.testerDrops = 1
        #expect(result(dropped).isVoid)
        var stepped = recording(cut: 50)
        stepped.clockStepped = true
        #expect(result(stepped).isVoid)
    }

    @Test func eachFrameBelongsToOneMove() {
        var recording = recording(cut: 50, frames: 200)
        for frame in 150..<200 {
            recording.received[0][frame] = recording.received[1][frame]
            recording.received[1][frame] = 0
        }
        recording.received[1][60] = 0
        recording.received[0][160] = 0
        recording.received[0][161] = 0
        let moves = [move(), move(destination: 0, index: 1, around: 150)]
        let (results, latencies) = Analysis(bound: 10_000).results(recording, moves: moves)
        #expect(results.map(\.lost) == [1, 2])
        #expect(latencies.before.allSatisfy { $0 == AnalysisTests.latency })
        #expect(!latencies.during.isEmpty && !latencies.after.isEmpty)
    }

    @Test func latencyCountsFromWhenAFrameWasDue() {
        var recording = recording(cut: 50)
        for frame in 0..<100 { recording.due[frame] -= 7000 }
        let latencies = Analysis(bound: 10_000).results(recording, moves: [move()]).1
        #expect(latencies.after.allSatisfy { $0 == AnalysisTests.latency + 7000 })
    }

    @Test func summariesLeaveVoidMovesOut() {
        var dropped = recording(cut: 50)
        dropped.testerDrops = 1
        dropped.received[1][50] = 0
        var lossy = recording(cut: 50)
        lossy.received[1][50] = 0
        let results = [result(dropped), result(lossy), result(recording(cut: 50))]
        let summary = Summary(
            method: "m", flood: false, offeredRate: 200_000, achievedRate: 200_000, results: results,
            latencies: Latencies())
        #expect(summary.voids == 1)
        #expect(summary.lost.total == 1 && summary.lost.maximum == 1 && summary.lost.minimum == 0)
    }

    @Test func theSendersQualityIsTheTimeInShortGaps() {
        var recording = recording(cut: 50)
        #expect(SenderQuality.coverage(recording) == 1)
        // One gap of 505 microseconds and 98 of 5.
        for frame in 50..<100 { recording.transmitted[frame] += 500_000 }
        let coverage = SenderQuality.coverage(recording)
        #expect(coverage > 0.49 && coverage < 0.5)
    }
}
