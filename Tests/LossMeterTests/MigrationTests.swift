import LossMeter
import Testing

/// The analysis of a migration with made-up frames, one a millisecond.
@Suite struct MigrationTests {
    private static let millisecond: Int64 = 1_000_000

    /// One frame: the ports that it left through, and the places where the guest saw it.
    private struct Fate {
        let served: ServedPorts
        let marks: GuestMarks

        static let byPrimary = Fate(served: .sourcePrimary, marks: [.primary, .accepted])
        static let byStandby = Fate(served: .sourceStandby, marks: [.standby, .accepted])
        static let onTarget = Fate(served: .targetStandby, marks: [.standby, .accepted])
    }

    private func recording(_ fates: [(Fate, Int)]) -> MigrationRecording {
        let all = fates.flatMap { Array(repeating: $0.0, count: $0.1) }
        return MigrationRecording(
            transmitted: all.indices.map { Int64($0 + 1) * MigrationTests.millisecond }, served: all.map(\.served),
            marks: all.map(\.marks))
    }

    /// A range of milliseconds.
    private func span(_ begin: Int64, _ end: Int64) -> ClosedRange<Int64> {
        begin * MigrationTests.millisecond...end * MigrationTests.millisecond
    }

    private func result(
        _ fates: [(Fate, Int)], blackouts: [ClosedRange<Int64>] = [], handover: Int64? = nil
    ) -> MigrationResult {
        MigrationAnalysis(blackouts: blackouts, handover: handover.map { $0 * MigrationTests.millisecond })
            .results([recording(fates)])[0]
    }

    @Test("nothing lost: no loss, no outage")
    func nothing() {
        let result = result([(.byPrimary, 50), (.byStandby, 50)])
        #expect(result.sent == 100 && result.delivered == 100 && result.lost == 0)
        #expect(result.spans.isEmpty && result.outage == 0 && result.duplicated == 0)
    }

    @Test("sent to the NIC that the guest does not take frames from: steering, whether that NIC was there or not")
    func steering() {
        let absent = Fate(served: .sourcePrimary, marks: [])
        let refused = Fate(served: .sourceStandby, marks: .standby)
        let nowhere = Fate(served: [], marks: [])
        let result = result([(.byPrimary, 10), (absent, 5), (refused, 3), (nowhere, 2), (.byStandby, 10)])
        #expect(result.lost == 10 && result.lost(.steering) == 10)
        #expect(result.spans.map(\.count) == [5, 3, 2])
        #expect(result.outage == 11 * MigrationTests.millisecond)
        #expect(result.unseen == 0)
    }

    @Test("sent to both NICs and taken from neither: the guest's gap")
    func guestGap() {
        let both = Fate(served: .source, marks: .standby)
        let result = result([(.byPrimary, 10), (both, 7), (.byStandby, 10)])
        #expect(result.lost(.guestGap) == 7 && result.lost == 7)
        #expect(result.outage == 8 * MigrationTests.millisecond)
    }

    @Test("both ports of the host that the guest has left are no gap of the guest's")
    func gapOnTheWrongHost() {
        let both = Fate(served: .source, marks: [])
        let result = result([(.byStandby, 10), (both, 4), (.onTarget, 10)], handover: 11)
        #expect(result.lost(.steering) == 4 && result.lost(.guestGap) == 0)
    }

    @Test(
        "a guest with one port: what left by it and was not accepted is the guest's gap, what went elsewhere is steering"
    )
    func onePort() {
        let refused = Fate(served: .sourceStandby, marks: .standby)
        let nowhere = Fate(served: [], marks: [])
        let late = Fate(served: .sourceStandby, marks: [])
        let deaf = Fate(served: .targetStandby, marks: .standby)
        let all: [(Fate, Int)] = [
            (.byStandby, 10), (refused, 4), (nowhere, 3), (.byStandby, 3), (late, 5), (late, 2), (deaf, 6),
            (.onTarget, 10),
        ]
        let handover = 25 * MigrationTests.millisecond
        let result = MigrationAnalysis(blackouts: [span(21, 25)], handover: handover, isPair: false)
            .results([recording(all)])[0]
        #expect(result.lost(.guestGap) == 10 && result.lost(.steering) == 5 && result.lost(.blackout) == 5)
        #expect(result.unseen == 0 && result.late == 0)
        let kept = MigrationAnalysis(blackouts: [span(21, 25)], handover: handover, isPair: false)
            .results([recording([(.byStandby, 10), (.onTarget, 3), (.byStandby, 7), (.onTarget, 20)])])[0]
        #expect(kept.lost == 0 && kept.late == 3)
        let overflowed = MigrationAnalysis(blackouts: [], handover: nil, isPair: false)
            .results([recording([(.byStandby, 10), (late, 3), (.byStandby, 10)])])[0]
        #expect(overflowed.lost(.guestGap) == 3 && overflowed.unseen == 3)
    }

    @Test("between STOP and RESUME the processors stood still, wherever the frame went")
    func blackout() {
        let lost = Fate(served: .sourceStandby, marks: [])
        // Frames 11 to 15 are sent while the guest is stopped; it accepted 10 before.
        let result = result([(.byStandby, 10), (lost, 5), (.onTarget, 10)], blackouts: [span(11, 15)], handover: 15)
        #expect(result.lost(.blackout) == 5 && result.lost == 5)
    }

    @Test("a frame that waited in the target's queue while the guest stood still is delivered")
    func queued() {
        let result = result([(.byStandby, 10), (.onTarget, 15)], blackouts: [span(11, 15)], handover: 15)
        #expect(result.lost == 0 && result.outage == 0)
    }

    @Test("what was on its way when the guest stopped belongs to the blackout")
    func underWay() {
        let lost = Fate(served: .sourceStandby, marks: [])
        let result = result([(.byStandby, 10), (lost, 5), (.onTarget, 10)], blackouts: [span(14, 15)], handover: 15)
        #expect(result.lost(.blackout) == 5 && result.lost(.steering) == 0)
    }

    @Test("but no more than 250 ms of it")
    func longUnderWay() {
        let lost = Fate(served: .sourceStandby, marks: [])
        // The guest has seen no frame for 300 ms when it stops at 311.
        let result = result(
            [(.byStandby, 10), (lost, 305), (.onTarget, 10)], blackouts: [span(311, 315)], handover: 315)
        #expect(result.lost(.blackout) == 5 && result.lost(.steering) == 300)
    }

    @Test("nor what left by another port than the one that the guest took its last frame by")
    func elsewhere() {
        let absent = Fate(served: .sourcePrimary, marks: [])
        let refused = Fate(served: .sourceStandby, marks: .standby)
        let lost = Fate(served: .sourceStandby, marks: [])
        let result = result(
            [(.byPrimary, 10), (absent, 10), (refused, 2), (absent, 3), (lost, 5), (.onTarget, 10)],
            blackouts: [span(28, 30)], handover: 30)
        #expect(result.lost(.blackout) == 5 && result.lost(.steering) == 15)
    }

    @Test("what another peer's frames tell about the guest's last moment counts for all")
    func underWayByAnother() {
        let lost = Fate(served: .sourceStandby, marks: [])
        let absent = Fate(served: .sourcePrimary, marks: [])
        let one = recording([(.byStandby, 12), (lost, 3), (.onTarget, 10)])
        let other = recording([(.byStandby, 8), (absent, 4), (lost, 1), (absent, 2), (.onTarget, 10)])
        let results = MigrationAnalysis(blackouts: [span(15, 15)], handover: 15 * MigrationTests.millisecond)
            .results([one, other])
        #expect(results[0].lost(.blackout) == 3)
        // Frame 13, which was in flight, and frame 15, which was sent while the guest was stopped.
        #expect(results[1].lost(.blackout) == 2 && results[1].lost(.steering) == 5)
    }

    @Test("lost on the way from the standby's port to a NIC that is there: steering, and said apart")
    func unseen() {
        let dropped = Fate(served: .sourceStandby, marks: [])
        let result = result([(.byStandby, 10), (dropped, 3), (.byStandby, 10)])
        #expect(result.lost(.steering) == 3 && result.unseen == 3)
    }

    @Test("taken twice: duplicated; seen twice and taken once: copied")
    func duplicates() {
        let twice = Fate(served: .source, marks: [.standby, .primary, .accepted, .acceptedAgain])
        let once = Fate(served: .source, marks: [.standby, .primary, .accepted])
        let result = result([(.byPrimary, 10), (once, 4), (twice, 3), (.byStandby, 10)])
        #expect(result.duplicated == 3 && result.copied == 7 && result.lost == 0)
    }

    @Test("a loss up to the end is an outage too; frames that were not sent are none")
    func ends() {
        let absent = Fate(served: .sourcePrimary, marks: [])
        var recording = recording([(.byPrimary, 10), (absent, 10)])
        recording.transmitted[14] = 0
        let result = MigrationAnalysis(blackouts: [], handover: nil).results([recording])[0]
        #expect(result.sent == 19 && result.lost == 9)
        #expect(result.outage == 10 * MigrationTests.millisecond)
    }

    @Test("shorter accounts of ports and guest are filled up with nothing")
    func shortRecords() {
        let recording = MigrationRecording(
            transmitted: [1, 2, 3], served: [.sourcePrimary], marks: [[.primary, .accepted]])
        let result = MigrationAnalysis(blackouts: [], handover: nil).results([recording])[0]
        #expect(result.delivered == 1 && result.lost(.steering) == 2)
    }

    @Test("the timeline shows ports, guest, losses by their reason, and what happened")
    func timeline() {
        let absent = Fate(served: .sourcePrimary, marks: [])
        let recording = recording([(.byPrimary, 200), (absent, 50), (.byStandby, 200)])
        let result = MigrationAnalysis(blackouts: [], handover: nil).results([recording])[0]
        let mark = MigrationTimeline.Mark(
            time: 200 * MigrationTests.millisecond, words: "source: UNPLUG_PRIMARY", isDeed: false)
        let timeline = MigrationTimeline(title: "learning", recording: recording, result: result, marks: [mark])
        let lines = timeline.drawn(columns: 50).split(separator: "\n", omittingEmptySubsequences: false)
        func cells(_ name: String) -> Substring? {
            lines.first { $0.contains("  " + name) }.map { $0.drop { $0 != "|" }.dropFirst().dropLast() }
        }
        // From 100 ms before the mark to 100 ms after the last loss: 5 ms a column.
        #expect(
            cells("source, primary port")
                == Substring(String(repeating: "#", count: 31) + String(repeating: " ", count: 19)))
        #expect(cells("lost: steering")?.contains("ssssssssss") == true)
        #expect(cells("lost: guest gap")?.contains("g") == false)
        #expect(lines.last == "    a 0.0 ms  source: UNPLUG_PRIMARY")
    }

    /// Frames 1 to 10, accepted in the given order, each `delay` milliseconds after it was sent.
    private func ordered(
        _ arrivals: [Int], delay: (Int) -> Int64 = { _ in 0 }, stop: Int64? = nil, resumed: Int64? = nil
    ) -> MigrationResult {
        var recording = recording([(.byStandby, 10)])
        for frame in recording.marks.indices where !arrivals.contains(frame) { recording.marks[frame] = .standby }
        for (place, frame) in arrivals.enumerated() {
            recording.places[frame] = UInt32(place + 1)
            // The guest's clock began five milliseconds ago, and stands still between stop and resumption.
            var time = Int64(frame + 1) + delay(frame) + 5
            if let stop, let resumed, time - 5 >= resumed { time -= resumed - stop }
            recording.accepted[frame] = UInt32(time * 100)
        }
        let blackouts = stop.flatMap { stop in resumed.map { [span(stop, $0)] } } ?? []
        return MigrationAnalysis(blackouts: blackouts, handover: nil).results([recording])[0]
    }

    @Test("one frame that passes three makes three late, and is one overtaker")
    func overtaking() {
        let result = ordered([0, 1, 5, 2, 3, 4, 6, 7, 8, 9])
        #expect(result.overtakers == 1 && result.phases[.leaving].late == 3)
        #expect(result.phases[.leaving].lost == 0 && ordered(Array(0..<10)).overtakers == 0)
        #expect(ordered([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]).overtakers == 9)
    }

    @Test(
        "a frame's phase is that of its sending; its delay is counted on the hosts' clock, although the guest's stood still"
    )
    func phases() {
        // Sent at 1 to 10 ms; stopped from 4 to 7; those of 4 to 6 are accepted at 8, that of 3 is lost.
        let result = ordered(
            [0, 1, 6, 3, 4, 5, 7, 8, 9], delay: { (3...5).contains($0) ? Int64(7 - $0) : 0 }, stop: 4, resumed: 7)
        #expect(result.phases[.leaving] == PhaseCount(lost: 1))
        #expect(result.phases[.blackout].late == 3 && result.phases[.blackout].lost == 0)
        #expect(result.phases[.blackout].delay == 4 * MigrationTests.millisecond)
        #expect(result.phases[.arriving] == PhaseCount())
    }
}
