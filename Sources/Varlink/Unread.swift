import Glibc
import Synchronization

/// The answers that their clients have not taken yet, of all connections together.
///
/// An answer may have megabytes. A client that does not read keeps its own for as long as there is room, and delays nobody: where there
/// is none, the connection ends whose client has been waited for the longest.
final class Unread: Sendable {
    private struct Answer {
        let descriptor: Int32
        let bytes: Int
    }

    /// The oldest first.
    private let answers = Mutex<[Answer]>([])
    /// The most bytes of all.
    private let limit: Int

    init(limit: Int = 16 << 20) { self.limit = limit }

    /// A client has not taken all of an answer at once.
    ///
    /// - Parameter descriptor: its connection, which stays open until ``remove(_:)``.
    func add(_ bytes: Int, of descriptor: Int32) {
        answers.withLock { answers in
            answers.append(Answer(descriptor: descriptor, bytes: bytes))
            var total = answers.reduce(0) { $0 + $1.bytes }
            while total > limit, answers.count > 1 {
                let oldest = answers.removeFirst()
                total -= oldest.bytes
                // Its thread, which waits to send, is told so.
                shutdown(oldest.descriptor, Int32(SHUT_RDWR))
            }
        }
    }

    /// The answer is taken, or given up.
    func remove(_ descriptor: Int32) { answers.withLock { $0.removeAll { $0.descriptor == descriptor } } }
}
