public import ArgumentParser
import Controller
import Policy
import Records

extension Side: ExpressibleByArgument {}
extension GuestKind: ExpressibleByArgument {}
extension ReplayMode: ExpressibleByArgument {}
extension Strategy: ExpressibleByArgument {}

/// `fdbsteer abort`.
struct AbortCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort",
        abstract: "End a redirection that did not end, on the side where the guest was.",
        discussion: "A command that waits for the guest's signal (switch --until) is ended first.")

    @Argument(help: "The guest interface.", completion: Completions.guests)
    var guest: String
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        common.call.run { host throws(ControllerError) in
            common.call.show(try Abort(options: VerbOptions(dryRun: common.dryRun)).runEndingWait(id, on: &host))
        }
    }
}

/// `fdbsteer reconcile`.
struct ReconcileCommand: GuestlessCommand {
    static let configuration = CommandConfiguration(
        commandName: "reconcile",
        abstract: "Bring every guest to the side that the journal says, and clear up after dead processes.",
        discussion: "Exit code 0 when every guest is on its side, 5 when one is not.")

    @OptionGroup var common: CommonOptions

    static func instead(of guest: String) -> [String] { ["verify \(guest)", "switch \(guest) --to SIDE"] }

    func run() {
        common.call.run { host throws(ControllerError) in
            try common.call.folder.requireNamed()
            common.call.sayWhyEmpty()
            let report = try Reconcile(options: VerbOptions(dryRun: common.dryRun)).run(on: &host)
            if common.json {
                Output.json(report)
            } else {
                if report.guests.isEmpty { Output.line("no guest is prepared") }
                for guest in report.probes + report.guests {
                    Output.line("\(guest.guest): \(guest.message)")
                    for problem in guest.problems { Output.line("\(guest.guest): problem: \(problem)") }
                }
                for address in report.sentinelsRemoved { Output.line("sentinel \(address) removed") }
            }
            return report.exitCode
        }
    }
}
