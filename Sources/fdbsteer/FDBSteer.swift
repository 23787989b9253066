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
        do {
            var command = try FDBSteer.parseAsRoot(joiningAddresses(CommandLine.arguments.dropFirst()))
            try command.run()
        } catch {
            // Who asked for JSON gets it, whatever is wrong with the rest.
            guard CommandLine.arguments.contains("--json"), FDBSteer.exitCode(for: error) == .validationFailure else {
                FDBSteer.exit(withError: error)
            }
            Call(folder: StateFolder(), json: true, dryRun: false).fail(
                ControllerError(.usage, FDBSteer.message(for: error), remedy: "fdbsteer help VERB shows its options"))
        }
    }

    /// The same arguments with one list of addresses in the place of many options: the parser takes 10 s for 8,000.
    private static func joiningAddresses(_ arguments: some Sequence<String>) -> [String] {
        let option = "--address"
        var joined: [String] = []
        var place: Int?
        var rest = arguments.makeIterator()
        while let word = rest.next() {
            var value: String?
            if word == option {
                guard let next = rest.next() else { return joined + [word] }
                value = next
            } else if word.hasPrefix(option + "=") {
                value = String(word.dropFirst(option.count + 1))
            }
            guard let value, !value.isEmpty, !value.hasPrefix("-") else {
                joined += value == nil ? [word] : [option, value ?? ""]
                if word == "--" {
                    while let word = rest.next() { joined.append(word) }
                }
                continue
            }
            if let place {
                joined[place] += "," + value
            } else {
                joined += [option, value]
                place = joined.count - 1
            }
        }
        return joined
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
            StatusCommand.self, ProbeCommand.self,
            AbortCommand.self, ReleaseCommand.self, AnnounceCommand.self, ReconcileCommand.self, HistoryCommand.self,
            MetricsCommand.self,
        ])
}
