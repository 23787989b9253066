import Glibc
import Lab
import System

/// The fdbsteerd beside this bench, on a world's state folder.
final class ChaosDaemon {
    let process: pid_t
    let logFile: String
    private var running: RunningCommand?

    /// - Throws: ``LabError`` when it cannot be started.
    init(_ world: ChaosWorld) throws {
        let binary = try OwnProgram.sibling("fdbsteerd")
        logFile = world.scratch + "/log-\(monotonicNanoseconds())"
        // It ends with the thread that started it, even if this process is killed.
        let words =
            "exec setpriv --pdeathsig KILL '\(binary)' --config '\(ChaosDaemons.file(world))' --state '\(world.state)' "
            + "2>'\(logFile)'"
        let started = try RunningCommand(["sh", "-c", words])
        process = started.process
        running = consume started
        StartedProcesses.add(process)
    }

    deinit { _ = end(by: SIGKILL, within: 1) }

    /// The text of its log.
    var log: String { TextFile.read(logFile) }
    /// It has ended by itself.
    var hasEnded: Bool { ChildProcess.hasEnded(process) }

    /// Ends it.
    ///
    /// - Returns: its exit code; nil when it did not end in time, and was killed.
    func end(by signal: Int32, within seconds: Double) -> Int32? {
        guard let running = running.take() else { return 0 }
        kill(process, signal)
        let isInTime = ChaosWorld.waitForEnd(of: process, seconds)
        if !isInTime { kill(process, SIGKILL) }
        let code = running.wait().exitCode
        StartedProcesses.remove(process)
        return isInTime ? code : nil
    }

    /// Whether it answers a request with 200.
    func answers(_ path: String) -> Bool {
        (try? HTTPConnection.get(path, port: WatchedDaemon.port))?.status == 200
    }
}

/// The daemon is started, ended, killed, and told to read its file again.
enum ChaosDaemons {
    static let family = ChaosFamily(weight: 10) { random in
        switch Int.random(in: 0..<10, using: &random) {
        case 0...4:
            ChaosOperation(kind: "daemon start", words: "daemon start", act: start)
        case 5:
            ChaosOperation(kind: "daemon end", words: "daemon end", act: end)
        case 6:
            ChaosOperation(kind: "daemon kill", words: "daemon kill") { world in
                guard let daemon = world.daemon else { return }
                _ = daemon.end(by: SIGKILL, within: 2)
                world.daemon = nil
            }
        case 7:
            ChaosOperation(kind: "daemon reload", words: "daemon reload") { world in
                try reload(world, configuration(world))
            }
        case 8:
            ChaosOperation(kind: "daemon reload broken", words: "daemon reload broken") { world in
                try reload(world, "[daemon]\nrepair_burst = \"many\"\n[[guest]\nid = \u{1}\n")
                try TextFile.write(configuration(world), to: file(world))
            }
        default:
            ChaosOperation(kind: "daemon second", words: "daemon second", act: second)
        }
    }

    /// The file of configuration.
    static func file(_ world: ChaosWorld) -> String { world.scratch + "/fdbsteerd.toml" }

    /// Repairs are not held back, so that an entry that stays wrong is a fault.
    private static func configuration(_ world: ChaosWorld) -> String {
        """
        [daemon]
        repair_burst = 1000
        repair_backoff_initial = "10ms"
        repair_backoff_limit = "100ms"
        [[guest]]
        id = "\(world.guests[1].id)"
        kind = "net_failover"
        qmp = "\(world.monitors[1].path)"
        follow = true
        [[guest]]
        id = "\(world.guests[2].id)"
        kind = "net_failover"
        return_to_primary = "when-back"
        [[guest]]
        id = "\(world.guests[4].id)"
        qmp = "\(world.monitors[4].path)"
        follow = true

        """
    }

    static func start(_ world: ChaosWorld) throws {
        guard world.daemon == nil else { return }
        try TextFile.write(configuration(world), to: file(world))
        let daemon = try ChaosDaemon(world)
        world.daemon = daemon
        for _ in 0..<500 {
            if daemon.answers("/readyz") { return }
            if daemon.hasEnded { break }
            usleep(10_000)
        }
        if world.isFull, daemon.hasEnded, !daemon.log.isEmpty {
            // It may refuse a folder that it cannot write.
            world.daemon = nil
            return
        }
        throw ChaosViolation(
            rule: .daemon, text: "it did not become ready within 5 s, but said: \(daemon.log.suffix(2000))")
    }

    static func end(_ world: ChaosWorld) throws {
        guard let daemon = world.daemon else { return }
        world.daemon = nil
        guard let code = daemon.end(by: SIGTERM, within: 3) else {
            throw ChaosViolation(rule: .bound, text: "it did not end within 3 s of SIGTERM: \(daemon.log.suffix(2000))")
        }
        guard code == 0 else {
            throw ChaosViolation(rule: .crash, text: "SIGTERM ended it with \(code): \(daemon.log.suffix(2000))")
        }
    }

    private static func reload(_ world: ChaosWorld, _ text: String) throws {
        guard let daemon = world.daemon else { return }
        try TextFile.write(text, to: file(world))
        kill(daemon.process, SIGHUP)
        usleep(20_000)
    }

    /// A second daemon on the same folder refuses, and says why.
    private static func second(_ world: ChaosWorld) throws {
        guard world.daemon != nil else { return }
        let second = try ChaosDaemon(world)
        let hasEnded = ChaosWorld.waitForEnd(of: second.process, 3)
        let code = second.end(by: SIGKILL, within: 1) ?? 0
        guard hasEnded, (1..<128).contains(code), !second.log.isEmpty else {
            throw ChaosViolation(
                rule: .daemon,
                text: "a second daemon on one folder: \(hasEnded ? "\(code)" : "runs"): \(second.log.suffix(500))")
        }
    }
}
