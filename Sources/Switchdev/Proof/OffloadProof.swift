/// The state of knowledge about whether hardware forwards as the software table says.
///
/// The kernel's acknowledgement is not proof. Neither is an OFFLOADED flag of unknown age, because the kernel never clears it
/// when an entry moves (docs/switchdev.md).
public enum OffloadProof: Hashable, Sendable {
    /// No port of the redirection belongs to a switch: there is only the software table.
    case nothingToProve
    /// Hardware has followed.
    case proven(evidence: String)
    /// A port belongs to a switch, and nothing shows that it followed.
    case missing(reason: String)

    /// The result in one word, for programs.
    public enum Status: String, Hashable, Sendable, Codable, CaseIterable {
        case nothingToProve = "nothing_to_prove"
        case proven
        case missing
    }

    /// The result in one word, for programs.
    public var status: Status {
        switch self {
        case .nothingToProve: .nothingToProve
        case .proven: .proven
        case .missing: .missing
        }
    }

    /// The result in words, for people.
    public var text: String {
        switch self {
        case .nothingToProve: "software bridge: nothing to prove"
        case .proven(let evidence): "proven: \(evidence)"
        case .missing(let reason): "missing: \(reason)"
        }
    }
}
