import ArgumentParser
import Lab

/// `fdbsteer-bench evpn`.
struct EVPNCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evpn",
        abstract:
            "A guest goes from one host of an EVPN fabric to another: what its peers lose, and what bgpd says of it.",
        discussion: """
            Runs FRR's zebra and bgpd (Debian's package frr) and the fdbsteer and fdbsteerd beside this bench, in network and \
            mount namespaces of its own. Needs root. Nothing outside them is touched.
            """)

    @Option(help: "Hand-overs of each method.")
    var runs = 10
    @Option(help: "Frames a second from each of two peers, 100 to 10000.")
    var rate = 1000
    @Option(help: "Milliseconds for which bgpd collects changes before it tells them; FRR's default is 1000.")
    var coalesce = 10
    @Flag(
        help: """
            Exit with 1 when daemons lose more than ten milliseconds of frames beyond what is lost without, a frame is lost after \
            the hosts knew the guest's place, a hand-over is not one move to bgpd (or none, where the source is told first), or the guest is not where the records have it.
            """)
    var check = false
    @Option(name: .long, help: "Write the results as JSON.")
    var json: String?

    func validate() throws {
        guard runs > 0, (100...10_000).contains(rate), (0...60_000).contains(coalesce) else {
            throw ValidationError(
                "--runs is at least 1, --rate goes from 100 to 10000 frames a second, --coalesce from 0 to 60000 ms")
        }
    }

    func run() throws {
        if let obstacle = EVPNLab.obstacle {
            print("SKIPPED: fdbsteer-bench evpn: \(obstacle)")
            return
        }
        let command = self
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        let results = try EVPNLab.run(coalesce: coalesce) { lab in
            let run = try EVPNRun(lab, scratch: scratch.path, rate: command.rate)
            try run.run(command.runs)
            return run.results
        }
        let report = EVPNReport(results, rate: rate)
        print(report.text)
        if let json { try TextFile.write(json: report, to: json) }
        guard check else { return }
        for complaint in report.complaints { print(complaint) }
        if !report.complaints.isEmpty { throw ExitCode(1) }
    }
}
