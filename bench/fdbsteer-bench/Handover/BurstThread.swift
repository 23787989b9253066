import Glibc
import Lab
import LossMeter
import Synchronization
import System

/// A burst without changes, on its own thread, while the bench does something else.
struct BurstThread {
    private let thread: LabThread
    private let outcome = Outcome()

    private final class Outcome: Sendable {
        let recording = Mutex<Result<Recording, LabError>?>(nil)
    }

    /// - Throws: ``LabError``.
    init(_ burst: Burst) throws {
        thread = try Namespace.thread { [outcome] in
            let result: Result<Recording, LabError>
            do {
                result = .success(try burst.run { _ in Change(destination: nil) }.0)
            } catch {
                result = .failure(LabError("\(error)"))
            }
            outcome.recording.withLock { $0 = result }
        }
    }

    /// Waits for its end.
    func wait() -> Result<Recording, LabError> {
        thread.join()
        return outcome.recording.withLock { $0 } ?? .failure(LabError("a sender ended without a result"))
    }

    /// Sleeps until so many milliseconds after a moment of CLOCK_REALTIME, in nanoseconds.
    static func sleep(until start: Int64, _ milliseconds: Int64) {
        let left = start + milliseconds * 1_000_000 - Stopwatch.realTime
        if left > 0 { usleep(UInt32(left / 1000)) }
    }
}
