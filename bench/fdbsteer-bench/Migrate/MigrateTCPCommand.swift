import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench migrate-tcp`.
struct MigrateTCPCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate-tcp",
        abstract: "A TCP bulk transfer to a guest that migrates: throughput over time, longest stall, retransmissions.",
        discussion: """
            The lab is that of \"migrate\" (docs/migration.md); the fabric's peer sends to a sink in the guest, with \
            segmentation offload. Needs root and QEMU; run it from the project's root.
            """)

    @Option(help: "How often, for each method.")
    var migrations = 3
    @Option(help: "Methods, separated by commas.")
    var methods = "kernel-doc,learning,fdbsteerd"
    @Option(help: "Limit of the transfer in Mbit/s; 0: none.")
    var megabits: UInt64 = 100
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    /// One migration.
    struct Row: Encodable {
        let method: String
        let megabitsMean: Double
        let longestStallMs: Double
        /// The time since the first sample.
        let stallBeginMs: Double
        let retransmittedSegments: Int
        let downtimeMs: Double
        /// One value for each 100 ms.
        let megabits: [Double]
    }

    /// The length of a bin, in nanoseconds.
    private static let bin: Int64 = 100_000_000
    /// The time for which the transfer goes on after the last event, in nanoseconds.
    private static let aftermath: Int64 = 1_500_000_000

    func validate() throws {
        guard migrations > 0 else { throw ValidationError("--migrations is at least 1") }
        _ = try chosen
    }

    private var chosen: [MigrationMethod] {
        get throws {
            try methods.split(separator: ",").map { name in
                guard let method = MigrationMethod(rawValue: String(name)) else {
                    let known = MigrationMethod.allCases.map(\.rawValue).joined(separator: ", ")
                    throw ValidationError("--methods \(name): known are \(known)")
                }
                return method
            }
        }
    }

    func run() throws {
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        var shape = try MigrationRig.shape()
        shape.hasSink = true
        let rig = try MigrationRig(
            folder: scratch.path, shape: shape, hosts: try MigrationHosts(), rate: MigrationRig.leastRate,
            guestRate: 100)
        defer { rig.end() }
        try rig.hosts.addPeerAddress()
        var rows: [Row] = []
        for round in 1...migrations {
            for method in try chosen {
                let row = try measure(method, rig)
                rows.append(row)
                print("\(round)/\(migrations) \(method.rawValue): \(MigrateTCPCommand.profile(row.megabits))")
                fflush(nil)
            }
        }
        let table = rows.map { row in
            [
                row.method, "\(row.megabitsMean)", "\(row.longestStallMs)", "\(row.stallBeginMs)", "\(row.downtimeMs)",
                "\(row.retransmittedSegments)",
            ]
        }
        let head = ["method", "Mbit/s mean", "longest stall ms", "began at ms", "guest stopped ms", "retransmitted"]
        print("\n" + TextTable.aligned([head] + table, numbersFrom: 1))
        if let json { try TextFile.write(json: rows, to: json) }
    }

    private func measure(_ method: MigrationMethod, _ rig: MigrationRig) throws -> Row {
        _ = try rig.runningMachine()
        let transfer = try connect(rig)
        let record: MigrationRig.Record
        do { record = try rig.run(.migrate, method) } catch {
            _ = transfer.stop()
            throw error
        }
        let samples = transfer.stop()
        if let failure = record.failure { throw LabError("\(method.rawValue): \(failure)") }
        let last = max(record.events.last?.time ?? 0, record.actions.map(\.end).max() ?? 0)
        let used = samples.filter { $0.time < last + MigrateTCPCommand.aftermath }
        let summary = TransferSummary(used, from: record.start, bin: MigrateTCPCommand.bin)
        func tenths(_ value: Double) -> Double { (value * 10).rounded() / 10 }
        let seconds = Double((used.last?.time ?? record.start) - record.start) / 1e9
        return Row(
            method: method.rawValue, megabitsMean: tenths(seconds > 0 ? Double(summary.bytes) * 8 / 1e6 / seconds : 0),
            longestStallMs: tenths(Double(summary.longestStall) / 1e6),
            stallBeginMs: tenths(Double(max(0, summary.stallBegin - record.start)) / 1e6),
            retransmittedSegments: summary.retransmitted, downtimeMs: tenths(Double(record.downtime) / 1e6),
            megabits: summary.bins.map { tenths(Double($0) * 8 / 1e6 / (Double(MigrateTCPCommand.bin) / 1e9)) })
    }

    /// The sink accepts one client after the other, and may not be ready again yet.
    private func connect(_ rig: MigrationRig) throws -> BulkTransfer {
        let limit = megabits * 1_000_000 / 8
        var failure: LabError?
        for _ in 0..<50 {
            do {
                return try rig.hosts.fabric.run {
                    Handed(
                        try BulkTransfer(
                            to: MigrationGuest(0).ip, port: GuestMachine.sinkPort, bytesPerSecond: limit))
                }.value
            } catch let error as LabError {
                failure = error
                usleep(200_000)
            }
        }
        throw LabError("the guest's sink: \(failure.map { "\($0)" } ?? "")")
    }

    /// Made on one thread, and used on another.
    private struct Handed: @unchecked Sendable {
        let value: BulkTransfer
        init(_ value: BulkTransfer) { self.value = value }
    }

    /// One digit for each 100 ms; 9 is the largest value seen.
    private static func profile(_ bins: [Double]) -> String {
        guard let most = bins.max(), most > 0 else { return "nothing was acknowledged" }
        return bins.map { $0 == 0 ? "." : "\(Int(($0 / most * 9).rounded()))" }.joined()
            + " (\(Int(most)) Mbit/s is 9; a digit each 0.1 s)"
    }
}
