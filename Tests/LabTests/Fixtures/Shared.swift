import Synchronization

/// A counter that one thread writes and another reads.
final class Counter: Sendable {
    private let count = Atomic<UInt32>(0)

    func increment() { count.add(1, ordering: .releasing) }
    var value: UInt32 { count.load(ordering: .acquiring) }
}
