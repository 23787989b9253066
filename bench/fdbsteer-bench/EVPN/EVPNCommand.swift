import ArgumentParser
import Lab
import LossMeter

/// `fdbsteer-bench evpn`.
struct EVPNCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evpn",
        abstract:
            "A guest goes from one host of an EVPN fabric to another: what its peers lose, and what bgpd says of it.",
        discussion: """
            With --neighbours the guest's IP addresses go along: after what time the other host has their routes.

            Runs FRR's zebra and bgpd (Debian's package frr) and the fdbsteer and fdbsteerd beside this bench, in network and \
            mount namespaces of its own. Needs root. Nothing outside them is touched, but with --neighbours for the kernel's \
            tables of neighbours, which all namespaces share: they are filled until the kernel collects.
            """)

    @Option(help: "Hand-overs of each method.")
    var runs = 10
    @Option(help: "Frames a second from each of two peers, 100 to 10000.")
    var rate = 1000
    @Option(help: "Milliseconds for which bgpd collects changes before it tells them; FRR's default is 1000.")
    var coalesce = 10
    @Option(
        help: """
            Measure the routes of IP addresses (MAC/IP), alone, with so many IPv4 and as many IPv6 neighbours of others, \
            and after the kernel has collected; 1 to 10000.
            """)
    var neighbours: Int?
    @Option(help: "With --neighbours and --check: milliseconds from the target's switch that a route may take.")
    var within = 200
    @Flag(
        help: """
            Exit with 1 when daemons lose more than ten milliseconds of frames beyond what is lost without, a frame is lost after \
            the hosts knew the guest's place, a hand-over is not one move to bgpd (or none, where the source is told first), or the guest is not where the records have it; with --neighbours also when a route comes \
            late or not at all, or a neighbour is not as it is to be.
            """)
    var check = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard runs > 0, (100...10_000).contains(rate), (0...60_000).contains(coalesce), within > 0,
            neighbours.map((1...10_000).contains) ?? true
        else {
            throw ValidationError(
                "--runs and --within are at least 1, --rate goes from 100 to 10000 frames a second, --coalesce from 0 to "
                    + "60000 ms, --neighbours from 1 to 10000")
        }
        guard neighbours == nil || output.html == nil else {
            throw ValidationError("--html shows hand-overs: it is not for --neighbours")
        }
    }

    func run() throws {
        if let obstacle = EVPNLab.obstacle {
            print("SKIPPED: fdbsteer-bench evpn: \(obstacle)")
            return
        }
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        if let neighbours {
            let report = try measure(neighbours, scratch.path)
            print(report.text)
            if let json = output.json { try TextFile.write(json: report, to: json) }
            try judge(report.complaints)
        } else {
            var machine = Machine()
            let report = try measure(scratch.path)
            machine.end()
            print(TextTable.fitted(report.table, numbersFrom: 1, isWide: output.wide))
            try output.write(report, report.page(machine, coalesce: coalesce))
            try judge(report.complaints)
        }
    }

    private func measure(_ scratch: String) throws -> EVPNReport {
        let (runs, rate) = (runs, rate)
        let results = try EVPNLab.run(coalesce: coalesce) { lab in
            let run = try EVPNRun(lab, scratch: scratch, rate: rate)
            try run.run(runs)
            return run.results
        }
        return EVPNReport(results, rate: rate)
    }

    private func measure(_ neighbours: Int, _ scratch: String) throws -> EVPNNeighbourReport {
        let runs = runs
        let results = try EVPNLab.run(coalesce: coalesce) { lab in
            let run = try EVPNNeighbourRun(lab, scratch: scratch, neighbours: neighbours)
            try run.run(runs)
            return run.results
        }
        return EVPNNeighbourReport(results, within: within)
    }

    private func judge(_ complaints: [String]) throws {
        guard check else { return }
        for complaint in complaints { print(complaint) }
        if !complaints.isEmpty { throw ExitCode(1) }
    }
}
