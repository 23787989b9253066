import FDB
import Glibc
import Lab
import Policy
import Records
import System

/// What a guest that storms costs the daemon, and the repairs of another guest.
struct WatchGuestStorms {
    /// The result for one kind of storm.
    struct Row: Encodable, Sendable {
        let kind: GuestStorm.Kind
        let seconds: Double
        let perSecond: Int
        /// Of one processor, after the first seconds; repairs of the other guest are part of it.
        let cpuPercent: Double
        /// With the same repairs, and no storm.
        let quietCPUPercent: Double
        /// Lines of the log, and entries of the history, about the guests that storm.
        let logLines: Int
        let logBytes: Int
        let historyEntries: Int
        /// What the resident memory has grown by, from before the storm to its end.
        let grownKB: Int
        /// From the theft of the other guest's entry to its repair.
        let quiet: WatchSpread
        let stormy: WatchSpread
        /// How late the bench itself woke up during the storm.
        let lateness: WatchSpread
    }

    /// How long each storm lasts.
    let seconds: Int

    /// What one guest does in a second.
    private static let rate = 100
    /// Budgets are used up by then.
    private static let settling: Double = 5
    /// Guests on the first bridge, and on the second one, whose ports are the far ends of the first one's.
    private static let (storming, other, farSide) = (0, 1, 2)

    private struct Measurement {
        let cpuPercent: Double
        let repairs: [Int64]
        let lateness: [Int64]
        let missed: Int
    }

    /// Measures in its own namespace and adds to the report.
    func run(_ kind: GuestStorm.Kind, folder: String, into report: inout WatchReport) throws {
        let lab = try WatchLab(guests: 4, addresses: 1, folder: folder)
        let (victim, guest) = (lab.guests[Self.other], lab.guests[Self.storming])
        let storm = try GuestStorm(kind, rate: Self.rate, far: "p1x0", mac: "\(guest.addresses[0].mac)")
        defer { storm.stop() }
        let daemon = try WatchedDaemon(
            folder: folder,
            configuration: WatchDrift.configuration + """
                [[guest]]
                id = "\(guest.id)"
                kind = "net_failover"
                qmp = "\(storm.monitorPath)"
                follow = true
                follow_rx_filter = true
                standby_device = "\(GuestStorm.standbyDevice)"
                primary_device = "\(GuestStorm.primaryDevice)"

                """)
        defer { daemon.stop() }
        try wait(10, for: "to=primary") { daemon.log.contains("to=primary") }
        let quiet = try measure(victim, lab, daemon, seconds: max(5, Double(seconds) / 5))
        let (before, memory) = (try doings(lab, daemon), daemon.memory())
        let begin = monotonicNanoseconds()
        storm.isOn = true
        usleep(UInt32(Self.settling * 1e6))
        let stormy = try measure(victim, lab, daemon, seconds: Double(seconds) - Self.settling)
        let (length, made) = (Double(monotonicNanoseconds() - begin) / 1e9, storm.made)
        let after = try doings(lab, daemon)
        let grown = daemon.memory().resident - memory.resident
        storm.isOn = false
        let row = Row(
            kind: kind, seconds: length, perSecond: Int(Double(made) / length), cpuPercent: stormy.cpuPercent,
            quietCPUPercent: quiet.cpuPercent, logLines: after.lines - before.lines,
            logBytes: after.bytes - before.bytes, historyEntries: after.entries - before.entries, grownKB: grown,
            quiet: WatchSpread(quiet.repairs), stormy: WatchSpread(stormy.repairs),
            lateness: WatchSpread(stormy.lateness))
        report.guestStorms.append(row)
        report.complaints += complaints(about: row, missed: quiet.missed + stormy.missed)
        // What was held back is handed over within the longest pause of the budget, 5 s, and the frame that ends it after another.
        do {
            try wait(20, for: "the end") { try lab.wrongEntries().isEmpty }
        } catch {
            report.complaints.append("\(kind): entries that are wrong 20 s after the storm: \(try lab.wrongEntries())")
        }
    }

    private func complaints(about row: Row, missed: Int) -> [String] {
        var complaints: [String] = []
        func expect(_ holds: Bool, _ text: String) {
            if !holds { complaints.append("a storm of \(row.kind): \(text)") }
        }
        expect(missed == 0, "\(missed) thefts of another guest's entry were not repaired")
        expect(row.perSecond >= Self.rate * 9 / 10, "\(row.perSecond) a second were made, \(Self.rate) meant")
        expect(row.cpuPercent < 5, "\(WatchReport.tenths(row.cpuPercent)) % of a processor after the first seconds")
        // Twenty redirections at once, a few while the pauses grow, then one in 5 s; each has its states, its move and its bracket.
        let turns = 30 + Int(row.seconds / 5)
        expect(row.historyEntries <= 4 * turns, "\(row.historyEntries) entries in the history")
        expect(row.logLines <= 10 * turns, "\(row.logLines) lines in the log")
        expect(row.grownKB < 64 << 10, "\(row.grownKB) KiB more memory")
        // A machine that wakes the bench late wakes the daemon late.
        expect(
            row.stormy.p99Us <= 50_000 + row.lateness.p99Us,
            "the other guest's repairs take \(WatchReport.tenths(row.stormy.p99Us)) us at p99")
        return complaints
    }

    /// What log and history say of the guests that storm.
    private func doings(_ lab: WatchLab, _ daemon: WatchedDaemon) throws -> (lines: Int, bytes: Int, entries: Int) {
        let ids = [Self.storming, Self.farSide].map { lab.guests[$0].id }
        let lines = daemon.log.split(separator: "\n").filter { line in
            ids.contains { line.contains("guest=\($0.text)") }
        }
        let entries = try ids.map {
            try HistoryReading.entries(HistoryFilter(guest: $0.text, limit: 1_000_000), in: StateFolder(lab.folder))
                .count
        }
        return (lines.count, lines.reduce(0) { $0 + $1.utf8.count }, entries.reduce(0, +))
    }

    /// Steals the entry of a guest ten times a second.
    private func measure(
        _ victim: WatchLab.Guest, _ lab: WatchLab, _ daemon: WatchedDaemon, seconds: Double
    ) throws -> Measurement {
        let ear = try WatchEar(Set(victim.addresses))
        var (repairs, lateness, missed): ([Int64], [Int64], Int) = ([], [], 0)
        let cpu = try daemon.cpuNanoseconds()
        let begin = monotonicNanoseconds()
        while monotonicNanoseconds() - begin < Int64(seconds * 1e9) {
            let pause = monotonicNanoseconds() + Int64.random(in: 50_000_000..<150_000_000)
            _ = try ear.listen(until: pause) { _ in false }
            lateness.append(max(0, monotonicNanoseconds() - pause))
            if let times = try ear.steal(victim.addresses[0], of: victim, in: lab) {
                repairs.append(times.heard)
            } else {
                missed += 1
            }
        }
        let used = try daemon.cpuNanoseconds() - cpu
        let wall = monotonicNanoseconds() - begin
        return Measurement(
            cpuPercent: Double(used) / Double(wall) * 100, repairs: repairs, lateness: lateness, missed: missed)
    }

    private func wait(_ seconds: Int, for what: String, _ isSo: () throws -> Bool) throws {
        for _ in 0..<(seconds * 100) {
            if try isSo() { return }
            usleep(10_000)
        }
        throw LabError("\(what) did not come within \(seconds) s")
    }
}
