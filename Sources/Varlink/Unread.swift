import Glibc
import Synchronization

/// The answers that their clients have not taken yet, of all connections together.
///
/// An answer may have megabytes. A client that does not read keeps its own for as long as there is room, and delays nobody: where there
/// is none, the connection with the largest answer is closed, of equal ones the one that waits longest. One answer may have any size.
final class Unread: Sendable {
    private struct Answer {
        let descriptor: Int32
        let bytes: Int
    }

    /// The oldest first.
    private let answers = Mutex<[Answer]>([])
    /// The most bytes of all but the largest.
    private let limit: Int

    init(limit: Int = 16 << 20) { self.limit = limit }

    /// A client has not taken all of an answer at once.
    ///
    /// - Parameter descriptor: its connection, which stays open until ``remove(_:)``.
    func add(_ bytes: Int, of descriptor: Int32) {
        answers.withLock { answers in
            answers.append(Answer(descriptor: descriptor, bytes: bytes))
            var total = answers.reduce(0) { $0 + $1.bytes }
            while let index = answers.indices.max(by: { answers[$0].bytes < answers[$1].bytes }) {
                guard total - answers[index].bytes > limit else { break }
                let largest = answers.remove(at: index)
                total -= largest.bytes
                // Its thread, which waits to send, is told so.
                shutdown(largest.descriptor, Int32(SHUT_RDWR))
            }
        }
    }

    /// The answer is taken, or given up.
    func remove(_ descriptor: Int32) { answers.withLock { $0.removeAll { $0.descriptor == descriptor } } }
}
