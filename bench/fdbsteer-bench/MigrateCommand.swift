import ArgumentParser
import Glibc
import Lab
import LossMeter

/// `fdbsteer-bench migrate`.
struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "A guest with a failover pair migrates between two QEMUs: what became of each frame, method by method.",
        discussion: """
            Makes a namespace for each of two hosts and one for the fabric between them, and starts a small Linux guest \
            (bench/guest) that counts what it gets. Needs root; run it from the project's root.
            """)

    @Option(help: "Migrations of each method.")
    var migrations = 10
    @Option(help: "Frames a second from each of three peers, 100 to 20000.")
    var rate = 1000
    @Option(help: "Methods, separated by commas. Default: all.")
    var methods: String?
    @Option(help: "QEMU's model of the VF: e1000e or vmxnet3.")
    var primary = "vmxnet3"
    @Option(name: .long, help: "Write the results as JSON.")
    var json: String?

    func run() throws {
        let scratch = try Scratch(parent: "/tmp")
        defer { _ = try? Command.run(["rm", "-rf", scratch.path]) }
        let built = try Command.run(["bench/guest/build"])
        guard built.exitCode == 0 else { throw LabError("bench/guest/build: \(built.errors)") }
        let image = built.output.split(separator: "\n").last.map(String.init) ?? ""
        let chosen = try methods.map { list in
            try list.split(separator: ",").map { name in
                guard let method = MigrationMethod(rawValue: String(name)) else { throw LabError("no method \(name)") }
                return method
            }
        }
        var shape = GuestMachine.Shape(image: image)
        shape.primaryModel = primary
        let rig = try MigrationRig(
            folder: scratch.path, shape: shape, fdbsteer: ".build/debug/fdbsteer", rate: rate)
        defer { rig.end() }
        for _ in 0..<migrations {
            for method in chosen ?? MigrationMethod.allCases {
                let record = try rig.migrate(method)
                print("== \(method.rawValue) \(record.source) -> \(record.target ?? "") void \(record.isVoid) \(record.failure ?? "")")
                for event in record.events { print("  \((event.time - record.start) / 1000) us \(event.host) \(event.words)") }
                for action in record.actions {
                    print("  \((action.begin - record.start) / 1000) us + \((action.end - action.begin) / 1000) \(action.host) \(action.words) \(action.failure ?? "")")
                }
                for note in record.notes { print("  guest \(note.time / 1000) us \(note.newest) \(note.text)") }
                for result in record.results {
                    print("  sent \(result.sent) delivered \(result.delivered) steering \(result.lost(.steering)) gap \(result.lost(.guestGap)) blackout \(result.lost(.blackout)) unseen \(result.unseen) dup \(result.duplicated) copied \(result.copied) outage \(result.outage / 1000)")
                    for span in result.spans {
                        print("     \(span.kind.rawValue) \((span.begin - record.start) / 1000) .. \((span.end - record.start) / 1000) us: \(span.count) served \(span.served.rawValue) marks \(span.marks.rawValue)")
                    }
                }
            }
        }
    }
}
