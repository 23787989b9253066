import Synchronization

/// Set by one thread, seen by another.
final class Flag: Sendable {
    private let state = Atomic(false)

    func set() { state.store(true, ordering: .releasing) }
    var isSet: Bool { state.load(ordering: .acquiring) }
}

/// Counted by one thread, read by another.
final class Counter: Sendable {
    private let count = Atomic<UInt32>(0)

    func increment() { count.add(1, ordering: .releasing) }
    var value: UInt32 { count.load(ordering: .acquiring) }
}
