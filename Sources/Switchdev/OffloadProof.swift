/// What is known about whether hardware forwards as the software table says.
public enum OffloadProof: Hashable, Sendable {
    /// No port of the redirection belongs to a switch: the software table is all there is.
    case nothingToProve
    /// A port belongs to a switch, and nothing shows that it followed.
    case missing(reason: String)

    /// Words for people.
    public var text: String {
        switch self {
        case .nothingToProve: "software bridge: nothing to prove"
        case .missing(let reason): "missing: \(reason)"
        }
    }

    /// Judges ports that have a part in a redirection.
    ///
    /// The kernel's acknowledgement and an OFFLOADED flag of unknown age are no proof (docs/design.md).
    public static func of(ports: [Link]) -> OffloadProof {
        let switched = ports.filter(\.isEswitchPort)
        if switched.isEmpty { return .nothingToProve }
        let names = switched.map(\.name).joined(separator: ", ")
        return .missing(reason: "this version does not ask the hardware behind \(names)")
    }
}
