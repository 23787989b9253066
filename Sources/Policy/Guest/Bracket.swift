public import Switchdev

/// What a verb does to a bracket.
public enum BracketChange: String, Hashable, Sendable, CaseIterable {
    case opens, closes
}

/// An open bracket: the entries are on the standby, and what leaves there for the guest is copied to the primary.
public struct Bracket: Hashable, Sendable {
    /// When it was opened, in nanoseconds since 1970 (CLOCK_REALTIME).
    public let openedAt: Int64
    /// What makes the copy.
    public let means: CopyMeans
    /// The clsact was made for it.
    public let ownsClsact: Bool
    /// The daemon has opened it because the primary had lost its carrier: it ends when that is back.
    public var isForCarrier = false

    /// Makes one from its parts.
    public init(openedAt: Int64, means: CopyMeans, ownsClsact: Bool, isForCarrier: Bool = false) {
        self.openedAt = openedAt
        self.means = means
        self.ownsClsact = ownsClsact
        self.isForCarrier = isForCarrier
    }

    /// Stands for a bracket of which the journal knows nothing more.
    package static let none = Bracket(openedAt: 0, means: .clsact, ownsClsact: false)
}
