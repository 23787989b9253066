/// Something that is wrong with a guest, and what to do about it. In JSON it is the words alone.
public struct Problem: Hashable, Sendable, Encodable, CustomStringConvertible {
    /// What is so.
    public let words: String
    /// A command, or what else to do.
    public let remedy: String

    package init(_ words: String, remedy: String) {
        self.words = words
        self.remedy = remedy
    }

    /// What the rules found about a prepared guest.
    init(_ finding: Finding) { self.init("\(finding.subject): \(finding.message)", remedy: finding.remedy) }

    public var description: String { words }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(words)
    }
}
