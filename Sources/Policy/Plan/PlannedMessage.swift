import FDB

/// One netlink message of a plan.
public struct PlannedMessage: Hashable, Sendable, Encodable {
    /// The message in words.
    public let netlink: String
    /// What a script would run for the same, where there is such a command.
    public let bridgeCommand: String?
}

extension PlannedMessage {
    init(_ words: RequestWords) { self.init(netlink: words.netlink, bridgeCommand: words.bridgeCommand) }
}
