import ArgumentParser
import Controller
import Glibc
import Logging

/// `fdbsteerd`.
@main
struct Daemon: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fdbsteerd", abstract: "Keeps prepared guests as intended between redirections.",
        version: "0.1.0")

    @Option(help: "Folder of journal and history. Default: FDBSTEER_STATE, or /run/fdbsteer and /var/lib/fdbsteer.")
    var state: String?

    func run() {
        let log = Logger(label: "fdbsteerd") { _ in LineLog(level: .info) }
        let code: Int32
        do throws(ControllerError) {
            let signals = try SignalDescriptor([SIGTERM, SIGINT, SIGHUP])
            let folder = StateFolder(state ?? getenv("FDBSTEER_STATE").map { String(cString: $0) })
            var loop = try Loop(
                folder: folder, limits: RepairBudget.Limits(), options: VerbOptions(), resyncInterval: 300_000_000_000,
                receiveBuffer: 8 << 20, signals: signals, log: log)
            try loop.run()
            code = 0
        } catch {
            log.critical("ended", metadata: ["error": "\(error)"])
            code = error.code.rawValue
        }
        Glibc.exit(code)
    }
}
