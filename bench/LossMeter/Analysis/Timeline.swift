package import Pages

/// The frames around one change, path by path: the data of a timeline.
package struct Timeline: Sendable {
    /// One frame; the time is that of its transmission in nanoseconds since the command's begin.
    package struct Point: Hashable, Sendable {
        /// Nanoseconds since the command's begin; negative before.
        package let time: Int64
        /// The paths that it reached; none if it was lost.
        package let paths: [Int]
    }

    /// The method that made the change.
    package let title: String
    /// The names of the paths.
    package let paths: [String]
    /// The frames in the order of transmission.
    package let points: [Point]
    /// The duration of the command.
    package let command: Int64

    /// The least span to show before the command and after everything has settled.
    private static let margin: Int64 = 100_000
    /// The most frames to show: of a longer loss only the begin is shown.
    private static let limit = 40_000

    /// - Parameters:
    ///   - title: the method that made the change.
    ///   - paths: the names of the paths.
    ///   - recording: the burst.
    ///   - move: the change.
    ///   - window: its loss window in nanoseconds.
    package init(title: String, paths: [String], recording: Recording, move: Move, window: Int64) {
        self.title = title
        self.paths = paths
        command = move.end - move.begin
        let margin = max(Timeline.margin, (command + window) / 4)
        let first = move.begin - margin
        let last = move.end + window + margin
        points = Array(
            recording.transmitted.enumerated().lazy.filter { $0.element >= first && $0.element <= last }.map { frame in
                Point(
                    time: frame.element - move.begin,
                    paths: recording.received.indices.filter { recording.received[$0][frame.offset] != 0 })
            }.prefix(Timeline.limit))
    }

    /// Draws the timeline with characters: one row for each path and one for lost frames, one column for each slice of time.
    package func drawn(columns: Int = 88) -> String {
        guard let first = points.first?.time, let last = points.last?.time, last > first else {
            return "\(title): no frames around this change"
        }
        let slice = Double(last - first + 1) / Double(columns)
        func row(_ mark: Character, _ matches: (Point) -> Bool) -> String {
            var cells = [Character](repeating: " ", count: columns)
            for point in points where matches(point) {
                cells[min(columns - 1, Int(Double(point.time - first) / slice))] = mark
            }
            return String(cells)
        }
        func column(_ time: Int64) -> Int { max(0, min(columns - 1, Int(Double(time - first) / slice))) }
        var ruler = [Character](repeating: " ", count: columns)
        for position in column(0)...column(command) { ruler[position] = "=" }
        ruler[column(0)] = "["
        if column(command) > column(0) { ruler[column(command)] = "]" }
        let names = paths + ["lost", "command"]
        let width = names.map(\.count).max() ?? 0
        var rows = paths.enumerated().map { path, _ in row("#") { $0.paths.contains(path) } }
        rows.append(row("x") { $0.paths.isEmpty })
        rows.append(String(ruler))
        let lines = zip(names, rows).map { name, cells in
            "  " + name + String(repeating: " ", count: width - name.count) + " |" + cells + "|"
        }
        let scale = "one column is \(Int((slice / 1000).rounded(.up))) us"
        return "\(title) (\(scale))\n" + lines.joined(separator: "\n")
    }
}

extension Timeline {
    /// The lanes of a chart, in nanoseconds from the command's begin: one for each path, in the colours of primary and standby.
    package var group: LaneChart.Group {
        let roles: [Role] = [.primary, .standby]
        let lanes = paths.enumerated().map { index, name in
            LaneChart.Lane("by \(name)", roles[index % 2], points.filter { $0.paths.contains(index) }.map(\.time))
        }
        let lost = LaneChart.Lane("lost", .lost, points.filter(\.paths.isEmpty).map(\.time))
        return LaneChart.Group(title, lanes + [lost], shaded: 0...max(0, command))
    }

    /// The time that the lanes cover.
    package var shown: ClosedRange<Int64> {
        let first = points.first?.time ?? 0
        return first...max(first + 1, points.last?.time ?? 0)
    }
}
