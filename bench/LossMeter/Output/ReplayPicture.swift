package import Pages

/// A question to a guest, or its answer (docs/asking.md).
package struct GuestSignal: Hashable, Sendable {
    /// In nanoseconds of CLOCK_REALTIME.
    package let time: Int64
    /// The port by which the question was put.
    package let port: ServedPorts
    package let isAnswer: Bool

    /// Makes a signal from its fields.
    package init(time: Int64, port: ServedPorts, isAnswer: Bool) {
        self.time = time
        self.port = port
        self.isAnswer = isAnswer
    }
}

/// One migration with replay on one scale of time: what left by each of the guest's ports, the questions and answers there, QEMU's
/// events, and the frames that were kept and sent again (docs/zero.md). The frames are those of all peers.
package struct ReplayPicture: Sendable {
    /// Times are those of the first event on.
    private let origin: Int64
    private let span: ClosedRange<Int64>
    private let groups: [LaneChart.Group]
    private let parts: [(title: String, groups: Range<Int>, span: ClosedRange<Int64>)]

    /// The time that is shown around the first and the last of a part, in nanoseconds.
    private static let margin: Int64 = 15_000_000

    /// - Parameters:
    ///   - recordings: one for each peer.
    ///   - source: QEMU's events on the host that the guest leaves, in the order of time.
    ///   - target: those on the other.
    ///   - stopped: when the guest's processors were, in nanoseconds of CLOCK_REALTIME.
    /// - Returns: nil where nothing was sent again, or nothing happened.
    package init?(
        _ recordings: [MigrationRecording], _ signals: [GuestSignal], source: [MigrationTimeline.Mark],
        target: [MigrationTimeline.Mark], stopped: ClosedRange<Int64>?
    ) {
        let events = (source + target).map(\.time)
        let again = recordings.flatMap(\.departures)
        guard let first = events.min(), let last = events.max(), let end = again.map(\.time).max() else { return nil }
        origin = first
        span = -ReplayPicture.margin...(max(last, end) - first + ReplayPicture.margin)
        func moments(_ times: [Int64]) -> [Int64] { times.map { $0 - first }.sorted() }
        func lane(_ name: String, _ role: Role, _ times: [Int64]) -> LaneChart.Lane {
            LaneChart.Lane(name, role, moments(times))
        }
        func kept(_ ports: ServedPorts) -> [Int64] {
            recordings.flatMap { recording in
                recording.departures.filter { ports.contains($0.port) }.map { recording.transmitted[$0.frame] }
            }
        }
        func sent(by port: ServedPorts) -> [Int64] { again.filter { $0.port == port }.map(\.time) }
        func lanes(_ name: String, _ role: Role, _ port: ServedPorts) -> [LaneChart.Lane] {
            // A kept frame has left the source's ports before, and the target's later alone.
            let frames = recordings.flatMap { recording in
                let departures = ServedPorts.target.contains(port) ? recording.departures : []
                let late = Set(departures.filter { $0.port == port }.map(\.frame))
                return recording.transmitted.indices.filter {
                    recording.transmitted[$0] != 0 && recording.served[$0].contains(port) && !late.contains($0)
                }.map { recording.transmitted[$0] }
            }
            let here = signals.filter { $0.port == port }
            return [
                lane("\(name): frames", role, frames), lane("asked", .plain, here.filter { !$0.isAnswer }.map(\.time)),
                lane("answered", .plain, here.filter(\.isAnswer).map(\.time)),
            ]
        }
        func guest(_ isTaken: Bool) -> [Int64] {
            recordings.flatMap { recording in
                recording.transmitted.indices.filter {
                    recording.transmitted[$0] != 0 && recording.marks[$0].contains(.accepted) == isTaken
                }.map { recording.transmitted[$0] }
            }
        }
        func marks(_ marks: [MigrationTimeline.Mark]) -> [LaneChart.Mark] {
            marks.map { LaneChart.Mark($0.time - first, $0.words) }
        }
        let shade = stopped.map { $0.lowerBound - first...$0.upperBound - first }
        groups = [
            LaneChart.Group(
                "The host that the guest leaves",
                lanes("primary", .primary, .sourcePrimary) + lanes("standby", .standby, .sourceStandby) + [
                    lane("kept", .gap, kept([.sourceStandby, .targetStandby])),
                    lane("sent again, standby", .lost, sent(by: .sourceStandby)),
                    lane("sent again, uplink", .lost, sent(by: .targetStandby)),
                ], shaded: shade, marks: marks(source)),
            LaneChart.Group(
                "The guest, by the time at which a frame was sent",
                [lane("took it in the end", .plain, guest(true)), lane("never took it", .lost, guest(false))],
                shaded: shade),
            LaneChart.Group(
                "The host where it arrives",
                lanes("standby", .standby, .targetStandby) + lanes("primary", .primary, .targetPrimary) + [
                    lane("kept", .gap, kept(.targetPrimary)),
                    lane("sent again, primary", .lost, sent(by: .targetPrimary)),
                ], shaded: shade, marks: marks(target)),
        ]
        parts = [
            ("Leaving, enlarged", 0..<2, ServedPorts.sourceStandby), ("Blackout, enlarged", 0..<3, .targetStandby),
            ("Arriving, enlarged", 1..<3, .targetPrimary),
        ].compactMap { title, groups, port in
            guard let begin = kept(port).min(), let end = sent(by: port).max() else { return nil }
            return (title, groups, begin - first - ReplayPicture.margin...end - first + ReplayPicture.margin)
        }
    }

    /// The migration as a whole, and each part of it in which something was sent again.
    package var charts: [LaneChart] {
        [LaneChart("A migration with replay; time from its first event", groups, span: span)]
            + parts.map { LaneChart($0.title, Array(groups[$0.groups]), span: $0.span) }
    }
}
