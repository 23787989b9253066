import Netlink
import Switchdev
import Synchronization
import System

/// How the daemon's loop is, for `/healthz` and `/readyz`: left by the loop, read by the server's thread.
final class LoopHealth: Sendable {
    /// Since when the loop is at work (CLOCK_MONOTONIC, nanoseconds); 0 while it waits for events.
    private let busySince = Atomic<Int64>(monotonicNanoseconds())
    private let ready = Atomic<Bool>(false)

    /// A turn of the loop that takes longer than the longest wait for hardware is no turn.
    private static let patience: Int64 = 30_000_000_000

    /// The loop waits for events from now on; whether every guest was looked at.
    func rest(isReady: Bool) {
        ready.store(isReady, ordering: .relaxed)
        busySince.store(0, ordering: .relaxed)
    }

    /// The loop is at work from now on.
    func turn() { busySince.store(monotonicNanoseconds(), ordering: .relaxed) }

    /// Every guest was looked at.
    var isReady: Bool { ready.load(ordering: .relaxed) }

    /// The loop is not stuck.
    var isAlive: Bool {
        let since = busySince.load(ordering: .relaxed)
        return since == 0 || monotonicNanoseconds() - since < LoopHealth.patience
    }
}
