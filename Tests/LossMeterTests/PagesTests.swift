import Glibc
import Lab
import Pages
import Testing

@testable import LossMeter

/// Pages from fixed data: nothing is cut off, nothing is on something else, and nothing comes from elsewhere.
@Suite struct PagesTests {
    // MARK: - The pages

    /// A move of each method: `lost` frames from the command's begin on, one every 5 us.
    private static func timeline(_ name: String, lost: Int, command: Int64) -> Timeline {
        let frames = lost + 200
        var recording = Recording(frames: frames, paths: 2)
        for frame in 0..<frames {
            recording.transmitted[frame] = 1_000_000_000 + Int64(frame) * 5000
            if frame < 100 || frame >= 100 + lost { recording.received[frame < 100 ? 0 : 1][frame] = 1 }
        }
        let begin = recording.transmitted[100]
        return Timeline(
            title: name, paths: ["primary", "standby"], recording: recording,
            move: Move(index: 0, begin: begin, end: begin + command, change: Change(destination: 1)),
            window: Int64(lost) * 5000)
    }

    private static func summary(_ name: String, flood: Bool, lost: [Int]) -> Summary {
        let results = lost.enumerated().map { index, lost in
            MoveResult(
                index: index, lost: flood ? 0 : lost, duplicated: flood ? lost * 7 : 0, reordered: 0,
                window: Int64(lost) * 5000, resolution: 5000, isVoid: false, isInconclusive: false, command: 12_000)
        }
        return Summary(
            method: name, flood: flood, offeredRate: 200_000, achievedRate: 199_998.7, results: results,
            latencies: Latencies())
    }

    private static let methods = [
        ("fdbsteer", 0), ("replace", 0), ("del, ack, add, ack", 7), ("bridge fdb del; add", 547),
    ]

    private static var loss: Page {
        let summaries = [false, true].flatMap { flood in
            methods.map { summary($0.0, flood: flood, lost: [0, $0.1 / 2, $0.1]) }
        }
        return LossPage(
            rate: 200_000, summaries, methods.map { timeline($0.0, lost: $0.1, command: Int64($0.1) * 5000 + 9000) }
        ).page
    }

    /// A migration with more marks than there is room for letters, all at its begin and its end.
    private static var migration: Page {
        let recording = MigrationRecording(
            transmitted: (1...3000).map { $0 * 1_000_000 },
            served: (0..<3000).map { $0 < 1500 ? .sourcePrimary : .targetStandby },
            marks: (0..<3000).map { (1400..<1600).contains($0) ? [] : [.standby, .accepted] })
        let result = MigrationAnalysis(blackouts: [], handover: nil).results([recording])[0]
        let marks = (0..<70).map { index in
            MigrationTimeline.Mark(
                time: (index < 60 ? 1_390_000_000 : 1_600_000_000) + Int64(index) * 300_000,
                words: "source: <event> & deed number \(index) with words that go on and on", isDeed: index % 2 == 0)
        }
        let timelines = ["learning", "fdbsteerd"].map {
            MigrationTimeline(title: $0, recording: recording, result: result, marks: marks)
        }
        var page = Page("Migrations", summary: ["One \"migration\" of each."])
        page.chart(LaneChart("A migration", timelines.map(\.group), span: timelines[0].shown))
        return page
    }

    /// Frames every two milliseconds: 100 ms of them are sent again by the standby, as many by the uplink, and 50 ms by the new primary.
    private static func replay(isEmpty: Bool = false) -> ReplayPicture? {
        let millisecond: Int64 = 1_000_000
        func departures(_ frames: Range<Int>, _ port: ServedPorts, at time: Int64) -> [MigrationRecording.Departure] {
            isEmpty ? [] : frames.map { .init(frame: $0, port: port, time: (time + Int64($0) / 64) * millisecond) }
        }
        let recording = MigrationRecording(
            transmitted: (0..<1000).map { ($0 + 1) * 2 * millisecond },
            served: (0..<1000).map { frame in
                switch frame {
                case ..<100: .sourcePrimary
                case ..<200: [.sourcePrimary, .sourceStandby]
                case ..<500: .sourceStandby
                default: .targetStandby
                }
            },
            marks: (0..<1000).map { _ in [.standby, .accepted] },
            departures: departures(120..<170, .sourceStandby, at: 350) + departures(400..<450, .targetStandby, at: 905)
                + departures(700..<725, .targetPrimary, at: 1500))
        let signals = (0..<200).flatMap { pair -> [GuestSignal] in
            let time = (200 + Int64(pair)) * millisecond
            return [false, true].map { isAnswer in
                GuestSignal(
                    time: time, port: isAnswer && pair > 100 ? .sourceStandby : .sourcePrimary, isAnswer: isAnswer)
            }
        }
        let marks = ["UNPLUG_PRIMARY primary0", "STOP", "MIGRATION completed"].enumerated().map {
            MigrationTimeline.Mark(time: (200 + Int64($0) * 300) * millisecond, words: $1, isDeed: false)
        }
        return ReplayPicture(
            [recording], signals, source: marks, target: [marks[2]], stopped: 800 * millisecond...900 * millisecond)
    }

    private static var replayed: Page {
        var page = Page("Replay", summary: [])
        for chart in replay()?.charts ?? [] { page.chart(chart) }
        return page
    }

    @Test("the picture of a replay shows each part that was sent again, and none where nothing was")
    func replayPicture() {
        let html = PagesTests.replayed.html
        #expect(PagesTests.replay()?.charts.count == 4)
        for part in ["Leaving", "Blackout", "Arriving"] { #expect(html.contains("\(part), enlarged"), "\(part)") }
        #expect(html.contains("sent again, uplink") && html.contains("answered"))
        #expect(PagesTests.replay(isEmpty: true) == nil)
    }

    private static var figures: Page {
        var page = Page("Figures", summary: [])
        let curves = (0..<8).map { index in
            CurveChart.Series(
                index == 0 ? "fdbsteer" : "peer number \(index)", index == 0 ? .subject : Role.others[index - 1],
                [1, 3, 10, 100, 1000, 32_000, 500_000].map { ($0, 0.4 + Double(index) * 0.01 + 20 / Double($0)) })
        }
        page.chart(CurveChart("Costs", number: "entries", value: "µs an entry, median", curves))
        page.chart(CurveChart("One point", number: "entries", value: "µs", [.init("fdbsteer", .subject, [(1, 1)])]))
        page.chart(CurveChart("Nothing", number: "entries", value: "µs", []))
        page.chart(
            RangeChart(
                "Two series", unit: "frames",
                [.init("peer on the source host", .lost), .init("peer on the target host", .standby)],
                [
                    ("daemons, shared port: announce, target, source", [.init(0, 0, 0), .init(3, 14, 1_234_567)]),
                    ("learning", [.init(0, 1, 2), .init(0, 0, 1)]),
                    (String(repeating: "long ", count: 20), [.init(1, 1, 1), .init(2, 2, 2)]),
                ]))
        page.chart(RangeChart("Nothing", unit: "frames", [.init("", .lost)], []))
        page.chart(LaneChart("Nothing", [.init("method", [.init("lost", .lost, [])])], span: 0...1))
        page.table([["method", "number"], ["a & b", "1"]], numbersFrom: 1)
        return page
    }

    static let pages: [(String, @Sendable () -> Page)] = [
        ("loss", { loss }), ("migration", { migration }), ("replay", { replayed }), ("figures", { figures }),
    ]

    // MARK: - Geometry

    private struct Box: CustomStringConvertible {
        let words: String
        let left: Double
        let top: Double
        let right: Double
        let bottom: Double

        var description: String { "\"\(words)\" (\(left), \(top) to \(right), \(bottom))" }
        func isInside(_ width: Double, _ height: Double) -> Bool {
            left >= 0 && top >= 0 && right <= width && bottom <= height
        }
        func overlaps(_ other: Box) -> Bool {
            left < other.right && other.left < right && top < other.bottom && other.top < bottom
        }
    }

    /// The boxes of a picture's texts, as wide as sans-serif fonts are on average.
    private func texts(of svg: some StringProtocol) -> [Box] {
        let pattern = /<text x="(.*?)" y="(.*?)" font-size="(.*?)" text-anchor="(.*?)" .*?>(.*?)<\/text>/
        return String(svg).matches(of: pattern).map { match in
            let (x, y, size) = (Double(match.1) ?? .nan, Double(match.2) ?? .nan, Double(match.3) ?? 0)
            let words = String(match.5.replacing(/&\w+;/, with: "&"))
            let width = Double(words.count) * size * 0.58
            let left = x - (match.4 == "start" ? 0 : match.4 == "end" ? width : width / 2)
            #expect(size >= 12, "\(words) is too small")
            return Box(words: words, left: left, top: y - size * 0.78, right: left + width, bottom: y + size * 0.22)
        }
    }

    /// The boxes of everything else.
    private func shapes(of svg: some StringProtocol) -> [Box] {
        let svg = String(svg)
        func number(_ text: some StringProtocol) -> Double { Double(text) ?? .nan }
        let rectangles = svg.matches(of: /<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)" class="(.*?)"/).map {
            Box(
                words: String($0.5), left: number($0.1), top: number($0.2), right: number($0.1) + number($0.3),
                bottom: number($0.2) + number($0.4))
        }
        let lines = svg.matches(of: /<polyline points="(.*?)" class="(.*?)"/).flatMap { line in
            line.1.split { $0 == " " }.map { point in
                let place = point.split { $0 == "," }.map { number($0) }
                return Box(words: String(line.2), left: place[0], top: place[1], right: place[0], bottom: place[1])
            }
        }
        let bars = svg.matches(of: /M(-?[\d.]+) (-?[\d.]+)h(-?[\d.]+)/).map {
            Box(
                words: "bar", left: number($0.1), top: number($0.2), right: number($0.1) + number($0.3),
                bottom: number($0.2))
        }
        let points = svg.matches(of: /M(-?[\d.]+) (-?[\d.]+)m/).map {
            Box(
                words: "point", left: number($0.1) - 5, top: number($0.2) - 5, right: number($0.1) + 5,
                bottom: number($0.2) + 5)
        }
        return rectangles + lines + bars + points
    }

    @Test(arguments: pages.indices) func nothingIsCutOffOrOnSomethingElse(index: Int) throws {
        let html = PagesTests.pages[index].1().html
        let pictures = html.matches(of: /<svg .*?viewBox="0 0 ([\d.]+) ([\d.]+)"(.|\n)*?<\/svg>/)
        #expect(!pictures.isEmpty)
        for picture in pictures {
            let (width, height) = (try #require(Double(picture.1)), try #require(Double(picture.2)))
            #expect(width == 760)
            let texts = texts(of: picture.0)
            for box in texts + shapes(of: picture.0) {
                #expect(box.isInside(width, height), "\(box) is outside of \(width) x \(height)")
            }
            for (place, box) in texts.enumerated() {
                for other in texts[..<place] { #expect(!box.overlaps(other), "\(box) is on \(other)") }
            }
        }
    }

    @Test(arguments: pages.indices) func nothingComesFromElsewhere(index: Int) {
        let html = PagesTests.pages[index].1().html
        for word in ["<script", "src=", "href", "url(", "@import", "<link", "<img"] { #expect(!html.contains(word)) }
        #expect(html.ranges(of: "http").count == html.ranges(of: "xmlns=\"http://www.w3.org/2000/svg\"").count)
        #expect(html.contains("prefers-color-scheme:dark"))
        #expect(!html.contains("& deed") && !html.contains("<event>"))
    }

    @Test func ofLanesThatDifferMuchThereIsAnInsetThatSaysSo() {
        let html = PagesTests.loss.html
        #expect(html.contains("The framed part above, enlarged ") && html.contains("class=\"frame\""))
    }

    /// WCAG 2.1, 1.4.11 and 1.4.3.
    @Test func coloursStandOutFromTheGround() throws {
        func luminance(_ colour: String) throws -> Double {
            let value = try #require(Int(colour.dropFirst(), radix: 16))
            let parts = [16, 8, 0].map { Double(value >> $0 & 255) / 255 }
            let linear = parts.map { $0 <= 0.03928 ? $0 / 12.92 : pow(($0 + 0.055) / 1.055, 2.4) }
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        }
        func contrast(_ one: String, _ other: String) throws -> Double {
            let (one, other) = (try luminance(one), try luminance(other))
            return (max(one, other) + 0.05) / (min(one, other) + 0.05)
        }
        for role in Role.allCases {
            // The panels of charts.
            #expect(try contrast(role.colours.light, "#f4f4f4") >= 3, "\(role)")
            #expect(try contrast(role.colours.dark, "#1d1d1d") >= 3, "\(role)")
        }
    }

    @Test func tablesFitATerminalAndSayWhatTheyLeaveOut() {
        let head = (0..<12).map { "column number \($0)" }
        let rows = [head, head.map { _ in "17" }]
        let fitted = TextTable.fitted(rows, numbersFrom: 1, isWide: false)
        let lines = fitted.split(separator: "\n")
        #expect(lines.dropLast().allSatisfy { $0.count <= 100 })
        #expect(fitted.contains("(--wide shows also: column number 6, "), "\(fitted)")
        #expect(TextTable.fitted(rows, numbersFrom: 1, isWide: true) == TextTable.aligned(rows, numbersFrom: 1))
        #expect(!TextTable.fitted([["a"], ["b"]], numbersFrom: 1, isWide: false).contains("--wide"))
    }

    // MARK: - A browser

    static let browser: String? = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].first {
        access($0, X_OK) == 0
    }

    @Test(.enabled(if: browser != nil, "SKIPPED: Chromium is not installed: pages are not opened in a browser"))
    func aBrowserShowsThePageWithoutAnError() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let (page, picture) = (folder.path + "/page.html", folder.path + "/page.png")
        try TextFile.write(PagesTests.loss.html, to: page)
        let command = try Command.run(
            [
                PagesTests.browser ?? "", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--enable-logging=stderr", "--window-size=800,1600", "--user-data-dir=\(folder.path)/profile",
                "--screenshot=\(picture)", "file://\(page)",
            ], environment: ["HOME": folder.path])
        #expect(command.exitCode == 0, "\(command.errors)")
        #expect(!command.errors.contains("CONSOLE"), "\(command.errors)")
        // A PNG's header has its width and height.
        let header = try Command.run(["od", "-A", "n", "-t", "u1", "-j", "16", "-N", "8", picture]).output
        let bytes = header.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        #expect(bytes == [0, 0, 3, 32, 0, 0, 6, 64], "\(header)")
    }
}
