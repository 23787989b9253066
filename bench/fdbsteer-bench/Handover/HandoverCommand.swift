import ArgumentParser
import Lab
import LossMeter

/// `fdbsteer-bench handover`.
struct HandoverCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "handover",
        abstract: "A guest goes from one host to another: what each of its peers loses, method by method.",
        discussion: """
            Runs in a network namespace of its own: a bridge for each host, a third that joins them and learns, and peers \
            on both hosts and between them that send to the guest all the time. Needs root. Nothing outside the namespace \
            is touched.
            """)

    @Option(help: "Hand-overs of each method for each flood setting.")
    var handovers = 10
    @Option(help: "Frames a second from each of three peers, 100 to 10000.")
    var rate = 2000
    @Flag(help: "Measure fdbsteer in every order of the target's switch, the announcement and the source's switch.")
    var orders = false
    @Flag(
        help: """
            Exit with 1 when fdbsteer loses a frame that was not under way between the moment at which the guest runs on \
            the target and that at which the bridges between the peer and the guest know it.
            """)
    var check = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    func validate() throws {
        guard handovers > 0, (100...10_000).contains(rate) else {
            throw ValidationError("--handovers is at least 1, --rate goes from 100 to 10000 frames a second")
        }
    }

    func run() throws {
        let command = self
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        let source = try TemporaryFolder(parent: scratch.path)
        let target = try TemporaryFolder(parent: scratch.path)
        let methods = orders ? [.fdbsteer] + HandoverMethod.orders : HandoverMethod.compared
        let folders = (source.path, target.path)
        let results = try Namespace.run {
            let run = HandoverRun(
                try HandoverLab(source: folders.0, target: folders.1), methods: methods, handovers: command.handovers,
                rate: command.rate)
            try run.run()
            return run.results
        }
        let report = HandoverReport(methods: methods, results: results)
        print(report.text)
        if let json {
            try TextFile.write(json: report, to: json)
        }
        guard check else { return }
        for complaint in report.complaints { print(complaint) }
        if !report.complaints.isEmpty { throw ExitCode(1) }
    }
}
