/// What is known about whether hardware forwards as the software table says.
///
/// The kernel's acknowledgement is no proof, and neither is an OFFLOADED flag of unknown age: the kernel never clears it
/// when an entry moves (docs/switchdev.md).
public enum OffloadProof: Hashable, Sendable {
    /// No port of the redirection belongs to a switch: the software table is all there is.
    case nothingToProve
    /// Hardware has caught up.
    case proven(evidence: String)
    /// A port belongs to a switch, and nothing shows that it followed.
    case missing(reason: String)

    /// One word for programs.
    public enum Status: String, Hashable, Sendable, Codable {
        case nothingToProve = "nothing_to_prove"
        case proven
        case missing
    }

    /// One word for programs.
    public var status: Status {
        switch self {
        case .nothingToProve: .nothingToProve
        case .proven: .proven
        case .missing: .missing
        }
    }

    /// Words for people.
    public var text: String {
        switch self {
        case .nothingToProve: "software bridge: nothing to prove"
        case .proven(let evidence): "proven: \(evidence)"
        case .missing(let reason): "missing: \(reason)"
        }
    }
}
