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
        try DaemonLab.write(configuration, to: file)
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

    static func write(_ text: String, to path: String) throws {
        guard let file = fopen(path, "w") else { throw LabError("cannot write \(path)") }
        fputs(text, file)
        fclose(file)
    }

    /// The text that it has logged.
    var log: String {
        guard let file = fopen(logFile, "r") else { return "" }
        defer { fclose(file) }
        var text = ""
        var buffer = [CChar](repeating: 0, count: 4096)
        while fgets(&buffer, Int32(buffer.count), file) != nil {
            text += String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        return text
    }

    /// Waits until it has logged a text the given number of times. It waits for the event and not for a time; the half minute
    /// is
    /// for a failing test.
    func waitFor(_ text: String, times: Int = 1) throws {
        for _ in 0..<3000 {
            if log.components(text) >= times { return }
            usleep(10_000)
        }
        throw LabError("fdbsteerd did not log \"\(text)\" \(times) times, but:\n\(log)")
    }

    /// The number of times that a text was logged.
    func count(_ text: String) -> Int { log.components(text) }

    /// Waits until the bridge's entry of the guest contains these words.
    func waitForEntry(_ words: String) throws {
        for _ in 0..<3000 {
            if try lab.lab.entry(CommandLineLab.mac)?.contains(words) == true { return }
            usleep(10_000)
        }
        throw LabError("no entry with \"\(words)\": \(try lab.lab.entry(CommandLineLab.mac) ?? "none")\n\(log)")
    }
}

extension String {
    fileprivate func components(_ text: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.range(of: text) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }

    fileprivate struct Found { let upperBound: String.Index }
}

extension Substring {
    /// The first occurrence of a text, without Foundation.
    fileprivate func range(of text: String) -> String.Found? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) {
                return String.Found(upperBound: index(start, offsetBy: text.count))
            }
            start = index(after: start)
        }
        return nil
    }
}
