import Glibc
import Lab
import Synchronization
import System

/// The fdbsteerd next to this bench, running in the calling thread's namespaces on a state folder.
///
/// It ends with the thread that started it, even if this process is killed (PR_SET_PDEATHSIG, by setpriv).
final class WatchedDaemon {
    let process: pid_t
    let folder: String
    private let logFile: String
    private var running: RunningCommand?
    /// The time from the start of the process until it was ready, in nanoseconds.
    private(set) var startNanoseconds: Int64 = 0

    static let port = 9923

    /// Starts the daemon and waits until it is ready.
    ///
    /// - Parameters:
    ///   - folder: the folder of journal and history; configuration and log are written there too.
    ///   - configuration: lines of TOML.
    init(folder: String, configuration: String = "", patience seconds: Int = 120) throws {
        let binary = try OwnProgram.sibling("fdbsteerd")
        let file = folder + "/fdbsteerd.toml"
        try TextFile.write(configuration, to: file)
        logFile = folder + "/log-\(monotonicNanoseconds())"
        let begin = monotonicNanoseconds()
        let words = "exec setpriv --pdeathsig KILL '\(binary)' --config '\(file)' --state '\(folder)' 2>'\(logFile)'"
        let running = try RunningCommand(["sh", "-c", words])
        process = running.process
        self.folder = folder
        self.running = consume running
        StartedProcesses.add(process)
        let end = begin + Int64(seconds) * 1_000_000_000
        while monotonicNanoseconds() < end {
            if let answer = try? get("/readyz"), answer.status == 200 {
                startNanoseconds = monotonicNanoseconds() - begin
                return
            }
            if kill(process, 0) != 0 { break }
            usleep(1000)
        }
        let said = log
        stop()
        throw LabError("\(binary) did not become ready within \(seconds) s, but said:\n\(said)")
    }

    deinit { stop() }

    /// Ends the daemon and waits for its end.
    func stop() {
        guard let running = running.take() else { return }
        kill(process, SIGTERM)
        // A stopped process does not handle signals.
        kill(process, SIGCONT)
        _ = running.wait()
        StartedProcesses.remove(process)
    }

    // MARK: - Log and metrics

    /// The text of its log.
    var log: String { TextFile.read(logFile) }

    /// The numbers of a key in all log lines with a word: `us` of `resync reason=reload suspicious=0 us=1234`.
    func logged(_ key: String, in word: String) -> [Int64] {
        log.split(separator: "\n").filter { $0.contains(word) }.flatMap { line in
            line.split(separator: " ").filter { $0.hasPrefix(key + "=") }.compactMap {
                Int64($0.dropFirst(key.count + 1))
            }
        }
    }

    /// One request on a connection of its own.
    func get(_ path: String) throws -> HTTPConnection.Answer {
        try HTTPConnection.get(path, port: WatchedDaemon.port)
    }

    /// The samples of its page by name and labels.
    func metrics() throws -> [String: Double] {
        let page = try get("/metrics")
        guard page.status == 200 else { throw LabError("/metrics: \(page.head)") }
        var samples: [String: Double] = [:]
        for line in page.body.split(separator: "\n") where line.hasPrefix("fdbsteer_") {
            let parts = line.split(separator: " ")
            if parts.count == 2 { samples[String(parts[0])] = Double(parts[1].filter { $0 != "\r" }) }
        }
        return samples
    }

    // MARK: - Cost

    /// The CPU time of all its threads, in nanoseconds (the first number of schedstat).
    func cpuNanoseconds() throws -> Int64 {
        let threads = SystemFile.names(in: "/proc/\(process)/task")
        if threads.isEmpty { throw LabError("fdbsteerd has ended:\n\(log)") }
        return threads.reduce(0) { sum, thread in
            let text = TextFile.read("/proc/\(process)/task/\(thread)/schedstat")
            return sum + (text.split(separator: " ").first.flatMap { Int64($0) } ?? 0)
        }
    }

    /// The resident and the proportional set size, in kilobytes.
    func memory() -> (resident: Int, proportional: Int) {
        let text = TextFile.read("/proc/\(process)/smaps_rollup")
        func value(_ key: String) -> Int {
            text.split(separator: "\n").first { $0.hasPrefix(key) }?.split(separator: " ").dropFirst().first
                .flatMap { Int($0) } ?? 0
        }
        return (value("Rss:"), value("Pss:"))
    }
}

/// Ends the processes that the bench started when the bench itself is interrupted.
enum StartedProcesses {
    private static let processes = Mutex<Set<pid_t>>([])

    static func add(_ process: pid_t) { processes.withLock { _ = $0.insert(process) } }
    static func remove(_ process: pid_t) { processes.withLock { _ = $0.remove(process) } }

    /// From now on SIGINT, SIGTERM and SIGHUP end the processes that were added, remove a folder, and then end this process.
    ///
    /// Call it before there are other threads, because they inherit the blocked signals.
    static func watch(removing folder: TemporaryFolder) throws {
        try Interruption.onSignal {
            for process in processes.withLock({ $0 }) { kill(process, SIGKILL) }
            folder.remove()
        }
    }
}
