import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench migrate-many`.
struct MigrateManyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate-many",
        abstract: "Many guests migrate at once, one fdbsteerd a host: what each loses, beside one that migrates alone.",
        discussion: """
            The lab is that of \"migrate\", with a pair of taps on each host and a QEMU for each guest, and peers that send \
            to all guests all the time (docs/migration.md). In each round one guest migrates while the others stay, then \
            all of them at once. A frame that leaves by another guest's port is counted as cross-talk. Needs root, QEMU, \
            and 200 MB of memory a QEMU; run it from the project's root.
            """)

    @Option(help: "How many guests, 2 to 20.")
    var guests = 10
    @Option(help: "How many rounds.")
    var rounds = 2
    @Option(help: "Frames a second from each of three peers to each guest, 10 to 1000.")
    var rate = 100
    @Option(help: "Frames a second that each guest itself sends, 1 to 1000.")
    var guestRate = 10
    @Flag(help: "What the guests miss is sent again.")
    var replay = false
    @Flag(help: "The guests answer no questions; with --replay only what they miss while stopped is sent again.")
    var mute = false
    @Flag(help: "Exit with 1 on cross-talk, on a frame lost by steering, or when something is left behind.")
    var check = false
    @Flag(help: "Show every event, deed and loss of each guest that migrates.")
    var details = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    /// The activity of a guest during the measurement.
    private enum Part: String, CaseIterable {
        case staying = "stays while one migrates"
        case alone = "migrates alone"
        case together = "migrates with all others"
    }

    /// The output of `--json`.
    private struct Report: Encodable {
        let guests: Int
        let rate: Int
        let guestRate: Int
        let replay: Bool
        /// One row for each part, for all guests together; medians and maxima are those of single guests.
        let parts: [MigrationReport.Row]
    }

    func validate() throws {
        guard (2...20).contains(guests), rounds > 0, (10...1000).contains(rate), (1...1000).contains(guestRate) else {
            throw ValidationError(
                "--guests goes from 2 to 20, --rounds is at least 1, --rate goes from 10 to 1000, --guest-rate from 1 to 1000"
            )
        }
    }

    func run() throws {
        // The journal is in memory, as in /run.
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        var shape = try MigrationRig.shape()
        shape.hasSink = replay && !mute
        let method: MigrationMethod = replay ? .fdbsteerdReplay : .fdbsteerd
        let rig = try MigrationRig(
            folder: scratch.path, shape: shape, hosts: try MigrationHosts(guests: guests), rate: rate,
            guestRate: guestRate)
        defer { rig.end() }
        var records: [Part: [MigrationRig.Record]] = [:]
        for round in 0..<rounds {
            let one = round % guests
            for (guest, record) in try rig.migrate([one], method).enumerated() {
                let part = guest == one ? Part.alone : .staying
                records[part, default: []].append(record)
                show(record, guest, part, round)
            }
            for (guest, record) in try rig.migrate(Set(0..<guests), method).enumerated() {
                records[.together, default: []].append(record)
                show(record, guest, .together, round)
            }
        }
        let rows = Part.allCases.map { MigrationReport.Row($0.rawValue, peer: nil, records[$0] ?? []) }
        for table in [
            MigrationReport.table(rows, first: "guest", second: "times"),
            [MigrationOrderReport.head] + rows.map { $0.order.line($0.method) },
        ] {
            print("\n" + TextTable.aligned(table, numbersFrom: 1))
        }
        print("\nframes of one guest by a port of another: \(rows.reduce(0) { $0 + $1.strayedTotal })")
        if let json {
            let report = Report(guests: guests, rate: rate, guestRate: guestRate, replay: replay, parts: rows)
            try TextFile.write(json: report, to: json)
        }
        guard check else { return }
        let complaints = MigrateManyCommand.complaints(rows)
        for complaint in complaints { print(complaint) }
        if !complaints.isEmpty { throw ExitCode(1) }
    }

    private func show(_ record: MigrationRig.Record, _ guest: Int, _ part: Part, _ round: Int) {
        let complaints = record.complaints.map { "; \($0)" }.joined()
        let strayed = record.strayed == 0 ? "" : ", \(record.strayed) strayed"
        let figures = record.failure ?? MigrateCommand.figures(record)
        print("\(round + 1)/\(rounds) guest \(guest) \(part.rawValue): \(figures)\(strayed)\(complaints)")
        if details, part != .staying { print(record.details) }
        fflush(nil)
    }

    private static func complaints(_ rows: [MigrationReport.Row]) -> [String] {
        MigrationReport.complaints(rows, operation: "migration")
            + rows.filter { $0.strayedTotal > 0 }.map {
                "FAILED: \($0.method): \($0.strayedTotal) frames left by a port of another guest"
            }
    }
}
