import Synchronization

/// A flag that one thread sets and another reads.
package final class StopFlag: Sendable {
    private let value = Atomic(false)

    /// Makes a flag that is not set.
    package init() {}

    /// Sets the flag, which cannot be cleared.
    package func set() { value.store(true, ordering: .releasing) }

    /// The flag was set.
    package var isSet: Bool { value.load(ordering: .acquiring) }
}
