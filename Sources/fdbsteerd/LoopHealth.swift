import Netlink
import Switchdev
import Synchronization
import System

/// How the daemon's loop is, for `/healthz` and `/readyz`: left by the loop, read by the server's thread.
final class LoopHealth: Sendable {
    /// When the loop has turned again at the latest (CLOCK_MONOTONIC, nanoseconds).
    private let limit = Atomic<Int64>(monotonicNanoseconds() + LoopHealth.patience)
    private let ready = Atomic<Bool>(false)

    /// A turn of the loop that takes longer than the longest wait for hardware is no turn.
    private static let patience: Int64 = 30_000_000_000

    /// The loop waits for events from now on.
    ///
    /// - Parameters:
    ///   - due: when it wants to be awake, on CLOCK_MONOTONIC in nanoseconds.
    ///   - isReady: every guest was looked at.
    func rest(until due: Int64, isReady: Bool) {
        ready.store(isReady, ordering: .relaxed)
        limit.store(due + LoopHealth.patience, ordering: .relaxed)
    }

    /// The loop is at work from now on.
    func turn() { limit.store(monotonicNanoseconds() + LoopHealth.patience, ordering: .relaxed) }

    /// Every guest was looked at.
    var isReady: Bool { ready.load(ordering: .relaxed) }

    /// The loop turns: it is neither stuck in a turn, nor asleep beyond the time that it wanted to be awake.
    var isAlive: Bool { monotonicNanoseconds() < limit.load(ordering: .relaxed) }
}
