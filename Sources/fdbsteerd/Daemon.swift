import ArgumentParser
import Configuration
import Controller
import Exposition
import FDB
import Glibc
import Logging
import MetricsServer
import Policy
import Records
import System
import Varlink

/// `fdbsteerd`.
@main
struct Daemon: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fdbsteerd",
        abstract: "Keeps prepared guests as intended between redirections, and serves metrics.",
        discussion: """
            It repairs entries and port settings that others change, moves a guest whose primary port is lost to its standby, \
            and ends what killed commands left. SIGHUP reads the configuration again, SIGTERM ends it. Exit codes: 0 ended \
            by a signal; 3 a precondition failed; 64 wrong usage or configuration.
            """,
        version: Build.version)

    @Option(help: "Configuration file. Default: \(DaemonConfiguration.defaultPath), which may be missing.")
    var config: String?
    @Option(
        help: """
            Folder of journal and history. Default: what the configuration says, FDBSTEER_STATE, or /run/fdbsteer and \
            /var/lib/fdbsteer.
            """)
    var state: String?
    @Flag(help: "Only check the configuration file.")
    var check = false

    func validate() throws {
        if state?.isEmpty == true { throw ValidationError("--state names no folder") }
        if config?.isEmpty == true { throw ValidationError("--config names no file") }
    }

    func run() {
        SystemFile.secureStandardDescriptors()
        let file: ConfigurationFile
        do throws(ConfigurationError) {
            file = try ConfigurationFile(config)
        } catch {
            var bytes = Array("fdbsteerd: \(error)\n".utf8)
            _ = write(STDERR_FILENO, &bytes, bytes.count)
            Glibc.exit(ControllerError.Code.usage.rawValue)
        }
        if check {
            print(file.isMissing ? "\(file.path) does not exist: the defaults hold" : "\(file.path): as it should be")
            return
        }
        let isJSON = file.current.log.format == .json
        var log = Logger(label: "fdbsteerd") { _ in LineLog(level: .info, isJSON: isJSON) }
        log.logLevel = file.current.logLevel
        do throws(ControllerError) {
            try serve(file, log: log)
        } catch {
            log.critical("ended", metadata: ["error": "\(error)"])
            Glibc.exit(error.code.rawValue)
        }
    }

    private func serve(_ file: ConfigurationFile, log: Logger) throws(ControllerError) {
        // Before there are other threads: they inherit what is blocked.
        let signals = try ControllerError.system { () throws(SystemError) in try SignalSet([SIGTERM, SIGINT, SIGHUP]) }
        let folder = StateFolder(state ?? file.current.daemon.state ?? Environment.value("FDBSTEER_STATE"))
        var namespace = stat()
        let isKnown = stat("/proc/thread-self/ns/net", &namespace) == 0
        log.notice(
            "starting",
            metadata: [
                "version": "\(Build.version)", "state": "\(folder.path)",
                "namespace": isKnown ? "\(namespace.st_ino)" : "unknown",
            ])
        if case .refused(let reason) = Scheduling.becomeRealTime() {
            log.warning(
                "not scheduled in real time",
                metadata: ["reason": "\(reason)", "remedy": "see LimitRTPRIO in docs/installation.md"])
        }
        // A second daemon on the folder ends here, whatever address it would serve.
        let keeper = try Keeper(folder: folder)
        let page = MetricsPage(folder: folder, counters: DaemonCounters(startedAt: 0))
        let health = LoopHealth()
        var server: MetricsServer?
        if let listen = file.current.metrics.listen {
            var limits = ClientLimits()
            limits.connections = file.current.metrics.maxConnections
            do throws(MetricsServerError) {
                let started = try MetricsServer.start(
                    host: listen.host.description, port: listen.port, limits: limits,
                    answer: { answer($0, page, health) })
                log.notice(
                    "serving metrics", metadata: ["address": "\(listen.host.description)", "port": "\(started.port)"])
                server = started
            } catch {
                throw ControllerError(
                    .precondition, error.message, remedy: "\(error.remedy): the key listen of [metrics]")
            }
        }
        defer { server?.stop() }
        let api = startAPI(in: folder, log)
        defer { api?.stop() }
        var loop = try Loop(
            keeper, from: file, folder: folder, signals: signals, page: page, health: health, log: log)
        // What happened before is in the history before it leaves the log.
        _ = try? History.current(in: folder)
        try loop.run()
    }
}

/// Starts the local API. A daemon that cannot have it guards guests all the same.
private func startAPI(in folder: StateFolder, _ log: Logger) -> VarlinkServer? {
    let inherited = ServiceSockets.only()
    do throws(ControllerError) {
        let server = try VarlinkServer.start(folder, inherited: inherited)
        log.notice(
            "serving the local API",
            metadata: ["socket": "\(server.path)", "made_by": "\(inherited == nil ? "fdbsteerd" : "service manager")"])
        return server
    } catch {
        log.error("no local API", metadata: ["error": "\(error)"])
        return nil
    }
}

/// The answer to a request; called on the server's thread.
private func answer(_ route: Route, _ page: MetricsPage, _ health: LoopHealth) -> Response {
    switch route {
    case .health:
        return health.isAlive ? Response(text: "ok\n") : Response(status: 503, text: "the loop is stuck\n")
    case .readiness:
        return health.isReady
            ? Response(text: "ok\n") : Response(status: 503, text: "not every guest was looked at yet\n")
    case .metrics:
        do throws(ControllerError) {
            return Response(contentType: Exposition.contentType, body: try page.bytes())
        } catch {
            return Response(status: 500, text: "\(error)\n")
        }
    }
}
