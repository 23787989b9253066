import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench migrate`.
struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract:
            "A guest with a failover pair migrates between two QEMUs: what became of each frame, method by method.",
        discussion: """
            Makes a network namespace for each of two hosts and one for the fabric between them, and starts a small Linux \
            guest (bench/guest) that counts what it gets on each of its NICs. Peers on both hosts and on the fabric send to \
            it all the time. Each lost frame is accounted for (docs/migration.md). Needs root and QEMU; run it from the \
            project's root. Nothing outside its namespaces is touched.
            """)

    @Option(help: "migrate, plug, unplug-pcie, unplug-acpi, refused-pcie, refused-acpi, surprise or cancel.")
    var operation = MigrationOperation.migrate
    @Option(help: "How often, for each method.")
    var migrations = 10
    @Option(help: "Frames a second from each of three peers, 100 to 20000; 0: half of what the guest carries at rest.")
    var rate = 1000
    @Option(help: "Frames a second that the guest itself sends, 1 to 1000: bridges learn from them.")
    var guestRate = 100
    @Option(help: "Methods, separated by commas. Default: all that fit the operation.")
    var methods: String?
    @Option(help: "QEMU's model of the VF: vmxnet3, or e1000e, whose link comes up half a second late.")
    var primary = "vmxnet3"
    @Flag(help: "Exit with 1 when a bracket or the daemons lose a frame by steering, or leave something behind.")
    var check = false
    @Flag(help: "Show every event, deed and loss of each.")
    var details = false
    @Option(name: .long, help: "Write the results as JSON.")
    var json: String?
    @Option(name: .long, help: "Write the timelines as an SVG picture.")
    var svg: String?

    func validate() throws {
        guard migrations > 0, rate == 0 || (100...20_000).contains(rate), (1...1000).contains(guestRate) else {
            throw ValidationError(
                "--migrations is at least 1, --rate 0 or 100 to 20000, --guest-rate goes from 1 to 1000")
        }
        guard ["vmxnet3", "e1000e"].contains(primary) else {
            throw ValidationError("--primary is vmxnet3 or e1000e")
        }
        let methods = try chosen
        guard !check || methods.contains(where: MigrationMethod.checked.contains) else {
            let checked = MigrationMethod.checked.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--check is about \(checked): none is among --methods")
        }
    }

    private var chosen: [MigrationMethod] {
        get throws {
            guard let methods else { return operation.methods }
            return try methods.split(separator: ",").map { name in
                guard let method = operation.methods.first(where: { $0.rawValue == name }) else {
                    let known = operation.methods.map(\.rawValue).joined(separator: ", ")
                    throw ValidationError("--methods \(name): \(operation.rawValue) knows \(known)")
                }
                return method
            }
        }
    }

    func run() throws {
        // The journal is in memory, as in /run.
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        var shape = try MigrationRig.shape(primary: primary)
        shape.usesNativeHotplug = operation.usesNativeHotplug
        let rig = try MigrationRig(
            folder: scratch.path, shape: shape, rate: rate,
            guestRate: guestRate)
        defer { rig.end() }
        let rate = rate == 0 ? try rig.findRate() : rate
        let methods = try chosen
        var records: [MigrationMethod: [MigrationRig.Record]] = [:]
        // The methods alternate, so a busy spell of the machine affects all of them.
        for round in 1...migrations {
            for method in methods {
                // A void migration is repeated, up to five in a row.
                for _ in 0..<5 {
                    let record = try rig.run(operation, method)
                    records[method, default: []].append(record)
                    let figures = MigrateCommand.figures(record)
                    print("\(round)/\(migrations) \(method.rawValue): \(record.failure ?? figures)")
                    if details { print(record.details) }
                    fflush(nil)
                    if !record.isVoid || record.failure != nil { break }
                }
            }
        }
        let report = MigrationReport(self, rate: rate, methods, records)
        let timelines = methods.compactMap { method in
            // The median migration by loss.
            let sorted = (records[method] ?? []).filter { $0.failure == nil && !$0.isVoid }.sorted { $0.lost < $1.lost }
            return sorted.isEmpty ? nil : sorted[(sorted.count - 1) / 2].timeline(method.rawValue)
        }
        for timeline in timelines { print("\n" + timeline.drawn()) }
        print("\n" + report.text)
        if let json { try TextFile.write(json: report, to: json) }
        if let svg {
            let title = "\(operation.rawValue), \(rate) frames a second from each peer, as the fabric's peer sees it"
            try TextFile.write(MigrationChart(timelines, title: title).svg, to: svg)
        }
        guard check else { return }
        let complaints = report.complaints(of: MigrationMethod.checked.map(\.rawValue))
        for complaint in complaints { print(complaint) }
        if !complaints.isEmpty { throw ExitCode(1) }
    }

    static func figures(_ record: MigrationRig.Record) -> String {
        func total(_ kind: LossKind) -> Int { record.results.reduce(0) { $0 + $1.lost(kind) } }
        return "\(record.lost) lost (steering \(total(.steering)), guest gap \(total(.guestGap)), "
            + "blackout \(total(.blackout)))\(record.isVoid ? ", void" : "")"
    }

    /// The folder with the guest's kernel and initramfs, which are built if they are missing.
    static func image() throws -> String {
        let built = try Command.run(["bench/guest/build"])
        guard built.exitCode == 0, let folder = built.output.split(separator: "\n").last else {
            throw LabError("bench/guest/build: \(built.errors)")
        }
        return String(folder)
    }
}
