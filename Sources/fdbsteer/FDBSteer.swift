import ArgumentParser
import Controller
import Glibc
import Policy
import Records
import System

/// The program's entry.
@main
enum Main {
    /// A switch in its plain form goes past the argument parser, which takes 11 of the 18 million instructions of such a
    /// call (valgrind); everything else, and everything that is wrong, is the parser's.
    static func main() {
        SystemFile.secureStandardDescriptors()
        _ = Call.clock
        guard CommandLine.arguments.count > 1 else {
            // Also without /proc, where the arguments cannot be read: nothing was done.
            Output.error(FDBSteer.helpMessage())
            exit(ControllerError.Code.usage.rawValue)
        }
        if let plain = PlainSwitch(CommandLine.arguments.dropFirst()) { plain.run() }
        // The caller's word may come before the verb that waits for it is ready to hear it.
        SignalSet.hold(SIGUSR1)
        let arguments = CommandLine.arguments.dropFirst()
        // Who asked for JSON gets it, whatever is wrong with the rest.
        let call = Call(folder: StateFolder(), json: CommandWords.wantsJSON(arguments), dryRun: false)
        let words = call.check { () throws(ControllerError) in try CommandWords(arguments) }
        Call.verb = words.words.first
        do {
            var command = try words.parsed()
            try command.run()
        } catch {
            if let error = error as? ControllerError { call.fail(error) }
            guard call.json, FDBSteer.exitCode(for: error) == .validationFailure else {
                let code = FDBSteer.exitCode(for: error)
                guard code == .validationFailure else { FDBSteer.exit(withError: error) }
                Output.error(RepeatedWords.shown(FDBSteer.fullMessage(for: error)))
                exit(code.rawValue)
            }
            let help = words.verb.isEmpty ? "fdbsteer help" : "fdbsteer help \(words.verb)"
            call.fail(
                ControllerError(.usage, FDBSteer.message(for: error), remedy: "\"\(help)\" shows the options"))
        }
    }
}

/// The command line.
struct FDBSteer: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fdbsteer",
        abstract: "Moves a guest's MAC addresses between the port of its VF and its paravirtual port.",
        discussion: """
            Exit codes: 0 done, or already so; 3 precondition failed, nothing changed; 4 failed and rolled back; \
            5 failed and not fully rolled back; 6 timed out; 7 applied but unproven; 8 another redirection of this \
            guest is running; 64 usage; 74 the answer of a verb that only reads could not be written.
            """,
        version: Build.version,
        subcommands: [
            TopologyCommand.self, PreflightCommand.self, PrepareCommand.self, SwitchCommand.self, VerifyCommand.self,
            StatusCommand.self, MonitorCommand.self, WatchCommand.self, ProbeCommand.self,
            AbortCommand.self, ReleaseCommand.self, AnnounceCommand.self, ReconcileCommand.self, HistoryCommand.self,
            MetricsCommand.self,
        ])
}
