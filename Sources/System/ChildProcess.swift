package import CNetlink
import Glibc

/// A program in its own process group.
package enum ChildProcess {
    /// Starts a program without arguments or input; its output goes to standard error.
    ///
    /// - Returns: its process id, and a descriptor that is readable once it has ended.
    /// - Throws: ``SystemError``.
    package static func start(_ path: String) throws(SystemError) -> (process: pid_t, descriptor: Int32) {
        // PATH is not searched.
        let process = try spawn([path.contains("/") ? path : "./" + path], output: STDERR_FILENO)
        let descriptor = cn_process_descriptor(process)
        guard descriptor >= 0 else {
            end(process)
            throw SystemError("pidfd_open failed", errno: -descriptor)
        }
        return (process, descriptor)
    }

    /// Starts a program with its output and errors in a pipe.
    ///
    /// - Parameter arguments: the program, searched in PATH, and its arguments.
    /// - Returns: its process id, and the non-blocking end of the pipe.
    /// - Throws: ``SystemError``.
    package static func startReading(_ arguments: [String]) throws(SystemError) -> (process: pid_t, descriptor: Int32) {
        var ends: [Int32] = [-1, -1]
        let failure = cn_pipe(&ends)
        guard failure == 0 else {
            throw SystemError("cannot make a pipe", errno: -failure)
        }
        defer { close(ends[1]) }
        do throws(SystemError) {
            return (try spawn(arguments, output: ends[1], errors: ends[1]), ends[0])
        } catch {
            close(ends[0])
            throw error
        }
    }

    /// Runs a program to its end.
    ///
    /// - Parameters:
    ///   - arguments: the program, searched in PATH, and its arguments.
    ///   - limit: so many bytes of its output and errors are kept.
    /// - Returns: its exit code, and what it has printed.
    /// - Throws: ``SystemError``.
    package static func output(of arguments: [String], limit: Int) throws(SystemError) -> (Int32, String) {
        let (process, descriptor) = try startReading(arguments)
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count == 0 { break }
            if count > 0 {
                bytes += buffer.prefix(min(count, limit - bytes.count))
                continue
            }
            guard errno == EAGAIN || errno == EINTR else { break }
            var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            poll(&polled, 1, -1)
        }
        let code = exitCode(of: process, isWaiting: true) ?? -1
        return (code, String(decoding: bytes, as: UTF8.self))
    }

    private static func spawn(
        _ arguments: [String], output: Int32, errors: Int32? = nil
    ) throws(SystemError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        if let errors { posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The waiter's signal mask does not apply to its children.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        // SIGPIPE ends a child that writes after the reader is gone.
        sigaddset(&none, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var process = pid_t()
        let failure = posix_spawnp(&process, arguments.first ?? "", &actions, &attributes, &words, environ)
        guard failure == 0 else {
            throw SystemError("cannot start a process", errno: failure)
        }
        return process
    }

    /// Kills a process and its group, and waits for its end.
    package static func end(_ process: pid_t) {
        killGroup(process)
        _ = exitCode(of: process, isWaiting: true)
    }

    /// Kills a process and its children by their process group.
    ///
    /// Call this before the leader is waited for: until then no other process can get its id.
    package static func killGroup(_ process: pid_t) {
        if process > 1 { kill(-process, SIGKILL) }
    }

    /// Whether a process has ended; it stays to be waited for.
    package static func hasEnded(_ process: pid_t) -> Bool {
        var information = siginfo_t()
        return waitid(P_PID, id_t(process), &information, WEXITED | WNOHANG | WNOWAIT) == 0
            && information.si_signo == SIGCHLD
    }

    /// The exit code of a process, or 128 and more for a signal; nil while it runs.
    package static func exitCode(of process: pid_t, isWaiting: Bool) -> Int32? {
        var status: Int32 = 0
        while true {
            let result = waitpid(process, &status, isWaiting ? 0 : WNOHANG)
            if result == process { break }
            if result < 0, errno == EINTR { continue }
            return result < 0 ? -1 : nil
        }
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }
}
