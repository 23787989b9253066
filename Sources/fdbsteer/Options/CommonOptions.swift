import ArgumentParser
import Controller
import Glibc
import Policy
import Records
import System

/// The options of every verb.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .long,
        help: "Folder of journal and history. Default: FDBSTEER_STATE, or /run/fdbsteer and /var/lib/fdbsteer.")
    var state: String?

    @Flag(name: [.customShort("j"), .long], help: "Print one JSON object on standard output.")
    var json = false

    @Flag(
        name: [.customShort("n"), .long],
        help: "Change nothing; print what would be done, each netlink message in words.")
    var dryRun = false

    /// The values of the options, without the parser.
    var call: Call {
        Call(
            folder: StateFolder(state ?? CommonOptions.environmentFolder, by: Doer(verb: Call.verb)), json: json,
            dryRun: dryRun)
    }

    /// The value of FDBSTEER_STATE.
    static var environmentFolder: String? { Environment.value("FDBSTEER_STATE") }
}

/// The options of the verbs that redirect.
struct ProofOptions: ParsableArguments {
    @Flag(
        name: .long, help: "Exit with 7 when nothing shows that hardware followed; what was done stays.")
    var requireProof = false

    @Option(name: .long, help: "How long to wait for hardware: 500ms, 5s.", transform: TimeLimit.read)
    var proofTimeout = TimeLimit(nanoseconds: VerbOptions().proofTimeout)

    @Option(
        name: .long,
        help:
            "Watch the old port afterwards until it sends nothing any more, at most so long (500ms, 5s); for the history's report.",
        transform: TimeLimit.read)
    var observe = TimeLimit(nanoseconds: 0)

    /// These options combined with the others.
    func options(_ common: CommonOptions, _ waivers: WaiverOptions) -> VerbOptions {
        VerbOptions(
            dryRun: common.dryRun, requireProof: requireProof, proofTimeout: proofTimeout.nanoseconds,
            waived: waivers.codes, observation: observe.nanoseconds)
    }
}

/// The additional options of `switch --strategy bracket`.
struct BracketOptions: ParsableArguments {
    @Flag(
        help: "Open a bracket also for a guest that takes each frame twice, or of which nobody said that it does not.")
    var allowDuplicates = false

    @Option(
        help: "Open no bracket while the guest gets more frames a second than this, for all take the slow path; 0: any."
    )
    var bracketMaxRate: UInt64 = 0
}

/// A duration given on the command line (``DurationText``).
struct TimeLimit: CustomStringConvertible {
    let nanoseconds: Int64

    /// Reads the value of an option.
    static func read(_ text: String) throws -> TimeLimit {
        guard let nanoseconds = DurationText.nanoseconds(text) else {
            throw ValidationError(
                missingUnit(text, "s") + "a duration is a whole number with its unit: 500ms, 5s, 2min")
        }
        return TimeLimit(nanoseconds: nanoseconds)
    }

    /// The beginning of an answer to a number without a unit; empty for other text.
    static func missingUnit(_ text: String, _ unit: String) -> String {
        let isNumber = !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
        return isNumber ? "the unit is missing, write \(text)\(unit); " : ""
    }

    var description: String { DurationText.text(nanoseconds) }
}

/// What to do if the switch floods the frames of a guest on its standby to other ports.
enum LeakPolicy: String, ExpressibleByArgument, CaseIterable {
    case refuse, allow

    /// The value of FDBSTEER_LEAK; `refuse` if it is not set.
    static func ofEnvironment() throws(ControllerError) -> LeakPolicy {
        guard let value = Environment.value("FDBSTEER_LEAK") else { return .refuse }
        guard let policy = LeakPolicy(rawValue: value) else {
            throw ControllerError(
                .usage, "FDBSTEER_LEAK is \"\(value)\"", remedy: "set it to refuse or allow, or unset it")
        }
        return policy
    }
}

/// One call of the program: the folder of its journal, and the form of its answer.
struct Call {
    let folder: StateFolder
    let json: Bool
    let dryRun: Bool

    /// The verb, for records and events: set before the options are read.
    nonisolated(unsafe) static var verb: String?

    /// Since the process began: what the arguments cost belongs to the call.
    static let clock = Stopwatch()

    /// The exit code of a verb that changes nothing and whose answer could not be written (EX_IOERR of sysexits.h).
    static let unwritten: Int32 = 74

    /// Runs a verb on this host and ends the process with its exit code.
    ///
    /// - Parameter reading: the verb changes nothing: its answer is all that it does.
    func run(reading: Bool = false, _ body: (inout Host) throws(ControllerError) -> Int32) -> Never {
        do throws(ControllerError) {
            var host = try Host(folder: folder, since: Call.clock)
            let code = try body(&host)
            // The kernel cleans up after the host: closing its socket and freeing its buffers here takes longer.
            end(code, reading: reading)
        } catch {
            fail(error)
        }
    }

    /// Ends the process. The exit code of a verb that changes something tells what became of the guest, whether its report could be
    /// written or not.
    ///
    /// - Parameter reading: the verb changes nothing.
    func end(_ code: Int32, reading: Bool) -> Never {
        if let reason = Output.failure {
            Output.error("fdbsteer: standard output cannot be written: \(reason)")
            if code == 0, reading || dryRun { exit(Call.unwritten) }
        }
        exit(code)
    }

    /// Prints an error on standard error, and as JSON on standard output if that was requested, and exits.
    func fail(_ error: ControllerError) -> Never {
        let error = ControllerError(
            error.code, RepeatedWords.shown(error.message), remedy: error.remedy.map(RepeatedWords.shown),
            cause: error.cause, reasons: error.reasons)
        if json { Output.json(ErrorView(error)) }
        Output.error("fdbsteer: \(error)")
        exit(error.code.rawValue)
    }

    /// Returns a value; exits with the error if making the value throws a usage error.
    func check<T>(_ body: () throws(ControllerError) -> T) -> T {
        do throws(ControllerError) { return try body() } catch { fail(error) }
    }
}
