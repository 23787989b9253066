public import Glibc

/// A finished command.
public struct Command: Sendable {
    /// The exit code, or 128 plus the signal number.
    public let exitCode: Int32
    /// Standard output.
    public let output: String
    /// Standard error.
    public let errors: String

    /// Runs a command in the calling thread's namespaces and waits for it.
    ///
    /// - Parameters:
    ///   - arguments: the program, searched in PATH, and its arguments.
    ///   - environment: variables added to this process's environment.
    /// - Throws: ``LabError`` if it cannot be started. The caller judges the exit code.
    public static func run(
        _ arguments: [String], environment: [String: String] = [:]
    ) throws -> Command {
        let running = try RunningCommand(arguments, environment: environment)
        return running.wait()
    }

    /// Runs a command with the standard output and standard error of this process, and returns its exit code.
    ///
    /// - Throws: ``LabError`` if it cannot be started.
    public static func passThrough(_ arguments: [String]) throws -> Int32 {
        var words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var process = pid_t()
        let failure = posix_spawnp(&process, arguments.first ?? "", nil, nil, &words, environ)
        guard failure == 0 else {
            throw LabError("cannot start \(arguments.first ?? "nothing"): \(String(cString: strerror(failure)))")
        }
        return exitCode(of: process)
    }

    static func exitCode(of process: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }

    /// Runs commands, one a line, split at spaces; the first failure is an error.
    ///
    /// - Throws: ``LabError`` with the command's own message.
    public static func script(_ lines: String) throws {
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
public struct RunningCommand: ~Copyable {
    /// The process id.
    public let process: pid_t
    private let files: [String]

    /// Starts a command. Its output goes to temporary files, so no pipe fills up.
    ///
    /// - Throws: ``LabError`` if it cannot be started.
    public init(_ arguments: [String], environment: [String: String] = [:]) throws {
        let files = try (0..<2).map { _ in try RunningCommand.temporaryFile() }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, files[0], O_WRONLY | O_TRUNC, 0)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, files[1], O_WRONLY | O_TRUNC, 0)
        var words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var variables = RunningCommand.variables(adding: environment).map { strdup($0) } + [nil]
        defer { variables.forEach { free($0) } }
        var process = pid_t()
        let failure = posix_spawnp(&process, arguments.first ?? "", &actions, nil, &words, &variables)
        guard failure == 0 else {
            files.forEach { unlink($0) }
            throw LabError("cannot start \(arguments.first ?? "nothing"): \(String(cString: strerror(failure)))")
        }
        self.process = process
        self.files = files
    }

    /// The text that it has written to standard error so far.
    public var errorsSoFar: String { RunningCommand.contents(files[1]) }

    /// Waits for the end.
    public consuming func wait() -> Command {
        let code = Command.exitCode(of: process)
        let texts = files.map(RunningCommand.contents)
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

    static func contents(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count <= 0 { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func variables(adding extra: [String: String]) -> [String] {
        var result = extra.map { "\($0)=\($1)" }
        var variable = environ
        while let text = variable.pointee {
            let line = String(cString: text)
            if !extra.keys.contains(where: { line.hasPrefix($0 + "=") }) { result.append(line) }
            variable += 1
        }
        return result
    }
}

/// An operation of the lab that failed.
public struct LabError: Error, CustomStringConvertible {
    /// The failure and its reason.
    public let description: String

    /// - Parameter description: the failure and its reason.
    public init(_ description: String) { self.description = description }
}
