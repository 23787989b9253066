import Synchronization

/// A flag that one thread sets and another reads.
public final class StopFlag: Sendable {
    private let value = Atomic(false)

    /// Makes a flag that is not set.
    public init() {}

    /// Sets the flag, which cannot be cleared.
    public func set() { value.store(true, ordering: .releasing) }

    /// The flag was set.
    public var isSet: Bool { value.load(ordering: .acquiring) }
}
