import Synchronization

/// Set by one thread, seen by another.
public final class StopFlag: Sendable {
    private let value = Atomic(false)

    /// Not set.
    public init() {}

    /// Sets it; there is no way back.
    public func set() { value.store(true, ordering: .releasing) }

    /// It was set.
    public var isSet: Bool { value.load(ordering: .acquiring) }
}
