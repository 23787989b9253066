import Glibc
import Lab
import System

/// A peer that runs during the whole bench and accepts works on its standard input (bench/peers/peer.h).
///
/// It measures its own works, so neither its start nor a pipe affects the figures.
final class PeerProcess {
    /// The result of a turn.
    struct Turn {
        let nanoseconds: Double
        /// The number of entries involved.
        let entries: Int
    }

    let name: String
    private let process: pid_t
    private let input: Int32
    private let output: UnsafeMutablePointer<FILE>

    /// Starts a peer in the calling thread's namespace.
    ///
    /// - Throws: ``LabError`` if it cannot be started.
    init(_ name: String, _ arguments: [String]) throws {
        var pipes: [Int32] = [-1, -1, -1, -1]
        guard pipe(&pipes[0]) == 0, pipe(&pipes[2]) == 0, let file = fdopen(pipes[2], "r")
        else { throw LabError("no pipes for \(name): \(String(cString: strerror(errno)))") }
        // No peer inherits an end of another peer's pipe.
        for descriptor in pipes { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        defer {
            close(pipes[0])
            close(pipes[3])
        }
        self.name = name
        input = pipes[1]
        output = file
        process = try Command.spawn(arguments) { actions in
            posix_spawn_file_actions_adddup2(&actions, pipes[0], STDIN_FILENO)
            posix_spawn_file_actions_adddup2(&actions, pipes[3], STDOUT_FILENO)
        }
    }

    deinit {
        close(input)
        fclose(output)
        _ = ChildProcess.exitCode(of: process, isWaiting: true)
    }

    /// Makes the peer do one work.
    ///
    /// - Throws: ``LabError`` if it fails; its own message is on standard error.
    func run(_ work: String, _ count: Int, port: Int = 0) throws -> Turn {
        try ask(work, count, port: port)
        return try answer()
    }

    /// Requests a work without waiting for it.
    ///
    /// - Throws: ``LabError`` if the peer has ended.
    func ask(_ work: String, _ count: Int, port: Int = 0) throws {
        let line = Array("\(work) \(count) \(port)\n".utf8)
        guard write(input, line, line.count) == line.count else { throw LabError("\(name) has ended") }
    }

    /// Waits for the requested work.
    ///
    /// - Throws: ``LabError`` if it fails; its own message is on standard error.
    func answer() throws -> Turn {
        var answer = [CChar](repeating: 0, count: 128)
        guard fgets(&answer, Int32(answer.count), output) != nil else {
            throw LabError("\(name) failed")
        }
        let text = String(decoding: answer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let numbers = text.split { $0 == " " || $0 == "\n" }.compactMap { Int($0) }
        guard numbers.count == 2 else { throw LabError("\(name) answered \(text)") }
        return Turn(nanoseconds: Double(numbers[0]), entries: numbers[1])
    }
}

/// A command that is timed from its start to its end; its output is discarded.
enum TimedCommand {
    /// - Returns: nanoseconds.
    /// - Throws: ``LabError`` if it cannot be started or fails; its own message is on standard error.
    static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Double {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        var words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        // A minimal environment, so that a long one here does not affect the time.
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin"
        let settings: [String] = ["PATH=\(path)"] + environment.map { "\($0.key)=\($0.value)" }
        var variables = settings.map { strdup($0) } + [nil]
        defer { variables.forEach { free($0) } }
        var process = pid_t()
        var status: Int32 = 0
        let begin = monotonicNanoseconds()
        let failure = posix_spawnp(&process, arguments[0], &actions, nil, &words, &variables)
        guard failure == 0 else {
            throw LabError("cannot start \(arguments[0]): \(String(cString: strerror(failure)))")
        }
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let end = monotonicNanoseconds()
        guard status == 0 else { throw LabError("\(arguments.joined(separator: " ")): status \(status)") }
        return Double(end - begin)
    }
}
