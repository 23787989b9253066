import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench migrate`.
struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract:
            "A guest with a failover pair, or with one port, migrates between two QEMUs: what became of each frame, by method.",
        discussion: """
            Makes a network namespace for each of two hosts and one for the fabric between them, and starts a small Linux \
            guest (bench/guest) that counts what it gets on each of its NICs. Peers on both hosts and on the fabric send to \
            it all the time. Each lost frame is accounted for (docs/migration.md, docs/one-port.md). Needs root and QEMU; run it from the \
            project's root. Nothing outside its namespaces is touched.
            """)

    @Option(help: "pair: virtio-net and a VF; port: virtio-net alone, and only migrate and cancel.")
    var guest = Guest.pair
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
    @Option(
        help:
            "Frames a second with the MAC of a guest with one port that come in by its port on the target until it runs there."
    )
    var early = 0
    @Option(help: "on or off: the bridges send frames for unknown addresses to all ports.")
    var flooding = Flooding.on
    @Flag(help: "The guest answers no questions.")
    var mute = false
    @Flag(help: "Exit with 1 when a bracket or the daemons lose a frame by steering, or leave something behind.")
    var check = false
    @Flag(help: "Show every event, deed and loss of each.")
    var details = false
    @OptionGroup var output: OutputOptions

    enum Guest: String, ExpressibleByArgument { case pair, port }
    enum Flooding: String, ExpressibleByArgument { case on, off }

    func validate() throws {
        guard migrations > 0, rate == 0 || (100...20_000).contains(rate), (1...1000).contains(guestRate) else {
            throw ValidationError(
                "--migrations is at least 1, --rate 0 or 100 to 20000, --guest-rate goes from 1 to 1000")
        }
        guard ["vmxnet3", "e1000e"].contains(primary) else {
            throw ValidationError("--primary is vmxnet3 or e1000e")
        }
        guard (0...1000).contains(early), early == 0 || guest == .port else {
            throw ValidationError("--early goes from 0 to 1000, and is for --guest port")
        }
        guard !known.isEmpty else {
            throw ValidationError("--operation \(operation.rawValue): a guest with one port knows migrate and cancel")
        }
        let methods = try chosen
        guard !check || methods.contains(where: checked.contains) else {
            let checked = checked.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--check is about \(checked): none is among --methods")
        }
    }

    private var known: [MigrationMethod] { guest == .pair ? operation.methods : operation.methodsForPorts }

    /// A port that speaks too early costs frames that only a gate saves.
    private var checked: [MigrationMethod] { early == 0 ? MigrationMethod.checked : [.fdbsteerdGate] }

    private var chosen: [MigrationMethod] {
        get throws {
            guard let methods else { return known }
            return try methods.split(separator: ",").map { name in
                guard let method = known.first(where: { $0.rawValue == name }) else {
                    let known = known.map(\.rawValue).joined(separator: ", ")
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
        shape.hasSink = !mute
        let rig = try MigrationRig(
            folder: scratch.path, shape: shape,
            hosts: try MigrationHosts(arePairs: guest == .pair, floodsUnknown: flooding == .on), rate: rate,
            guestRate: guestRate, earlyRate: early)
        defer { rig.end() }
        let rate = rate == 0 ? try rig.findRate() : rate
        let methods = try chosen
        var machine = Machine()
        var records: [MigrationMethod: [MigrationRig.Record]] = [:]
        // The methods alternate, so a busy spell of the machine affects all of them.
        for round in 1...migrations {
            for method in methods {
                // A void migration is repeated, up to five in a row.
                for _ in 0..<5 {
                    let record = try rig.run(operation, method)
                    records[method, default: []].append(record)
                    let figures = MigrateCommand.figures(record)
                    Progress.say("\(round)/\(migrations) \(method.rawValue): \(record.failure ?? figures)")
                    if details { print(record.details) }
                    if !record.isVoid || record.failure != nil { break }
                }
            }
        }
        let report = MigrationReport(self, rate: rate, methods, records)
        func median(_ method: MigrationMethod) -> MigrationRig.Record? {
            let sorted = (records[method] ?? []).filter { $0.failure == nil && !$0.isVoid }.sorted { $0.lost < $1.lost }
            return sorted.isEmpty ? nil : sorted[(sorted.count - 1) / 2]
        }
        let timelines = methods.compactMap { method in median(method)?.timeline(method.rawValue) }
        machine.end()
        for timeline in timelines { print("\n" + timeline.drawn()) }
        for table in report.tables {
            print("\n" + TextTable.fitted(table, numbersFrom: 1, isWide: output.wide))
        }
        try output.write(report, report.page(machine, timelines, median(.fdbsteerdReplay)?.picture))
        guard check else { return }
        let complaints = report.complaints(of: checked.map(\.rawValue))
        for complaint in complaints { print(complaint) }
        if !complaints.isEmpty { throw ExitCode(1) }
    }

    static func figures(_ record: MigrationRig.Record) -> String {
        func total(_ kind: LossKind) -> Int { record.results.reduce(0) { $0 + $1.lost(kind) } }
        func phases(_ value: (PhaseCount) -> Int) -> String {
            MigrationPhase.allCases.map { phase in "\(record.results.reduce(0) { $0 + value($1.phases[phase]) })" }
                .joined(separator: "/")
        }
        return "\(record.lost) lost (steering \(total(.steering)), guest gap \(total(.guestGap)), "
            + "blackout \(total(.blackout))); by phase lost \(phases(\.lost)), doubled \(phases(\.doubled)), "
            + "late \(phases(\.late)); overtakers \(record.results.map { "\($0.overtakers)" }.joined(separator: "/"))"
            + (record.isVoid ? ", void" : "")
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
