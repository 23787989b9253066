import ArgumentParser
import Controller
import FDB
import Glibc
import Lab
import Policy
import Switchdev

/// `fdbsteer-bench macfilter`.
struct MACFilterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "macfilter",
        abstract: "What an SR-IOV NIC in legacy mode does with a guest's frames, and what a redirection there loses.",
        discussion: """
            Boots the lab VM with an emulated Intel 82576 (scripts/lab-vm run --igb), probes its MAC filters, and moves a \
            guest between VF and standby under traffic: with fdbsteer, and with the commands of the kernel's \
            documentation (Documentation/networking/net_failover.rst). Needs root; run it from the project's root.
            """)

    @Option(help: "Redirections of each method.")
    var redirections = 100
    @Option(help: "Frames a second.")
    var rate = 500
    @Flag(help: "Run here, in the lab VM, instead of booting it.")
    var inside = false
    @Flag(help: "Exit with 1 when a redirection by fdbsteer lost a frame.")
    var check = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    func validate() throws {
        guard (2...10_000).contains(redirections) else {
            throw ValidationError("--redirections goes from 2 to 10000")
        }
        guard (10...2000).contains(rate) else { throw ValidationError("--rate goes from 10 to 2000") }
    }

    func run() throws {
        guard inside else { return try boot() }
        if let obstacle = SRIOVLab.obstacle { throw LabError(obstacle) }
        let scratch = try TemporaryFolder(parent: nil)
        defer { scratch.remove() }
        let run = try MACFilterRun(state: scratch.path, rate: rate)
        let probe = try run.probe()
        var results: [MACFilterRun.Result] = []
        for method in MACFilterRun.Method.allCases {
            results.append(try run.redirect(method, count: redirections))
        }
        let report = MACFilterReport(probe: probe, results: results, rate: rate)
        print(report.table)
        if let json { try TextFile.write(json: report, to: json) }
        if check, let failure = report.failure { throw LabError(failure) }
    }

    /// Runs the same command in the lab VM.
    private func boot() throws {
        var arguments = ["macfilter", "--inside", "--redirections", "\(redirections)", "--rate", "\(rate)"]
        if check { arguments.append("--check") }
        let code = try OwnProgram.runInLabVM(["--igb"], arguments, json: json)
        guard code == 0 else { throw ExitCode(code) }
    }
}

/// The results of the MAC filter bench, for people and programs.
struct MACFilterReport: Encodable {
    struct Redirection: Encodable {
        let redirections: Int
        let lostMedian: Int
        let lostMax: Int
        let lostTotal: Int
        let duplicatedTotal: Int
        let sent: Int
    }

    let states: [MACFilterCounts]
    let verdict: MACFilterVerdict?
    let words: [String]
    let nic: String
    let probeMilliseconds: Int64
    let offeredPps: Int
    let redirection: [String: Redirection]

    init(probe: ProbeReport, results: [MACFilterRun.Result], rate: Int) {
        states = probe.states
        verdict = probe.verdict
        words = probe.words
        nic = probe.nic.description
        probeMilliseconds = probe.totalNanoseconds / 1_000_000
        offeredPps = rate
        redirection = Dictionary(
            results.map { result in
                let lost = result.lost.sorted()
                return (
                    result.method.rawValue,
                    Redirection(
                        redirections: lost.count, lostMedian: lost[(lost.count - 1) / 2], lostMax: lost.last ?? 0,
                        lostTotal: lost.reduce(0, +), duplicatedTotal: result.duplicated, sent: result.sent)
                )
            }
        ) { $1 }
    }

    /// The first result that is not allowed; nil if there is none.
    var failure: String? {
        guard let own = redirection[MACFilterRun.Method.fdbsteer.rawValue] else { return "nothing was measured" }
        return own.lostTotal == 0 ? nil : "\(own.lostTotal) frames were lost in \(own.redirections) redirections"
    }

    /// The results as text for people.
    var table: String {
        var lines = ["\(nic), probed in \(probeMilliseconds) ms"]
        for state in states where state.source == .wire && !state.tagged {
            lines.append("  \(state.state): PF \(state.pf), VF \(state.vf), nowhere \(state.nowhere) of \(state.sent)")
        }
        lines += words.map { "  \($0)" }
        lines.append("Redirections under \(offeredPps) frames a second, the guest's driver up all the time")
        for (method, result) in redirection.sorted(by: { $0.key < $1.key }) {
            lines.append(
                "  \(method): \(result.redirections) redirections, lost \(result.lostTotal) of \(result.sent) (median "
                    + "\(result.lostMedian), most \(result.lostMax)), twice \(result.duplicatedTotal)")
        }
        return lines.joined(separator: "\n")
    }
}
