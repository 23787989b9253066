import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench migrate-ends`.
struct MigrateEndsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate-ends",
        abstract:
            "Migrations that are cancelled, and whose QEMUs or daemons are killed: when the guest is reached again.",
        discussion: """
            The lab is that of \"migrate\", with fdbsteerd on both hosts (docs/migration.md). Needs root and QEMU; run it \
            from the project's root.
            """)

    @Option(help: "How often each.")
    var times = 1
    @Option(help: "Frames a second from each of three peers.")
    var rate = 1000
    @Option(help: "Which, separated by commas. Default: all.")
    var ends: String?
    @Flag(help: "What the guest misses is sent again.")
    var replay = false
    @Flag(help: "Exit with 1 when a guest is not reached within 2 s, or when something is left behind.")
    var check = false
    @Flag(help: "Show every event, deed and loss of each.")
    var details = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    /// The results for one kind of end.
    struct Row: Encodable {
        let end: String
        let times: Int
        let void: Int
        let failed: Int
        let lostMedian: Int
        let lostMax: Int
        let steeringLostTotal: Int
        /// The longest time in which the guest ran and could accept frames, and none reached it.
        let unreachedMsMax: Double
        let outageMsMax: Double
        /// The faults on the hosts afterwards.
        let complaints: [String]
    }

    /// The longest time, in milliseconds, for which a guest that can receive may be unreachable.
    private static let longest = 2000.0

    func validate() throws {
        guard times > 0, (100...20_000).contains(rate) else {
            throw ValidationError("--times is at least 1, --rate 100 to 20000")
        }
        _ = try chosen
    }

    private var chosen: [MigrationEnd] {
        get throws {
            try ends?.split(separator: ",").map { name in
                guard let end = MigrationEnd(rawValue: String(name)) else {
                    let known = MigrationEnd.allCases.map(\.rawValue).joined(separator: ", ")
                    throw ValidationError("--ends \(name): known are \(known)")
                }
                return end
            } ?? MigrationEnd.allCases
        }
    }

    func run() throws {
        // The journal is in memory, as in /run.
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        var shape = try MigrationRig.shape()
        shape.hasSink = replay
        let rig = try MigrationRig(
            folder: scratch.path, shape: shape, hosts: try MigrationHosts(), rate: rate, guestRate: 100)
        defer { rig.end() }
        var rows: [Row] = []
        for end in try chosen {
            var records: [MigrationRig.Record] = []
            while records.count(where: { !$0.isVoid }) < times, records.count < times + 5 {
                let record = try rig.run(end, replay ? .fdbsteerdReplay : .fdbsteerd)
                records.append(record)
                let complaints = record.complaints.map { "; \($0)" }.joined()
                print("\(end.rawValue): \(record.failure ?? MigrateCommand.figures(record))\(complaints)")
                if details { print(record.details) }
                fflush(nil)
                if record.failure != nil { break }
            }
            rows.append(row(end, records))
        }
        print("\n" + MigrateEndsCommand.text(rows))
        if let json { try TextFile.write(json: rows, to: json) }
        guard check else { return }
        let complaints = rows.flatMap(MigrateEndsCommand.complaints)
        for complaint in complaints { print(complaint) }
        if !complaints.isEmpty { throw ExitCode(1) }
    }

    private func row(_ end: MigrationEnd, _ records: [MigrationRig.Record]) -> Row {
        let valid = records.filter { $0.failure == nil && !$0.isVoid }
        func milliseconds(_ nanoseconds: Int64?) -> Double { Double(((nanoseconds ?? 0) + 50_000) / 100_000) / 10 }
        let results = valid.flatMap(\.results)
        let lost = Summary.Spread(valid.map { Int64($0.lost) })
        // Frames that one outage loses in different ways count as consecutive.
        let neighbours = 3_000_000_000 / Int64(rate)
        return Row(
            end: end.rawValue, times: valid.count, void: records.count { $0.failure == nil && $0.isVoid },
            failed: records.count { $0.failure != nil }, lostMedian: Int(lost.median), lostMax: Int(lost.maximum),
            steeringLostTotal: results.reduce(0) { $0 + $1.lost(.steering) },
            unreachedMsMax: milliseconds(results.map { $0.longest(.steering, neighbours: neighbours) }.max()),
            outageMsMax: milliseconds(results.map(\.outage).max()), complaints: records.flatMap(\.complaints))
    }

    private static func text(_ rows: [Row]) -> String {
        let table = rows.map { row in
            [
                row.end, "\(row.times)", "\(row.lostMedian)/\(row.lostMax)", "\(row.steeringLostTotal)",
                "\(row.unreachedMsMax)", "\(row.outageMsMax)", "\(row.void)", "\(row.failed)",
                "\(row.complaints.count)",
            ]
        }
        let head = [
            "end", "times", "lost med/max", "steering total", "unreached ms max", "outage ms max", "void", "failed",
            "left behind",
        ]
        return TextTable.aligned([head] + table, numbersFrom: 1)
    }

    private static func complaints(_ row: Row) -> [String] {
        var complaints = row.complaints.map { "FAILED: \(row.end): \($0)" }
        if row.failed > 0 { complaints.append("FAILED: \(row.end): \(row.failed) did not get to their end") }
        if row.times == 0 { complaints.append("FAILED: \(row.end): none that says anything") }
        if row.unreachedMsMax > longest {
            complaints.append("FAILED: \(row.end): the guest was not reached for \(row.unreachedMsMax) ms")
        }
        return complaints
    }
}

extension MigrationResult {
    /// The longest time, in nanoseconds, in which consecutive frames were lost for one reason.
    ///
    /// - Parameter neighbours: frames are consecutive if they were sent at most this many nanoseconds apart.
    func longest(_ kind: LossKind, neighbours: Int64) -> Int64 {
        var longest: Int64 = 0
        var run: ClosedRange<Int64>?
        for span in spans where span.kind == kind {
            if let known = run, span.begin - known.upperBound <= neighbours {
                run = known.lowerBound...max(known.upperBound, span.end)
            } else {
                run = span.begin...span.end
            }
            if let run { longest = max(longest, run.upperBound - run.lowerBound) }
        }
        return longest
    }
}
