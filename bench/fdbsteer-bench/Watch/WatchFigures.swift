import LossMeter

/// Percentiles of durations, in microseconds.
struct WatchSpread: Encodable, Sendable {
    let samples: Int
    let minUs: Double
    let p50Us: Double
    let p90Us: Double
    let p99Us: Double
    let maxUs: Double

    /// - Parameter nanoseconds: one value for each sample.
    init(_ nanoseconds: [Int64]) {
        let sorted = nanoseconds.sorted()
        func at(_ share: Double) -> Double {
            sorted.isEmpty ? 0 : Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1000
        }
        samples = sorted.count
        minUs = at(0)
        p50Us = at(0.5)
        p90Us = at(0.9)
        p99Us = at(0.99)
        maxUs = at(1)
    }

    static let header = ["n", "p50 us", "p90 us", "p99 us", "max us"]
    var cells: [String] { ["\(samples)"] + [p50Us, p90Us, p99Us, maxUs].map(WatchReport.tenths) }
}

/// The results of `fdbsteer-bench watch`.
struct WatchReport: Encodable, Sendable {
    var drift: [WatchDrift.Row] = []
    var overruns: [WatchOverruns.Row] = []
    var removal: [WatchRemoval.Row] = []
    var scale: WatchScale.Row?
    var scrape: [WatchScrape.Row] = []
    var guestStorms: [WatchGuestStorms.Row] = []
    /// Faults: repairs without a cause, guests that were not repaired, entries that are wrong.
    var complaints: [String] = []

    static func tenths(_ value: Double) -> String {
        let scaled = Int((value * 10).rounded())
        return "\(scaled / 10).\(abs(scaled % 10))"
    }

    /// The results as text for people.
    var text: String {
        var parts: [String] = []
        if !drift.isEmpty {
            let rows = drift.map { row in
                [
                    "\(row.guests)", row.storm == 0 ? "none" : "\(row.storm)/s", row.from,
                ] + row.spread.cells
            }
            parts.append(
                "Thefts repaired: from the theft's notification, and from before its request, to the repair's\n"
                    + TextTable.aligned([["guests", "storm", "from"] + WatchSpread.header] + rows, numbersFrom: 3))
        }
        if !overruns.isEmpty {
            let rows = overruns.map { row in
                [
                    "\(row.rounds)", "\(row.attacks)", "\(row.repairs)", "\(row.missed)", "\(row.overruns)",
                    "\(row.resyncs)",
                ] + row.spread.cells.dropFirst()
            }
            let header = ["rounds", "guests hit", "repairs", "missed", "overruns", "resyncs"]
            parts.append(
                "Forced overruns: from SIGCONT until every guest is right again\n"
                    + TextTable.aligned([header + WatchSpread.header.dropFirst()] + rows, numbersFrom: 0))
        }
        if !removal.isEmpty {
            let rows = removal.map { row in
                [row.method, row.loss, "\(row.removals)", "\(row.void)"]
                    + [row.lostMin, row.lostMedian, row.lostP90, row.lostMax].map { "\($0)" }
                    + ["\(row.neverReachedStandby)"]
            }
            let header = ["keeper", "loss", "n", "void", "min", "median", "p90", "max", "to the burst's end"]
            parts.append(
                "Primary removed at \(removal[0].framesPerSecond) frames a second: frames lost\n"
                    + TextTable.aligned([header] + rows, numbersFrom: 2))
        }
        if let scale { parts.append(scale.text) }
        if !scrape.isEmpty {
            let rows = scrape.map { [$0.what, $0.isLoaded ? "yes" : "no"] + $0.spread.cells + [$0.ratioText] }
            parts.append(
                "Beside \(scrape[0].offeredRequests) scrapes a second (\(scrape[0].servedRequests) served)\n"
                    + TextTable.aligned([["what", "load"] + WatchSpread.header + ["ratio"]] + rows, numbersFrom: 2))
        }
        if !guestStorms.isEmpty { parts.append(stormsText) }
        return parts.joined(separator: "\n\n")
    }

    private var stormsText: String {
        let rows = guestStorms.map { row in
            [
                "\(row.kind)", "\(Int(row.seconds))", "\(row.perSecond)", WatchReport.tenths(row.quietCPUPercent),
                WatchReport.tenths(row.cpuPercent), "\(row.logLines)", "\(row.logBytes)", "\(row.historyEntries)",
                "\(row.grownKB)",
            ]
        }
        let header = [
            "storm", "s", "a second", "CPU % without", "CPU %", "log lines", "bytes", "history", "grown KiB",
        ]
        let repairs = guestStorms.flatMap { row in
            [("none", row.quiet), ("\(row.kind)", row.stormy)].map { [$0.0] + $0.1.cells }
        }
        return "Guests that storm\n" + TextTable.aligned([header] + rows, numbersFrom: 1)
            + "\n\nMeanwhile thefts of another guest's entry, from the theft's notification to the repair's\n"
            + TextTable.aligned([["storm"] + WatchSpread.header] + repairs, numbersFrom: 1)
    }
}
