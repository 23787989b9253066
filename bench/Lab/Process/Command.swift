package import Glibc
import System

/// A finished command.
package struct Command: Sendable {
    /// The exit code, or 128 plus the signal number.
    package let exitCode: Int32
    /// Standard output.
    package let output: String
    /// Standard error.
    package let errors: String

    /// Runs a command in the calling thread's namespaces and waits for it.
    ///
    /// - Parameters:
    ///   - arguments: the program, searched in PATH, and its arguments.
    ///   - environment: variables added to this process's environment, ``steering`` left out.
    /// - Throws: ``LabError`` if it cannot be started. The caller judges the exit code.
    package static func run(
        _ arguments: [String], environment: [String: String] = [:]
    ) throws -> Command {
        let running = try RunningCommand(arguments, environment: environment)
        return running.wait()
    }

    /// Runs a command with the standard output and standard error of this process, and returns its exit code.
    ///
    /// - Throws: ``LabError`` if it cannot be started.
    package static func passThrough(_ arguments: [String]) throws -> Int32 {
        ChildProcess.exitCode(of: try spawn(arguments), isWaiting: true) ?? -1
    }

    /// Starts a program, found by PATH, in the calling thread's namespaces.
    ///
    /// - Parameters:
    ///   - environment: added to this process's own, ``steering`` left out.
    ///   - unblocksSignals: whether the signals that the calling thread blocks reach the program.
    ///   - files: says what its descriptors are.
    /// - Returns: its id; it must be waited for.
    /// - Throws: ``LabError`` when it cannot be started.
    package static func spawn(
        _ arguments: [String], environment: [String: String] = [:], unblocksSignals: Bool = false,
        files: (inout posix_spawn_file_actions_t) -> Void = { _ in }
    ) throws(LabError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        files(&actions)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        if unblocksSignals { posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK)) }
        var words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var variables = variables(adding: environment).map { strdup($0) } + [nil]
        defer { variables.forEach { free($0) } }
        var process = pid_t()
        let failure = posix_spawnp(&process, arguments.first ?? "", &actions, &attributes, &words, &variables)
        guard failure == 0 else {
            throw LabError("cannot start \(arguments.first ?? "nothing"): \(String(cString: strerror(failure)))")
        }
        return process
    }

    /// Variables that change what the programs under test read, do or print. A started program has them only when the
    /// caller gives them, so that a test finds the same on every machine.
    package static let steering: Set<String> = [
        "COLUMNS", "FDBSTEER_HOOK_CONFIGURATION", "FDBSTEER_LEAK", "FDBSTEER_LIBVIRT_RUN", "FDBSTEER_STATE",
        "JOURNAL_STREAM", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME", "LINES",
        "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "NO_COLOR", "SUDO_UID", "TERM", "TZ", "WATCHDOG_PID",
        "WATCHDOG_USEC",
    ]

    private static func variables(adding extra: [String: String]) -> [String] {
        var result = extra.map { "\($0)=\($1)" }
        var variable = environ
        while let text = variable.pointee {
            let line = String(cString: text)
            let name = String(line.prefix { $0 != "=" })
            if extra[name] == nil, !steering.contains(name) { result.append(line) }
            variable += 1
        }
        return result
    }

    /// Runs commands, one a line, split at spaces; the first failure is an error.
    ///
    /// - Throws: ``LabError`` with the command's own message.
    package static func script(_ lines: String) throws {
        for line in lines.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            if words.isEmpty { continue }
            let command = try run(words)
            guard command.exitCode == 0 else {
                throw LabError("\(line.drop { $0 == " " }): exit code \(command.exitCode): \(command.errors)")
            }
        }
    }
}

/// A started command; it must be waited for.
package struct RunningCommand: ~Copyable {
    /// The process id.
    package let process: pid_t
    private let files: [String]

    /// Starts a command. Its output goes to temporary files, so no pipe fills up.
    ///
    /// - Throws: ``LabError`` if it cannot be started.
    package init(_ arguments: [String], environment: [String: String] = [:]) throws {
        let files = try (0..<2).map { _ in try RunningCommand.temporaryFile() }
        do {
            process = try Command.spawn(arguments, environment: environment) { actions in
                posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
                posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, files[0], O_WRONLY | O_TRUNC, 0)
                posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, files[1], O_WRONLY | O_TRUNC, 0)
            }
        } catch {
            files.forEach { unlink($0) }
            throw error
        }
        self.files = files
    }

    /// The text that it has written to standard error so far.
    package var errorsSoFar: String { TextFile.read(files[1]) }

    /// Waits for the end.
    package consuming func wait() -> Command {
        let code = ChildProcess.exitCode(of: process, isWaiting: true) ?? -1
        let texts = files.map(TextFile.read)
        files.forEach { unlink($0) }
        return Command(exitCode: code, output: texts[0], errors: texts[1])
    }

    private static func temporaryFile() throws -> String {
        var template = Array("/tmp/fdbsteer-lab-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else {
            throw LabError("cannot make a temporary file: \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// An operation of the lab that failed.
package struct LabError: Error, CustomStringConvertible {
    /// The failure and its reason.
    package let description: String

    /// - Parameter description: the failure and its reason.
    package init(_ description: String) { self.description = description }
}
