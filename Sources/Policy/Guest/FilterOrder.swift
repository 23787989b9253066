/// The order of filter changes that is safe on a NIC.
public enum FilterOrder: String, Hashable, Sendable, Codable, CaseIterable {
    /// Add the MAC at its new place, then remove it at its old one. Nothing is lost, but frames arrive twice for a moment.
    case makeBeforeBreak = "make-before-break"
    /// Remove the MAC first: the NIC refuses a MAC in two places, or delivers its frames to the wrong one.
    case breakBeforeMake = "break-before-make"
}
