import Glibc
import Lab
import LossMeter
import Pages

/// The results of the throughput bench, as text and as JSON.
struct ThroughputReport: Encodable {
    /// The results of one peer for one work.
    struct Row: Encodable, Sendable {
        let work: String
        let who: String
        let entries: Int
        let rounds: Int
        let usPerEntryMedian: Double
        let usPerEntryMin: Double
        let usPerEntryP90: Double
        /// The median of the rounds' ratios to the floor of the same round; 1 for the floor itself.
        let ratioToFloor: Double
        /// The percentiles of single events in microseconds, if there are any.
        var usP50: Double?
        var usP99: Double?
        var usP999: Double?
        /// The instructions in user space for each entry, by valgrind, if they were counted.
        var instructionsPerEntry: Double?
    }

    var machine: Machine
    var results: [Row] = []

    init(machine: Machine) { self.machine = machine }

    /// The rows with a header.
    static func table(of rows: [Row]) -> [[String]] {
        var cells = [["work", "who", "entries", "rounds", "us/entry", "min", "p90", "x floor"]]
        let hasPercentiles = rows.contains { $0.usP50 != nil }
        let hasInstructions = rows.contains { $0.instructionsPerEntry != nil }
        if hasPercentiles { cells[0] += ["p50 us", "p99 us", "p99.9 us"] }
        if hasInstructions { cells[0].append("instructions") }
        for row in rows {
            var line = [
                row.work, row.who, "\(row.entries)", "\(row.rounds)", Figure.text(row.usPerEntryMedian),
                Figure.text(row.usPerEntryMin), Figure.text(row.usPerEntryP90), Figure.text(row.ratioToFloor),
            ]
            if hasPercentiles { line += [row.usP50, row.usP99, row.usP999].map { $0.map(Figure.text) ?? "" } }
            if hasInstructions { line.append(row.instructionsPerEntry.map(Figure.text) ?? "") }
            cells.append(line)
        }
        return cells
    }

    /// The results as a page.
    var page: Page {
        var page = Page(
            "What bridge entries cost, by fdbsteer and by others",
            summary: [
                "Each program does the same work in turn, round after round. The floor is a C program that sends the same messages and does "
                    + "nothing else; \"x floor\" is the median of the ratios to the floor of the same round."
            ])
        for chart in charts { page.chart(chart) }
        page.heading("Figures")
        var works: [String] = []
        for row in results where !works.contains(row.work) { works.append(row.work) }
        for work in works {
            page.table(ThroughputReport.table(of: results.filter { $0.work == work }), numbersFrom: 2)
        }
        page.setting(machine)
        return page
    }

    /// Charts of the cost of an entry, by how many entries: one for each work that was done with several numbers.
    var charts: [CurveChart] {
        let title = [
            "move": "Entries that move from one port to another", "add": "Entries that are made",
            "delete": "Entries that are deleted", "snapshot": "A table that is read",
        ]
        return ["move", "add", "delete", "snapshot"].compactMap { work in
            let own = results.filter { $0.work == work && $0.usPerEntryMedian > 0 }
            guard !own.isEmpty else { return nil }
            var names: [String] = []
            for row in own where !names.contains(row.who) { names.append(row.who) }
            let others = names.filter { $0 != "fdbsteer" }
            return CurveChart(
                title[work] ?? work, number: "entries", value: "µs an entry, median",
                names.map { name in
                    let place = others.firstIndex(of: name)
                    return CurveChart.Series(
                        name, place.map { Role.others[$0 % Role.others.count] } ?? .subject,
                        own.filter { $0.who == name }.map { ($0.entries, $0.usPerEntryMedian) })
                })
        }
    }
}

extension ThroughputReport.Row {
    /// A row of measured rounds.
    ///
    /// - Parameters:
    ///   - nanoseconds: the duration of each round, for all entries.
    ///   - floor: the durations of the floor in the same rounds.
    init(work: String, who: String, entries: Int, nanoseconds: [Double], floor: [Double]) {
        let each = nanoseconds.map { $0 / 1000 / Double(max(1, entries)) }
        self.init(
            work: work, who: who, entries: entries, rounds: nanoseconds.count,
            usPerEntryMedian: Figure.quantile(0.5, of: each), usPerEntryMin: each.min() ?? 0,
            usPerEntryP90: Figure.quantile(0.9, of: each),
            ratioToFloor: Figure.quantile(0.5, of: zip(nanoseconds, floor).map { $0 / max(1, $1) }))
    }

    /// A row of single events, in nanoseconds.
    init(work: String, who: String, entries: Int, events: [Double], floor: Double?) {
        let each = events.map { $0 / 1000 }
        self.init(
            work: work, who: who, entries: entries, rounds: events.count,
            usPerEntryMedian: Figure.quantile(0.5, of: each) / Double(max(1, entries)),
            usPerEntryMin: (each.min() ?? 0) / Double(max(1, entries)),
            usPerEntryP90: Figure.quantile(0.9, of: each) / Double(max(1, entries)),
            ratioToFloor: floor.map { Figure.quantile(0.5, of: each) / max(0.001, $0 / 1000) } ?? 1)
        usP50 = Figure.quantile(0.5, of: each)
        usP99 = Figure.quantile(0.99, of: each)
        usP999 = Figure.quantile(0.999, of: each)
    }
}

/// Numbers for people, and order statistics.
enum Figure {
    /// The value with three significant digits.
    static func text(_ value: Double) -> String {
        if value >= 100 { return "\(Int(value.rounded()))" }
        let digits = value >= 10 ? 10.0 : 100.0
        let scaled = Int((value * digits).rounded())
        let fraction = "\(scaled % Int(digits))"
        let zeros = String(repeating: "0", count: (digits == 10 ? 1 : 2) - fraction.count)
        return "\(scaled / Int(digits)).\(zeros)\(fraction)"
    }

    /// The value below which a share of the values lies; 0 for none.
    static func quantile(_ share: Double, of values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        if share == 0.5, sorted.count.isMultiple(of: 2) {
            return (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
        }
        return sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
    }
}
