import CLab
import Glibc
import Synchronization

/// A process that ends when this process ends, for whatever reason.
///
/// A shell starts it and reads from a pipe whose other end this process holds; when that end closes, the shell kills it.
public final class SupervisedProcess: Sendable {
    private let shell: pid_t
    private let pipeEnd: Mutex<Int32?>

    /// Starts it in the calling thread's namespaces.
    ///
    /// - Parameters:
    ///   - arguments: the program, searched in PATH, and its arguments.
    ///   - output: a file for its output.
    /// - Throws: ``LabError``.
    public init(_ arguments: [String], output: String) throws {
        // An interrupt from the terminal goes to the whole process group, and the shell must survive it.
        let script = #"trap '' INT TERM HUP; "$@" </dev/null & child=$!; read -r _; kill -9 $child; wait"#
        var ends: [Int32] = [0, 0]
        let made = clab_pipe(&ends)
        guard made == 0 else { throw LabError("cannot make a pipe: \(String(cString: strerror(-made)))") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A pool thread blocks signals. With SIGCHLD blocked, a waiting shell would never notice the child's end.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words = (["sh", "-c", script, "sh"] + arguments).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var process = pid_t()
        let failure = posix_spawnp(&process, "sh", &actions, &attributes, &words, environ)
        close(ends[0])
        guard failure == 0 else {
            close(ends[1])
            throw LabError("cannot start a shell: \(String(cString: strerror(failure)))")
        }
        shell = process
        pipeEnd = Mutex(ends[1])
    }

    deinit { end() }

    /// Kills it and waits for its end.
    public func end() {
        let open = pipeEnd.withLock { end -> Int32? in
            defer { end = nil }
            return end
        }
        guard let open else { return }
        close(open)
        _ = Command.exitCode(of: shell)
    }

    /// A file's text; empty if it cannot be read.
    public static func text(_ path: String) -> String { RunningCommand.contents(path) }
}
