import Glibc
import Lab
import Testing

/// fdbsteerd running alongside the command line, on the same journal.
struct DaemonLab: Sendable {
    let lab: CommandLineLab
    let process: pid_t
    private let logFile: String

    /// Runs `body` in a fresh namespace with a bridge and a ready daemon; the daemon must exit cleanly afterwards.
    static func run(
        flooding: Bool = false, configuration: String = "", _ body: @escaping @Sendable (DaemonLab) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: flooding) { lab in
            try DaemonLab.run(in: lab, configuration: configuration) { try body($0) }
        }
    }

    /// Runs a daemon in an existing lab; unless it was killed, it must end with an exit code.
    static func run(
        in lab: CommandLineLab, configuration: String = "", log name: String = "log", exitCode: Int32 = 0,
        _ body: (DaemonLab) throws -> Void
    ) throws {
        let log = lab.state + "/" + name
        let file = lab.state + "/fdbsteerd.toml"
        try TextFile.write(configuration, to: file)
        let running = try RunningCommand(
            [
                "sh", "-c", "exec \(CommandLineLab.products)/fdbsteerd --config \(file) --state \(lab.state) 2>\(log)",
            ])
        let daemon = DaemonLab(lab: lab, process: running.process, logFile: log)
        var failure: (any Error)?
        do {
            try daemon.waitFor("watching")
            try body(daemon)
        } catch {
            failure = error
        }
        kill(daemon.process, SIGTERM)
        let ended = running.wait()
        #expect(ended.exitCode == exitCode || ended.exitCode == 128 + SIGKILL, "\(daemon.log)")
        if let failure { throw failure }
    }

    /// The text that it has logged.
    var log: String { TextFile.read(logFile) }

    /// Waits until it has logged a text the given number of times. It waits for the event and not for a time; the half minute
    /// is
    /// for a failing test.
    func waitFor(_ text: String, times: Int = 1) throws {
        for _ in 0..<3000 {
            if count(text) >= times { return }
            usleep(10_000)
        }
        throw LabError("fdbsteerd did not log \"\(text)\" \(times) times, but:\n\(log)")
    }

    /// Waits until something is so that the daemon writes.
    func waitForFile(_ isSo: () -> Bool) throws {
        for _ in 0..<3000 {
            if isSo() { return }
            usleep(10_000)
        }
        throw LabError("fdbsteerd did not write it:\n\(log)")
    }

    /// Refuses the daemon's renames meanwhile, as a full folder does: the kernel exempts root from the quotas of a tmpfs.
    func withoutSpace(_ body: () throws -> Void) throws {
        let full = try RunningCommand([
            "strace", "-f", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2", "-e",
            "inject=rename,renameat,renameat2:error=ENOSPC", "-p", "\(process)",
        ])
        for _ in 0..<3000 {
            if TextFile.read("/proc/\(process)/status").contains("TracerPid:\t\(full.process)") { break }
            usleep(10_000)
        }
        do { try body() } catch { Issue.record(error) }
        kill(full.process, SIGKILL)
        _ = full.wait()
    }

    /// The number of times that a text was logged.
    func count(_ text: String) -> Int { log.ranges(of: text).count }

    /// Waits until the bridge's entry of the guest contains these words.
    func waitForEntry(_ words: String) throws {
        for _ in 0..<3000 {
            if try lab.lab.entry(CommandLineLab.mac)?.contains(words) == true { return }
            usleep(10_000)
        }
        throw LabError("no entry with \"\(words)\": \(try lab.lab.entry(CommandLineLab.mac) ?? "none")\n\(log)")
    }
}
