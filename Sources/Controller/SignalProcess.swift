import CNetlink
import Glibc
import Netlink

/// A program in a process group of its own.
enum ChildProcess {
    /// Starts a program without arguments; its output goes to standard error, it has no input.
    ///
    /// - Returns: its id, and a descriptor that is readable once it has ended.
    /// - Throws: ``NetlinkError`` of code `system`.
    static func start(_ path: String) throws(NetlinkError) -> (process: pid_t, descriptor: Int32) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The waiter's signal mask is not for its children.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
        var words = [strdup(path), nil]
        defer { words.forEach { free($0) } }
        var process = pid_t()
        let failure = posix_spawn(&process, path, &actions, &attributes, &words, environ)
        guard failure == 0 else {
            throw NetlinkError(.system, "cannot start a process", errno: KernelErrno(rawValue: failure))
        }
        let descriptor = cn_process_descriptor(process)
        guard descriptor >= 0 else {
            killGroup(process)
            _ = exitCode(of: process, isWaiting: true)
            throw NetlinkError(.system, "pidfd_open failed", errno: KernelErrno(rawValue: -descriptor))
        }
        return (process, descriptor)
    }

    /// Kills a process and what it started, by the group that only it and they belong to.
    ///
    /// Before its leader is waited for: until then the id is nobody else's.
    static func killGroup(_ process: pid_t) {
        if process > 1 { kill(-process, SIGKILL) }
    }

    /// How a process ended, 128 and more for a signal; nil while it runs.
    static func exitCode(of process: pid_t, isWaiting: Bool) -> Int32? {
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

/// CLOCK_MONOTONIC in nanoseconds.
func monotonicNow() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
