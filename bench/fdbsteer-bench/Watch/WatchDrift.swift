import Controller
import FDB
import Glibc
import Lab
import System

/// The time until a stolen entry is restored, with and without a storm of unrelated changes.
struct WatchDrift {
    /// One line of the result.
    struct Row: Encodable, Sendable {
        let guests: Int
        /// The achieved number of unrelated changes a second; 0 for none.
        let storm: Int
        /// The start of the time: the notification of the theft, or just before its request.
        let from: String
        let spread: WatchSpread
    }

    /// The number of thefts with a storm, and without.
    let thefts: Int
    /// Unrelated changes a second.
    let rate: Int

    /// A configuration that does not slow down after thousands of thefts.
    static let configuration = """
        [daemon]
        repair_burst = 1000
        repair_backoff_initial = "10ms"
        repair_backoff_limit = "10ms"
        [log]
        level = "info"

        """

    private struct Series {
        var heard: [Int64] = []
        var sent: [Int64] = []
        var rates: [Double] = []
    }

    /// Measures in its own namespace and adds to the report.
    func run(guests count: Int, folder: String, into report: inout WatchReport) throws {
        let lab = try WatchLab(guests: count, addresses: 1, folder: folder)
        let daemon = try WatchedDaemon(folder: folder, configuration: Self.configuration)
        defer { daemon.stop() }
        var series = [Series(), Series()]
        var missed = 0
        let blocks = min(10, thefts)
        for block in 0..<blocks {
            let share = thefts * (block + 1) / blocks - thefts * block / blocks
            for storm in 0..<2 {
                missed += try steal(share, from: lab, storm: storm == 1, into: &series[storm])
            }
        }
        let made = 2 * thefts
        for (number, series) in series.enumerated() {
            let rate = number == 0 ? 0 : Int(series.rates.reduce(0, +) / Double(max(1, series.rates.count)))
            for (from, values) in [("notification", series.heard), ("before the request", series.sent)] {
                report.drift.append(Row(guests: count, storm: rate, from: from, spread: WatchSpread(values)))
            }
        }
        let what = "\(count) guests, \(made) thefts"
        if missed > 0 { report.complaints.append("\(what): \(missed) were not repaired") }
        report.complaints += try Self.judge(lab, daemon, repairs: made - missed, what: what)
    }

    /// - Returns: the number of thefts that were not repaired.
    private func steal(_ count: Int, from lab: WatchLab, storm: Bool, into series: inout Series) throws -> Int {
        var owners: [Address: Int32] = [:]
        for guest in lab.guests { for address in guest.addresses { owners[address] = guest.primary } }
        let ear = try WatchEar(Set(owners.keys))
        let running = storm ? try WatchStorm(port: lab.stormPort, rate: rate) : nil
        var missed = 0
        for _ in 0..<count {
            // Random moments, so the thefts are not in step with any timer.
            let pause = monotonicNanoseconds() + Int64.random(in: 1_000_000..<15_000_000)
            _ = try ear.listen(until: pause) { _ in false }
            guard let guest = lab.guests.randomElement(), let address = guest.addresses.randomElement() else { break }
            if let times = try ear.steal(address, of: guest, in: lab) {
                series.heard.append(times.heard)
                series.sent.append(times.sent)
            } else {
                missed += 1
            }
        }
        if let running { series.rates.append(try running.stop()) }
        return missed
    }

    /// Compares counters, history and table with the expected values.
    static func judge(
        _ lab: WatchLab, _ daemon: WatchedDaemon, repairs: Int, what: String
    ) throws -> [String] {
        // The last repair is recorded after the notification of its entry, and the page may have been cached just before.
        usleep(UInt32(MetricsPage.lifetime / 1000) + 300_000)
        let samples = try daemon.metrics()
        var complaints: [String] = []
        func expect(_ number: Int, _ expected: Int, _ name: String) {
            if number != expected { complaints.append("\(what): \(name): \(number), expected \(expected)") }
        }
        let counted = samples.filter { $0.key.hasPrefix("fdbsteer_drift_repairs_total{") }.values.reduce(0, +)
        expect(Int(counted), repairs, "repairs counted")
        expect(try lab.repairs(), repairs, "repairs in the history")
        for name in ["drift_failures", "drift_backoffs", "departures", "primary_losses"] {
            expect(Int(samples["fdbsteer_\(name)_total"] ?? -1), 0, name)
        }
        expect(try lab.wrongEntries().count, 0, "entries that are wrong at the end")
        return complaints
    }
}

/// Notifications are lost while the daemon is stopped: measures what it finds afterwards.
struct WatchOverruns {
    /// The result.
    struct Row: Encodable, Sendable {
        let rounds: Int
        /// Guests that had an entry removed or moved, over all rounds.
        let attacks: Int
        /// The repairs in the history.
        let repairs: Int
        /// Guests that were not repaired in time.
        let missed: Int
        /// The overruns as the daemon counts them.
        let overruns: Int
        let resyncs: Int
        /// The time from SIGCONT until every entry is right.
        let spread: WatchSpread
    }

    let rounds: Int
    /// Unrelated changes a second, before, during and after the stop.
    let rate: Int

    private static let guests = 40
    private static let addresses = 4
    /// The size in bytes; the kernel doubles it, and a notification takes 832 bytes.
    private static let buffer = 256 << 10
    private static let patience: Int64 = 10_000_000_000

    /// Measures in its own namespace and adds to the report.
    func run(folder: String, into report: inout WatchReport) throws {
        let lab = try WatchLab(guests: Self.guests, addresses: Self.addresses, folder: folder)
        let configuration = WatchDrift.configuration.replacing(
            "[daemon]\n", with: "[daemon]\nreceive_buffer = \(Self.buffer)\n")
        let daemon = try WatchedDaemon(folder: folder, configuration: configuration)
        defer { daemon.stop() }
        let storm = try WatchStorm(port: lab.stormPort, rate: rate)
        var times: [Int64] = []
        var attacks = 0
        var missed = 0
        for _ in 0..<rounds {
            usleep(300_000)
            kill(daemon.process, SIGSTOP)
            attacks += try attack(lab, during: storm)
            kill(daemon.process, SIGCONT)
            let begin = monotonicNanoseconds()
            var wrong = try lab.wrongEntries().count
            while wrong > 0, monotonicNanoseconds() - begin < Self.patience {
                usleep(500)
                wrong = try lab.wrongEntries().count
            }
            times.append(monotonicNanoseconds() - begin)
            missed += wrong
        }
        try storm.stop()
        let what = "\(rounds) forced overruns"
        if missed > 0 { report.complaints.append("\(what): \(missed) entries were not put back") }
        report.complaints += try WatchDrift.judge(lab, daemon, repairs: attacks, what: what)
        let samples = try daemon.metrics()
        let overruns = Int(samples["fdbsteer_netlink_overruns_total"] ?? 0)
        let resyncs = Int(samples["fdbsteer_resyncs_total{reason=\"overrun\"}"] ?? 0)
        if overruns < rounds { report.complaints.append("\(what): only \(overruns) were counted") }
        if resyncs < rounds { report.complaints.append("\(what): only \(resyncs) resyncs were counted") }
        report.overruns.append(
            Row(
                rounds: rounds, attacks: attacks, repairs: try lab.repairs(), missed: missed, overruns: overruns,
                resyncs: resyncs, spread: WatchSpread(times)))
    }

    /// Steals and deletes entries of half of the guests, spread over a storm of twice the size of the buffer.
    ///
    /// - Returns: the number of affected guests.
    private func attack(_ lab: WatchLab, during storm: WatchStorm) throws -> Int {
        let victims = lab.guests.shuffled().prefix(lab.guests.count / 2)
        let changes = 2 * (2 * Self.buffer / 832)
        let first = storm.made
        for (number, guest) in victims.enumerated() {
            while storm.made - first < changes * number / victims.count { usleep(200) }
            // One or several addresses, some of them twice.
            for address in guest.addresses.shuffled().prefix(Int.random(in: 1...guest.addresses.count)) {
                if Bool.random() { try lab.steal(guest, address) } else { try lab.delete(guest, address) }
            }
        }
        while storm.made - first < changes { usleep(200) }
        return victims.count
    }
}

extension String {
    /// With the first occurrence of a text replaced by another.
    fileprivate func replacing(_ text: String, with other: String) -> String {
        guard hasPrefix(text) else { return self }
        return other + dropFirst(text.count)
    }
}
