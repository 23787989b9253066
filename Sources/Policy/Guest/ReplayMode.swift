/// Whether frames that a guest could not take are kept and sent again (docs/zero.md).
public enum ReplayMode: String, Hashable, Sendable, CaseIterable {
    /// Nothing is kept.
    case off
    /// What a guest misses while it migrates is sent again to where it takes it.
    case replay
}
