import Lab
import LossMeter

/// The results of the migration bench, as text and as JSON.
struct MigrationReport: Encodable {
    /// The results of one method, for one peer or for all of them.
    struct Row: Encodable {
        let method: String
        /// `all`, or the place of the peer.
        let peer: String
        let migrations: Int
        let void: Int
        let failed: Int
        let sent: Int
        let lostLeast: Int
        let lostMedian: Int
        let lostMax: Int
        let lostTotal: Int
        let steeringLostTotal: Int
        let steeringLostLeast: Int
        let steeringLostMedian: Int
        let steeringLostMax: Int
        let unseenTotal: Int
        let guestGapLostMedian: Int
        let guestGapLostMax: Int
        let blackoutLostMedian: Int
        let blackoutLostMax: Int
        let duplicatedTotal: Int
        let copiedMedian: Int
        /// Frames that left through other guests' ports.
        let strayedTotal: Int
        /// The most memory that was resident in one daemon.
        let residentMiBMax: Double
        let outageMsMedian: Double
        let outageMsMax: Double
        let downtimeMsMedian: Double
        /// The most by which an outage exceeded the time for which the processors were stopped.
        let beyondStopMsMax: Double
        /// Frames that a queue on the target kept while the guest still ran on the source.
        let lateTotal: Int
        let lateMedian: Int
        /// Frames with the guest's MAC that came in by the target's port before the guest was there.
        let earlySentTotal: Int
        /// Those that reached the fabric.
        let earlyLeftTotal: Int
        /// Moves of the guest's MAC from one port of the fabric's bridge to another before the guest was stopped.
        let earlyMovesMedian: Int
        let earlyMovesMax: Int
        /// By phase, and the order.
        let order: MigrationOrderReport
        /// The faults on the hosts afterwards.
        let complaints: [String]
    }

    /// The places of the peers.
    static let peers = ["source host", "target host", "fabric"]

    let operation: String
    let rate: Int
    let guestRate: Int
    let guest: String
    let primary: String
    let early: Int
    let flooding: String
    /// One row for each method, with all three peers' frames together; an outage is that of the worst peer.
    let methods: [Row]
    /// One row for each method and peer.
    let peers: [Row]

    init(
        _ command: MigrateCommand, rate: Int, _ methods: [MigrationMethod],
        _ records: [MigrationMethod: [MigrationRig.Record]]
    ) {
        operation = command.operation.rawValue
        self.rate = rate
        guestRate = command.guestRate
        guest = command.guest.rawValue
        primary = command.primary
        early = command.early
        flooding = command.flooding.rawValue
        self.methods = methods.map { Row($0.rawValue, peer: nil, records[$0] ?? []) }
        peers = methods.flatMap { method in
            MigrationReport.peers.indices.map { Row(method.rawValue, peer: $0, records[method] ?? []) }
        }
    }

    /// The faults that `--check` reports.
    func complaints(of names: [String]) -> [String] {
        let rows = methods.filter { names.contains($0.method) }
        let complaints = MigrationReport.complaints(rows, operation: operation)
        return guest == "pair" ? complaints : complaints + rows.flatMap(MigrationReport.lateness)
    }

    /// The most, in milliseconds, by which the outage of a guest with one port may exceed its blackout.
    private static let grace = 10.0
    /// So many migrations must have been measured before the longest outage is judged: one alone says as much of the machine.
    private static let leastForOutages = 5

    private static func lateness(_ row: Row) -> [String] {
        var faults: [String] = []
        if row.migrations >= leastForOutages, row.beyondStopMsMax > grace {
            faults.append("an outage was \(row.beyondStopMsMax) ms longer than the guest was stopped")
        }
        if row.earlyMovesMax > 0 { faults.append("the MAC moved on the fabric before the guest was stopped") }
        if row.lateTotal > 0 {
            faults.append("\(row.lateTotal) frames waited on the target for a guest that still ran")
        }
        if row.earlyLeftTotal > 0 { faults.append("\(row.earlyLeftTotal) early frames reached the fabric") }
        return faults.map { "FAILED: \(row.method): \($0)" }
    }

    /// The faults in the given rows.
    static func complaints(_ rows: [Row], operation: String) -> [String] {
        rows.compactMap { row in
            if row.migrations == 0 { return "FAILED: \(row.method): no \(operation) that says anything" }
            if row.failed > 0 { return "FAILED: \(row.method): \(row.failed) did not get to their end" }
            // A gate holds QEMU's own announcement back as well: what is lost until the daemon's is bounded by the outage.
            let isGated = row.method == MigrationMethod.fdbsteerdGate.rawValue
            let mayLose = isGated || MigrationOperation(rawValue: operation)?.losesBySteering == true
            if row.steeringLostTotal > 0, !mayLose {
                return "FAILED: \(row.method): \(row.steeringLostTotal) frames lost by steering"
            }
            return row.complaints.isEmpty ? nil : "FAILED: \(row.method): \(row.complaints.joined(separator: "; "))"
        }
    }

    /// The tables, each with a header; what matters least is last.
    var tables: [[[String]]] {
        let tables = [
            MigrationReport.table(methods, first: "method", second: operation),
            [MigrationOrderReport.head] + methods.map { $0.order.line($0.method) },
        ]
        if guest == "pair" { return tables }
        let head = [
            "method", "late med/total", "outage beyond stop ms max", "early sent", "early left", "early moves med/max",
        ]
        let rows = methods.map {
            [
                $0.method, "\($0.lateMedian)/\($0.lateTotal)", "\($0.beyondStopMsMax)", "\($0.earlySentTotal)",
                "\($0.earlyLeftTotal)", "\($0.earlyMovesMedian)/\($0.earlyMovesMax)",
            ]
        }
        return tables + [[head] + rows]
    }

    /// The given rows with a header.
    static func table(_ given: [Row], first: String, second: String) -> [[String]] {
        let head = [
            first, second, "lost med/max", "steering total/max", "guest gap med/max", "outage ms med/max",
            "blackout med/max",
            "stopped ms med", "dup total", "sent", "void", "failed", "daemon MiB max",
        ]
        return [head]
            + given.map { row in
                [
                    row.method, "\(row.migrations)", "\(row.lostMedian)/\(row.lostMax)",
                    "\(row.steeringLostTotal)/\(row.steeringLostMax)",
                    "\(row.guestGapLostMedian)/\(row.guestGapLostMax)",
                    "\(row.outageMsMedian)/\(row.outageMsMax)", "\(row.blackoutLostMedian)/\(row.blackoutLostMax)",
                    "\(row.downtimeMsMedian)", "\(row.duplicatedTotal)", "\(row.sent)", "\(row.void)", "\(row.failed)",
                    "\(row.residentMiBMax)",
                ]
            }
    }
}

extension MigrationReport.Row {
    /// - Parameter peer: nil for all peers together.
    init(_ name: String, peer: Int?, _ records: [MigrationRig.Record]) {
        let complete = records.filter { $0.failure == nil }
        let valid = complete.filter { !$0.isVoid }
        let results = valid.map { record in
            // A peer on host a is as often on the source as on the target.
            let order = record.source == "a" ? [0, 1, 2] : [1, 0, 2]
            return peer.map { [record.results[order[$0]]] } ?? record.results
        }
        func spread(_ value: (MigrationResult) -> Int) -> Summary.Spread {
            Summary.Spread(results.map { Int64($0.reduce(0) { $0 + value($1) }) })
        }
        func milliseconds(_ nanoseconds: Int64) -> Double { Double((nanoseconds + 50_000) / 100_000) / 10 }
        let lost = spread(\.lost)
        let steering = spread { $0.lost(.steering) }
        let gap = spread { $0.lost(.guestGap) }
        let blackout = spread { $0.lost(.blackout) }
        let outages = results.map { $0.map(\.outage).max() ?? 0 }
        let outage = Summary.Spread(outages)
        let late = spread(\.late)
        let moves = Summary.Spread(valid.map { Int64($0.earlyMoves) })
        self.init(
            method: name, peer: peer.map { MigrationReport.peers[$0] } ?? "all", migrations: valid.count,
            void: complete.count - valid.count, failed: records.count - complete.count,
            sent: Int(spread(\.sent).total), lostLeast: Int(lost.minimum), lostMedian: Int(lost.median),
            lostMax: Int(lost.maximum),
            lostTotal: Int(lost.total), steeringLostTotal: Int(steering.total),
            steeringLostLeast: Int(steering.minimum), steeringLostMedian: Int(steering.median),
            steeringLostMax: Int(steering.maximum),
            unseenTotal: Int(spread(\.unseen).total), guestGapLostMedian: Int(gap.median),
            guestGapLostMax: Int(gap.maximum), blackoutLostMedian: Int(blackout.median),
            blackoutLostMax: Int(blackout.maximum), duplicatedTotal: Int(spread(\.duplicated).total),
            copiedMedian: Int(spread(\.copied).median), strayedTotal: records.reduce(0) { $0 + $1.strayed },
            residentMiBMax: Double((records.map(\.residentAtMost).max() ?? 0) * 10 / 1024) / 10,
            outageMsMedian: milliseconds(outage.median),
            outageMsMax: milliseconds(outage.maximum),
            downtimeMsMedian: milliseconds(Summary.Spread(valid.map(\.downtime)).median),
            beyondStopMsMax: milliseconds(zip(outages, valid).map { $0 - $1.downtime }.max() ?? 0),
            lateTotal: Int(late.total), lateMedian: Int(late.median),
            earlySentTotal: valid.reduce(0) { $0 + $1.fabric.sent },
            earlyLeftTotal: valid.reduce(0) { $0 + $1.earlyLeft }, earlyMovesMedian: Int(moves.median),
            earlyMovesMax: Int(moves.maximum), order: MigrationOrderReport(results),
            complaints: records.flatMap(\.complaints))
    }
}

extension MigrationRig.Record {
    /// If a sender is later than this, in nanoseconds, the machine was too busy for the tester.
    private static let greatestLag: Int64 = 50_000_000

    /// The tester itself lost frames, or sent them too late, or the emulator did not keep up while the guest ran: the figures
    /// have no meaning. Early frames fill the target's tap, and that is part of what they cost.
    var isVoid: Bool {
        drops != 0 || lag > MigrationRig.Record.greatestLag
            || (overflow > 0 && fabric.sent == 0 && results.contains { $0.unseen > 0 })
    }

    /// Moves of the guest's MAC on the fabric before the guest was stopped.
    var earlyMoves: Int { fabric.moves.count { $0 < stop ?? .max } }

    /// Early frames that reached the fabric before the guest ran on the target; the last ones are sent a moment after.
    var earlyLeft: Int { fabric.left.count { $0 < handover ?? .max } }

    /// Frames lost by all peers.
    var lost: Int { results.reduce(0) { $0 + $1.lost } }

    /// The timeline of the peer on the fabric.
    func timeline(_ title: String) -> MigrationTimeline {
        func place(_ host: String) -> String { host == source ? "source" : "target" }
        let happened = events.filter { $0.name != "MIGRATION_PASS" && $0.name != "NIC_RX_FILTER_CHANGED" }.filter {
            $0.time >= start
        }.map { MigrationTimeline.Mark(time: $0.time, words: "\(place($0.host)): \($0.words)", isDeed: false) }
        let done = actions.filter { $0.begin >= start }.map {
            let deed = $0.words.replacing(MigrationGuest(0).mac, with: "MAC")
            let words = "\(place($0.host)): \(deed)\($0.failure.map { " FAILED: \($0)" } ?? "")"
            return MigrationTimeline.Mark(time: $0.begin, words: words, isDeed: true)
        }
        return MigrationTimeline(
            title: title, recording: recordings[2], result: results[2], marks: happened + done)
    }

    /// What was asked, answered, kept and sent again; nil where nothing was.
    var picture: ReplayPicture? {
        func marks(_ isSource: Bool) -> [MigrationTimeline.Mark] {
            events.filter { $0.time >= start && ($0.host == source) == isSource }.filter {
                $0.name != "MIGRATION_PASS" && $0.name != "NIC_RX_FILTER_CHANGED"
            }.map { MigrationTimeline.Mark(time: $0.time, words: $0.words, isDeed: false) }
        }
        let stopped = stop.flatMap { stop in handover.map { stop...max(stop, $0) } }
        return ReplayPicture(recordings, signals, source: marks(true), target: marks(false), stopped: stopped)
    }

    /// All details, for finding a cause.
    var details: String {
        func after(_ time: Int64) -> String { "\((time - start) / 1000)" }
        var lines = ["  tester: \(drops) dropped, late by \(lag / 1000) us at most, taps dropped \(overflow)"]
        lines += events.map { "  \(after($0.time)) us \($0.host): \($0.words)" }
        lines += actions.map {
            "  \(after($0.begin)) us + \(($0.end - $0.begin) / 1000) \($0.host): \($0.words) \($0.failure ?? "")"
        }
        let day: Int64 = 86_400_000_000_000
        lines += logs.sorted { $0.time < $1.time }.map {
            "  \(($0.time - start % day) / 1000) us \($0.host): fdbsteerd: \($0.text)"
        }
        lines += fabric.moves.map { "  \(after($0)) us fabric: the MAC moved" }
        lines += complaints.map { "  AFTERWARDS: \($0)" }
        lines += notes.map { "  guest \($0.time / 1000) us \($0.newest) \($0.text)" }
        for (peer, result) in zip(["a", "b", "fabric"], results) {
            lines.append(
                "  peer \(peer): \(result.sent) sent, \(result.lost) lost, \(result.duplicated) duplicated, "
                    + "\(result.copied) copied, outage \(result.outage / 1000) us")
            lines += result.spans.map {
                "    \($0.kind.rawValue) \(after($0.begin)) to \(after($0.end)) us: \($0.count), "
                    + "ports \($0.served.rawValue), guest \($0.marks.rawValue)"
            }
        }
        return lines.joined(separator: "\n")
    }
}
