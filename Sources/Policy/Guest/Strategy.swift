/// How a redirection moves a guest's frames.
public enum Strategy: String, Hashable, Sendable, CaseIterable, Codable {
    /// One move, now or at a signal.
    case cut
    /// Each frame reaches both ports, from before the guest changes its NIC until there is evidence that it has.
    case bracket
}
