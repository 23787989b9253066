import Testing

@testable import LossMeter

/// Frames every millisecond; the guest leaves path 0 for path 1 at 10 ms.
struct HandoverTests {
    private static let ms: Int64 = 1_000_000
    private let analysis = HandoverAnalysis(
        listening: [.min..<(10 * ms), (10 * ms)..<(.max)], handover: (10 * ms)...(12 * ms))

    /// - Parameter path: the path that frame `n`, sent at `n` ms, arrives on at once; nil: none.
    private func recording(_ path: (Int) -> Int?) -> Recording {
        var recording = Recording(frames: 20, paths: 2)
        for frame in 0..<20 {
            recording.transmitted[frame] = Int64(frame + 1) * HandoverTests.ms
            recording.due[frame] = recording.transmitted[frame]
            if let path = path(frame + 1) { recording.received[path][frame] = recording.transmitted[frame] + 1000 }
        }
        return recording
    }

    @Test func aFrameIsDeliveredWhereTheGuestListensOnArrival() {
        let result = analysis.result(recording { $0 < 10 ? 0 : 1 })
        #expect(result == HandoverResult(sent: 20))
    }

    @Test func aFrameThatComesToTheOldHostIsLost() {
        let result = analysis.result(recording { $0 < 13 ? 0 : 1 })
        #expect(result.lost == 3)
        // From the frame at 9 ms to that at 13 ms.
        #expect(result.outage == 4 * HandoverTests.ms)
        #expect(result.unexplained == 0)
    }

    @Test func aFrameThatComesToTheNewHostTooEarlyIsLost() {
        let result = analysis.result(recording { $0 < 5 ? 0 : 1 })
        #expect(result.lost == 5)
        // A frame sent a millisecond before the hand-over may be in flight when it begins.
        #expect(result.unexplained == 4)
    }

    @Test func lossAfterTheHandoverIsUnexplained() {
        let result = analysis.result(recording { $0 < 10 ? 0 : $0 > 15 ? nil : 1 })
        #expect(result.lost == 5)
        #expect(result.unexplained == 5)
        #expect(result.outage == 5 * HandoverTests.ms)
    }

    @Test func copiesAreCountedOnEveryPort() {
        var recording = recording { $0 < 10 ? 0 : 1 }
        recording.received[0][15] = recording.received[1][15]
        recording.repeats[1] = 1
        let result = analysis.result(recording)
        #expect(result.duplicated == 2)
        #expect(result.lost == 0)
    }
}
