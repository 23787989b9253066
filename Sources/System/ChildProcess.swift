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
        let pipe = try pipe()
        defer { close(pipe.writing) }
        do throws(SystemError) {
            return (try spawn(arguments, output: pipe.writing, errors: pipe.writing), pipe.reading)
        } catch {
            close(pipe.reading)
            throw error
        }
    }

    /// - Returns: a pipe whose reading end does not block.
    private static func pipe() throws(SystemError) -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [-1, -1]
        let failure = cn_pipe(&ends)
        guard failure == 0 else {
            throw SystemError("cannot make a pipe", errno: -failure)
        }
        return (ends[0], ends[1])
    }

    /// A program that has ended, and what it has printed.
    package struct Ended {
        /// Its exit code.
        package let code: Int32
        /// From standard output.
        package let output: [UInt8]
        /// From standard error.
        package let errors: [UInt8]
    }

    /// Runs a program to its end.
    ///
    /// - Parameters:
    ///   - arguments: the program, searched in PATH, and its arguments.
    ///   - limit: so many bytes of its output and errors are kept.
    ///   - patience: how long it may take, in nanoseconds. It is killed then.
    /// - Throws: ``SystemError``.
    package static func output(
        of arguments: [String], limit: Int, within patience: Int64
    ) throws(SystemError) -> Ended {
        let deadline = monotonicNanoseconds() + patience
        let output = try pipe()
        defer { close(output.reading) }
        let process: pid_t
        let errors: (reading: Int32, writing: Int32)
        do throws(SystemError) { errors = try pipe() } catch {
            close(output.writing)
            throw error
        }
        defer { close(errors.reading) }
        do {
            defer { for pipe in [output, errors] { close(pipe.writing) } }
            process = try spawn(arguments, output: output.writing, errors: errors.writing)
        }
        let ending = cn_process_descriptor(process)
        defer { if ending >= 0 { close(ending) } }
        var polled = [output.reading, errors.reading, ending].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var texts: [[UInt8]] = [[], []]
        var buffer = [UInt8](repeating: 0, count: 65536)
        while polled.contains(where: { $0.fd >= 0 }) {
            // What it has written is there when it has ended; its own children may keep the pipes open.
            let hasEnded = ending >= 0 && polled[2].fd < 0
            let left = deadline - monotonicNanoseconds()
            guard left > 0 else {
                end(process)
                throw SystemError(
                    "\(arguments.first ?? "") did not end within \(DurationText.text(patience))", errno: ETIMEDOUT)
            }
            let ready = poll(&polled, 3, hasEnded ? 0 : Int32(clamping: (left + 999_999) / 1_000_000))
            if ready == 0, hasEnded { break }
            for index in polled.indices where polled[index].revents != 0 {
                polled[index].revents = 0
                let count = index < 2 ? read(polled[index].fd, &buffer, buffer.count) : 0
                if count > 0 {
                    texts[index] += buffer.prefix(min(count, limit - texts[index].count))
                } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                    polled[index].fd = -1
                }
            }
        }
        return Ended(code: exitCode(of: process, isWaiting: true) ?? -1, output: texts[0], errors: texts[1])
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
