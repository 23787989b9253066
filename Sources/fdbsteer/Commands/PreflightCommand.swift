import ArgumentParser
import Controller
import FDB
import Policy
import System

/// Findings that the caller accepts.
struct WaiverOptions: ParsableArguments {
    @Option(
        name: .customLong("waive"), parsing: .singleValue,
        help: ArgumentHelp(
            "The code of a finding of preflight to accept, for example mtu-smaller; once for each.", valueName: "code"),
        completion: .list(WaiverOptions.known), transform: WaiverOptions.read)
    var waived: [Finding.Code] = []

    /// All codes.
    private static var known: [String] { Rule.all.map { $0.code.rawValue }.sorted() }

    /// Reads the value of the option.
    private static func read(_ text: String) throws -> Finding.Code {
        if let code = Finding.Code(rawValue: text) { return code }
        if text.contains(",") { throw ValidationError("name each code by an option --waive of its own") }
        let meant = Nearest.question(to: text, in: known).map { "; \($0)" } ?? ""
        throw ValidationError("no finding has that code\(meant); the codes are \(known.joined(separator: ", "))")
    }

    /// Each once.
    var codes: Set<Finding.Code> { Set(waived) }
}

/// `fdbsteer preflight`.
struct PreflightCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "preflight",
        abstract: "Say why a redirection would lose, leak or blackhole frames; change nothing.",
        discussion: """
            Give the name of a prepared guest, or --bridge, --primary and --standby (or --port), and --address as for \
            prepare. Exit \
            code 0 when nothing was found that blocks, loses or leaks, 3 when something was.
            """)

    @Argument(help: "A prepared guest interface.", completion: Completions.guests)
    var guest: String?
    @Option(help: "The bridge.", completion: Completions.bridges)
    var bridge: String?
    @Option(help: "The bridge port of the VF, named as for prepare.")
    var primary: String?
    @Option(help: "The bridge port of the paravirtual NIC (tap).", completion: Completions.interfaces)
    var standby: String?
    @Option(help: "The one bridge port of a guest that is no pair, named as for prepare.")
    var port: String?
    @Option(help: "The bridge port behind which the guest is reached while it is on another host.")
    var uplink: String?
    @Option(
        name: .customLong("address"), parsing: .singleValue,
        help: "MAC or MAC/VLAN; several are separated by commas, or given one by one.")
    var addresses: [String] = []
    @Option(help: "Where the guest is now, as it will be said to prepare.")
    var at: Side?
    @OptionGroup var waivers: WaiverOptions
    @OptionGroup var common: CommonOptions

    private static let usage = "name a prepared guest, or --bridge, --primary and --standby (or --port), and --address"

    func validate() throws {
        let given = [bridge, primary, standby, port, uplink, at?.rawValue].contains { $0 != nil } || !addresses.isEmpty
        if guest != nil {
            guard !given else { throw ValidationError("a prepared guest has its ports: \(Self.usage)") }
        } else {
            guard bridge != nil, !addresses.isEmpty, (primary == nil) == (standby == nil),
                (primary == nil) != (port == nil)
            else {
                throw ValidationError(Self.usage)
            }
        }
    }

    func run() {
        if let guest {
            let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
            common.call.run(reading: true) { host throws(ControllerError) in
                common.call.show(try LookAhead(waiving: waivers.codes).run(id, on: &host))
            }
        }
        let request = common.call.check { () throws(ControllerError) in
            let parsed = try [Address](listed: addresses)
            return PreflightRequest(
                bridge: bridge ?? "", primary: primary, standby: standby ?? port ?? "", uplink: uplink,
                addresses: parsed,
                side: at)
        }
        common.call.run(reading: true) { host throws(ControllerError) in
            common.call.show(try LookAhead(waiving: waivers.codes).run(request, on: &host))
        }
    }
}

extension Call {
    /// Prints what preflight found and returns its exit code.
    func show(_ report: PreflightReport) -> Int32 {
        if json {
            Output.json(report)
            return report.exitCode
        }
        let subject = report.guest ?? report.bridge
        let failures = report.findings.count(where: \.severity.isFailure)
        if failures > 0 {
            Output.line("\(subject): \(failures == 1 ? "1 finding" : "\(failures) findings") to be dealt with first")
        } else {
            Output.line("\(subject): nothing was found that would block, lose or leak")
        }
        for finding in report.findings { show(finding) }
        for finding in report.waived { Output.line("  waived: \(finding.headline)") }
        for line in report.unseen { Output.line("  not seen: \(line)") }
        return report.exitCode
    }

    private func show(_ finding: Finding) {
        Output.line("  \(finding.headline)")
        if !finding.values.isEmpty {
            Output.line("    seen: " + finding.values.map { "\($0.what) = \($0.value)" }.joined(separator: "; "))
        }
        Output.line("    remedy: \(finding.remedy)")
    }
}

extension Report {
    /// What was found, and what was waived.
    var findingLines: [String] {
        findings.map(\.headline) + waived.map { "waived: \($0.headline)" }
    }
}
