package import Policy

extension Report {
    /// What the exit code means, for people, without ``failures``; nil for 0.
    package var complaint: String? {
        if !failures.isEmpty { return "\(verb.rawValue) of \(guest) \(failureWords)" }
        guard exitCode == ControllerError.Code.unproven.rawValue else { return nil }
        return "\(verb.rawValue) of \(guest) is applied, but proof is \(proof ?? "missing") "
            + "(\"fdbsteer verify \(guest)\" compares; --require-proof was given)"
    }

    /// What the exit code means.
    private var failureWords: String {
        switch outcome {
        case .refused: "was refused:"
        case .incomplete: "could not give back everything; the guest is forgotten, and this is left:"
        case .unrecorded:
            "moved everything, and it stays so, but the record does not say it; once it can be written, run "
                + "\"fdbsteer reconcile\":"
        case .rolledBack: "failed and was rolled back:"
        default:
            "failed and was not fully rolled back; run \"fdbsteer verify \(guest)\", then \"fdbsteer reconcile\":"
        }
    }
}
