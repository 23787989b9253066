import Glibc

/// Blocks the signals that ask a process to end, until the process ends by itself.
package struct HeldSignals {
    private static let numbers = [SIGINT, SIGTERM, SIGHUP]

    package init() {
        var set = sigset_t()
        sigemptyset(&set)
        for number in HeldSignals.numbers { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// One of the signals is pending.
    package var arePending: Bool {
        var set = sigset_t()
        guard sigpending(&set) == 0 else { return false }
        return HeldSignals.numbers.contains { sigismember(&set, $0) == 1 }
    }
}
