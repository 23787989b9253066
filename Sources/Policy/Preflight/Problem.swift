/// Something that is wrong with a guest, and what to do about it.
public struct Problem: Hashable, Sendable, Encodable, CustomStringConvertible {
    /// The stable word: the code of a ``Finding``, or another of docs/json.md.
    public let code: String
    /// The port, bridge or address concerned; empty for the guest as a whole.
    public let subject: String
    /// What is so.
    public let message: String
    /// A command, or what else to do.
    public let remedy: String

    /// What is found beside the rules.
    package enum Kind: String, CaseIterable {
        /// The table has no entry of an address, or another than it should have.
        case entryWrong = "entry-wrong"
        /// Another port has taken addresses of the guest.
        case addressTaken = "address-taken"
        /// What keeps other ports from taking them is missing or differs.
        case guardMissing = "guard-missing"
        /// The copy of an open bracket is missing or differs.
        case copyWrong = "copy-wrong"
        /// Something is under way.
        case underWay = "under-way"
        /// Something was under way, and its process is gone.
        case interrupted
        /// Hardware shows something else than the table.
        case hardwareDiffers = "hardware-differs"
    }

    package init(_ kind: Kind, _ message: String, remedy: String) { self.init(kind.rawValue, message, remedy: remedy) }

    package init(_ code: String, about subject: String = "", _ message: String, remedy: String) {
        self.code = code
        self.subject = subject
        self.message = message
        self.remedy = remedy
    }

    /// What the rules found about a prepared guest.
    init(_ finding: Finding) {
        self.init(finding.code.rawValue, about: finding.subject, finding.message, remedy: finding.remedy)
    }

    /// What is so, with what it concerns.
    public var words: String { subject.isEmpty ? message : "\(subject): \(message)" }

    public var description: String { words }
}
