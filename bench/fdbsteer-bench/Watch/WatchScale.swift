import Glibc
import Lab
import LossMeter
import System

/// Measures with many guests the cost of the daemon's start, a resync, a scrape, its memory and its idle time.
struct WatchScale {
    /// The result.
    struct Row: Encodable, Sendable {
        let guests: Int
        let entries: Int
        let guestsPerBridge: Int
        /// The time for making the interfaces, in milliseconds: the lab's cost, not fdbsteer's.
        let interfacesMs: Double
        let prepareUs: WatchSpread
        /// The time from the daemon's start until it was ready.
        let startMs: Double
        /// The time that the daemon logs for SIGHUP.
        let resyncUs: WatchSpread
        /// The first page, then pages that are generated again, then pages that are cached.
        let firstScrapeUs: Double
        let freshScrapeUs: WatchSpread
        let scrapeUs: WatchSpread
        let pageBytes: Int
        let residentStartKB: Int
        let proportionalStartKB: Int
        let residentEndKB: Int
        let proportionalEndKB: Int
        let idleSeconds: Double
        /// CPU time divided by wall-clock time, without a scrape or a change.
        let idleCPUPercent: Double
        /// The CPU time for each unrelated change of an entry.
        let stormChanges: Int
        let stormPerSecond: Int
        let cpuNsPerChange: Int

        var text: String {
            func t(_ value: Double) -> String { WatchReport.tenths(value) }
            func spread(_ spread: WatchSpread) -> String {
                "p50 \(t(spread.p50Us)), max \(t(spread.maxUs)) us (n=\(spread.samples))"
            }
            let rows = [
                ["interfaces made", "\(t(interfacesMs)) ms (the lab's own)"], ["prepare, a guest", spread(prepareUs)],
                ["start to ready", "\(t(startMs)) ms"], ["resync", spread(resyncUs)],
                ["scrape, first", "\(t(firstScrapeUs)) us, \(pageBytes) bytes"],
                ["scrape, page made anew", spread(freshScrapeUs)], ["scrape, page at hand", spread(scrapeUs)],
                ["RSS, PSS at the start", "\(residentStartKB), \(proportionalStartKB) kB"],
                ["RSS, PSS at the end", "\(residentEndKB), \(proportionalEndKB) kB"],
                [
                    "CPU, idle",
                    "\(Double(Int(idleCPUPercent * 10_000)) / 10_000) % of a core over \(t(idleSeconds)) s",
                ],
                [
                    "CPU, an unrelated change",
                    "\(cpuNsPerChange) ns (\(stormChanges) changes, \(stormPerSecond) a second)",
                ],
            ]
            return "\(guests) guests, \(entries) entries, \(guestsPerBridge) guests a bridge\n"
                + TextTable.aligned([["figure", "value"]] + rows)
        }
    }

    let guests: Int
    let addresses: Int
    let guestsPerBridge: Int
    let idleSeconds: Int
    let scrapes: Int
    let resyncs: Int
    /// Unrelated changes a second.
    let rate: Int

    private static let stormSeconds: Double = 5

    /// Measures in its own namespace and adds to the report.
    func run(folder: String, into report: inout WatchReport) throws {
        let lab = try WatchLab(guests: guests, addresses: addresses, folder: folder, guestsPerBridge: guestsPerBridge)
        let daemon = try WatchedDaemon(folder: folder, configuration: WatchDrift.configuration)
        defer { daemon.stop() }
        let atStart = daemon.memory()
        let idle = try idleness(daemon)

        let first = try scrape(daemon)
        for number in 1...max(1, resyncs) {
            kill(daemon.process, SIGHUP)
            let end = monotonicNanoseconds() + 30_000_000_000
            while daemon.logged("us", in: "resync reason=reload").count < number, monotonicNanoseconds() < end {
                usleep(2000)
            }
        }
        var fresh: [Int64] = []
        for _ in 0..<20 {
            usleep(210_000)
            fresh.append(try scrape(daemon).nanoseconds)
        }
        var quick: [Int64] = []
        let connection = try HTTPConnection(port: WatchedDaemon.port)
        for _ in 0..<scrapes {
            let begin = monotonicNanoseconds()
            guard connection.request("/metrics"), try connection.answer() != nil else {
                throw LabError("fdbsteerd closed the connection")
            }
            quick.append(monotonicNanoseconds() - begin)
        }
        let (changes, perSecond, cost) = try storm(lab, daemon)
        let atEnd = daemon.memory()
        report.complaints += try WatchDrift.judge(lab, daemon, repairs: 0, what: "\(guests) guests left alone")
        let resync = daemon.logged("us", in: "resync reason=reload").map { $0 * 1000 }
        report.scale = Row(
            guests: guests, entries: guests * addresses, guestsPerBridge: guestsPerBridge,
            interfacesMs: Double(lab.interfacesNanoseconds) / 1e6,
            prepareUs: WatchSpread(lab.prepareNanoseconds), startMs: Double(daemon.startNanoseconds) / 1e6,
            resyncUs: WatchSpread(resync), firstScrapeUs: Double(first.nanoseconds) / 1000,
            freshScrapeUs: WatchSpread(fresh), scrapeUs: WatchSpread(quick), pageBytes: first.bytes,
            residentStartKB: atStart.resident, proportionalStartKB: atStart.proportional,
            residentEndKB: atEnd.resident, proportionalEndKB: atEnd.proportional, idleSeconds: idle.seconds,
            idleCPUPercent: idle.percent, stormChanges: changes, stormPerSecond: perSecond, cpuNsPerChange: cost)
    }

    private func scrape(_ daemon: WatchedDaemon) throws -> (nanoseconds: Int64, bytes: Int) {
        let begin = monotonicNanoseconds()
        let page = try daemon.get("/metrics")
        guard page.status == 200 else { throw LabError("/metrics: \(page.head)") }
        return (monotonicNanoseconds() - begin, page.body.utf8.count)
    }

    private func idleness(_ daemon: WatchedDaemon) throws -> (seconds: Double, percent: Double) {
        guard idleSeconds > 0 else { return (0, 0) }
        let cpu = try daemon.cpuNanoseconds()
        let begin = monotonicNanoseconds()
        sleep(UInt32(idleSeconds))
        let used = try daemon.cpuNanoseconds() - cpu
        let wall = monotonicNanoseconds() - begin
        return (Double(wall) / 1e9, Double(used) / Double(wall) * 100)
    }

    private func storm(_ lab: WatchLab, _ daemon: WatchedDaemon) throws -> (changes: Int, rate: Int, cost: Int) {
        let cpu = try daemon.cpuNanoseconds()
        let storm = try WatchStorm(port: lab.stormPort, rate: rate)
        usleep(UInt32(Self.stormSeconds * 1e6))
        let rate = try storm.stop()
        usleep(300_000)
        let used = try daemon.cpuNanoseconds() - cpu
        return (storm.made, Int(rate), Int(used) / max(1, storm.made))
    }
}
