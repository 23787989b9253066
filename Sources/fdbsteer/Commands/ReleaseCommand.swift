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

    /// What became of a guest.
    private enum Answer: Encodable {
        case released(Report)
        case unknown(GuestID)

        private enum Key: CodingKey { case guest, verb, outcome }

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .released(let report): try report.encode(to: encoder)
            case .unknown(let id):
                var container = encoder.container(keyedBy: Key.self)
                try container.encode(id.text, forKey: .guest)
                try container.encode(Plan.Verb.release.rawValue, forKey: .verb)
                try container.encode(Report.Result.already.rawValue, forKey: .outcome)
            }
        }
    }

    func run() {
        let call = common.call
        let ids = call.ids(guests)
        call.run { host throws(ControllerError) in
            try call.ask(
                ids, on: &host,
                exitCode: { (answer: Answer) in
                    if case .released(let report) = answer { call.complain(report) } else { 0 }
                },
                print: { answer in
                    switch answer {
                    case .released(let report): call.printText(report)
                    case .unknown(let id): Output.line("\(id): is not prepared: nothing to release")
                    }
                },
                { id, host throws(ControllerError) in
                    do throws(ControllerError) {
                        let options = VerbOptions(dryRun: common.dryRun)
                        return .released(try Release(options: options, forgets: forget).run(id, on: &host))
                    } catch {
                        // Another process may have released it meanwhile, so it is looked for afterwards.
                        guard ifExists, try Journal(reading: call.folder)?.knows(id) != true else { throw error }
                        return .unknown(id)
                    }
                })
        }
    }
}
