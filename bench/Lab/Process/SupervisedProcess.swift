import CLab
import Glibc
import Synchronization
import System

/// A process that ends when this process ends, for whatever reason.
///
/// A shell starts it and reads from a pipe whose other end this process holds; when that end closes, the shell kills it.
package final class SupervisedProcess: Sendable {
    private let shell: pid_t
    private let pipeEnd: Mutex<Int32?>

    /// Starts it in the calling thread's namespaces.
    ///
    /// - Parameters:
    ///   - arguments: the program, searched in PATH, and its arguments.
    ///   - output: a file for its output.
    /// - Throws: ``LabError``.
    package init(_ arguments: [String], output: String) throws {
        // An interrupt from the terminal goes to the whole process group, and the shell must survive it.
        let script = #"trap '' INT TERM HUP; "$@" </dev/null & child=$!; read -r _; kill -9 $child; wait"#
        var ends: [Int32] = [0, 0]
        let made = clab_pipe(&ends)
        guard made == 0 else { throw LabError("cannot make a pipe: \(String(cString: strerror(-made)))") }
        defer { close(ends[0]) }
        do {
            // A thread of a pool blocks signals, SIGCHLD too, which a shell that waits would never hear.
            shell = try Command.spawn(["sh", "-c", script, "sh"] + arguments, unblocksSignals: true) { actions in
                posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
                posix_spawn_file_actions_addopen(
                    &actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
                posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
            }
        } catch {
            close(ends[1])
            throw error
        }
        pipeEnd = Mutex(ends[1])
    }

    deinit { end() }

    /// The most memory that was resident in it so far, in KiB (VmHWM of proc_pid_status(5)); nil once it has ended.
    package var residentAtMost: Int? {
        let children = TextFile.read("/proc/\(shell)/task/\(shell)/children").split(separator: " ")
        return children.first.flatMap { child in
            TextFile.read("/proc/\(child)/status").split(separator: "\n").first { $0.hasPrefix("VmHWM:") }?
                .split(separator: "\t").last?.split(separator: " ").first.flatMap { Int($0) }
        }
    }

    /// Kills it and waits for its end.
    package func end() {
        let open = pipeEnd.withLock { end -> Int32? in
            defer { end = nil }
            return end
        }
        guard let open else { return }
        close(open)
        _ = ChildProcess.exitCode(of: shell, isWaiting: true)
    }
}
