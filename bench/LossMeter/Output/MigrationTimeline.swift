package import Pages

/// One migration as the frames of one peer show it: their ports, the guest, the lost frames, and the events.
package struct MigrationTimeline: Sendable {
    /// An event or an action.
    package struct Mark: Hashable, Sendable {
        /// The time in nanoseconds of CLOCK_REALTIME.
        package let time: Int64
        /// The event or action in a few words, including the host.
        package let words: String
        /// An action by a controller or operator, such as moving an entry; otherwise an event.
        package let isDeed: Bool

        /// Makes a mark from its fields.
        package init(time: Int64, words: String, isDeed: Bool) {
            self.time = time
            self.words = words
            self.isDeed = isDeed
        }
    }

    /// A row: its name, and whether a frame belongs on it.
    struct Row {
        let name: String
        let symbol: Character
        let role: Role
        let matches: @Sendable (MigrationTimeline, Int) -> Bool
    }

    /// The method and its figures.
    package let title: String
    /// The events and actions, in the order of time.
    package let marks: [Mark]
    /// The span shown.
    package let span: ClosedRange<Int64>
    /// The zero of times and positions: the first mark.
    package let origin: Int64
    let recording: MigrationRecording
    private let kinds: [Int: LossKind]

    /// The span to show before the first and after the last mark, in nanoseconds.
    private static let margin: Int64 = 100_000_000

    /// - Parameters:
    ///   - title: the method and its figures.
    ///   - recording: one peer's frames.
    ///   - result: the results for these frames.
    ///   - marks: the events and actions.
    package init(title: String, recording: MigrationRecording, result: MigrationResult, marks: [Mark]) {
        self.title = title
        self.recording = recording
        self.marks = marks.sorted { $0.time < $1.time }
        let times = self.marks.map(\.time) + result.spans.flatMap { [$0.begin, $0.end] }
        let sent = recording.transmitted.filter { $0 != 0 }
        let first = max(sent.first ?? 0, (times.min() ?? 0) - MigrationTimeline.margin)
        span = first...max(first + 1, min(sent.last ?? 0, (times.max() ?? 0) + MigrationTimeline.margin))
        origin = self.marks.first?.time ?? first
        var kinds: [Int: LossKind] = [:]
        var index = 0
        for span in result.spans {
            while index < recording.transmitted.count, recording.transmitted[index] <= span.end {
                if recording.transmitted[index] >= span.begin { kinds[index] = span.kind }
                index += 1
            }
        }
        self.kinds = kinds
    }

    private func left(by port: ServedPorts, _ frame: Int) -> Bool { recording.served[frame].contains(port) }

    /// The rows from top to bottom.
    static let rows: [Row] = [
        Row(name: "source, primary port", symbol: "#", role: .primary) { $0.left(by: .sourcePrimary, $1) },
        Row(name: "source, standby port", symbol: "#", role: .standby) { $0.left(by: .sourceStandby, $1) },
        Row(name: "target, standby port", symbol: "#", role: .standby) { $0.left(by: .targetStandby, $1) },
        Row(name: "target, primary port", symbol: "#", role: .primary) { $0.left(by: .targetPrimary, $1) },
        Row(name: "guest took it", symbol: "#", role: .plain) { $0.recording.marks[$1].contains(.accepted) },
        Row(name: "lost: steering", symbol: "s", role: .lost) { $0.kinds[$1] == .steering },
        Row(name: "lost: guest gap", symbol: "g", role: .gap) { $0.kinds[$1] == .guestGap },
        Row(name: "lost: blackout", symbol: "b", role: .plain) { $0.kinds[$1] == .blackout },
    ]

    /// For each row, the columns with at least one frame, out of `count` columns.
    func columns(_ count: Int) -> [[Bool]] {
        var cells = MigrationTimeline.rows.map { _ in [Bool](repeating: false, count: count) }
        for frame in recording.transmitted.indices where span.contains(recording.transmitted[frame]) {
            let column = column(recording.transmitted[frame], of: count)
            for (index, row) in MigrationTimeline.rows.enumerated() where row.matches(self, frame) {
                cells[index][column] = true
            }
        }
        return cells
    }

    func column(_ time: Int64, of count: Int) -> Int {
        let length = span.upperBound - span.lowerBound
        let column = Int(Double(time - span.lowerBound) / Double(length) * Double(count))
        return max(0, min(count - 1, column))
    }

    /// Draws the timeline with characters: one column for each slice of time, a letter for each mark, and a legend.
    package func drawn(columns count: Int = 100) -> String {
        let width = MigrationTimeline.rows.map(\.name.count).max() ?? 0
        func line(_ name: String, _ cells: String) -> String {
            "  " + name + String(repeating: " ", count: width - name.count) + " |" + cells + "|"
        }
        var lines = zip(MigrationTimeline.rows, columns(count)).map { row, cells in
            line(row.name, String(cells.map { $0 ? row.symbol : " " }))
        }
        var letters = [Character](repeating: " ", count: count)
        var legend: [String] = []
        for (index, mark) in marks.enumerated() {
            let letter = MigrationTimeline.letter(index)
            let column = column(mark.time, of: count)
            // Marks in one column share the place of the first one.
            if letters[column] == " " { letters[column] = letter }
            legend.append("    \(letter) \(MigrationTimeline.milliseconds(mark.time - origin)) ms  \(mark.words)")
        }
        lines.append(line("", String(letters)))
        let slice = MigrationTimeline.milliseconds((span.upperBound - span.lowerBound) / Int64(count))
        return (["\(title) (one column is \(slice) ms)"] + lines + legend).joined(separator: "\n")
    }

    static func letter(_ index: Int) -> Character {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return letters[min(index, letters.count - 1)]
    }

    /// Milliseconds with one decimal.
    static func milliseconds(_ nanoseconds: Int64) -> String {
        let tenths = (abs(nanoseconds) + 50_000) / 100_000
        return "\(nanoseconds < 0 && tenths > 0 ? "-" : "")\(tenths / 10).\(tenths % 10)"
    }
}

extension MigrationTimeline {
    /// The lanes of a chart, in nanoseconds from the first mark.
    package var group: LaneChart.Group {
        let frames = recording.transmitted.indices.filter { span.contains(recording.transmitted[$0]) }
        let lanes = MigrationTimeline.rows.map { row in
            LaneChart.Lane(
                row.name, row.role,
                frames.filter { row.matches(self, $0) }.map { recording.transmitted[$0] - origin })
        }
        return LaneChart.Group(title, lanes, marks: marks.map { LaneChart.Mark($0.time - origin, $0.words) })
    }

    /// The time that the lanes cover.
    package var shown: ClosedRange<Int64> { span.lowerBound - origin...span.upperBound - origin }
}
