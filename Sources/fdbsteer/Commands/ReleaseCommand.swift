import ArgumentParser
import Controller
import Policy
import Records

/// `fdbsteer release`.
struct ReleaseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract: "Give guests' entries back to the bridge, and their ports their settings.",
        discussion: "Of several guests all are tried, and the exit code is the worst.")

    @Argument(help: "Guest interfaces.", completion: Completions.guests)
    var guests: [String]
    @Flag(
        help: "Forget a guest that was prepared in another network namespace, which is gone; nothing else is changed.")
    var forget = false
    @Flag(help: "A guest that is not known has been released already: exit with 0.")
    var ifExists = false
    @OptionGroup var common: CommonOptions

    func run() {
        let call = common.call
        let ids = call.ids(guests)
        call.run { host throws(ControllerError) in
            try call.ask(
                ids, on: &host,
                exitCode: { (answer: Released) in
                    if case .released(let report) = answer { call.complain(report) } else { 0 }
                },
                print: { answer in
                    switch answer {
                    case .released(let report): call.printText(report)
                    case .unknown(let id): Output.line("\(id): not prepared, nothing to release")
                    }
                },
                { id, host throws(ControllerError) in
                    let release = Release(options: VerbOptions(dryRun: common.dryRun), forgets: forget)
                    return try release.run(id, ifExists: ifExists, on: &host)
                })
        }
    }
}
