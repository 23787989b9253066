import ArgumentParser
import Controller
import Glibc
import Netlink

/// What every verb takes.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .long,
        help: "Folder of journal and history. Default: FDBSTEER_STATE, or /run/fdbsteer and /var/lib/fdbsteer.")
    var state: String?

    @Flag(name: .long, help: "Print one JSON object on standard output.")
    var json = false

    @Flag(name: .long, help: "Change nothing; print what would be done, each netlink message in words.")
    var dryRun = false

    /// What the options say, without the parser.
    var call: Call {
        Call(folder: StateFolder(state ?? CommonOptions.environmentFolder), json: json, dryRun: dryRun)
    }

    /// FDBSTEER_STATE.
    static var environmentFolder: String? { getenv("FDBSTEER_STATE").map { String(cString: $0) } }
}

/// One call of the program: where its journal is, and how it answers.
struct Call {
    let folder: StateFolder
    let json: Bool
    let dryRun: Bool

    /// Runs a verb on this host and ends the process with its exit code.
    func run(_ body: (inout Host) throws(ControllerError) -> Int32) -> Never {
        let code: Int32
        do throws(ControllerError) {
            var host = try Host(folder: folder)
            code = try body(&host)
        } catch {
            fail(error)
        }
        exit(code)
    }

    /// Prints an error on standard error, as JSON on standard output too where that was asked for, and exits.
    func fail(_ error: ControllerError) -> Never {
        if json { Output.json(ErrorView(error)) }
        Output.error("fdbsteer: \(error)")
        exit(error.code.rawValue)
    }

    /// Makes a value that may be a usage error.
    func check<T>(_ body: () throws(ControllerError) -> T) -> T {
        do throws(ControllerError) { return try body() } catch { fail(error) }
    }
}

/// An error in JSON.
private struct ErrorView: Encodable {
    struct Content: Encodable {
        let code: String
        let exitCode: Int32
        let message: String
        let remedy: String?
        let errno: String?
        let extack: String?
    }

    let error: Content

    init(_ error: ControllerError) {
        self.error = Content(
            code: error.code.name, exitCode: error.code.rawValue, message: error.message, remedy: error.remedy,
            errno: error.cause?.errno?.name, extack: error.cause?.extack)
    }
}
