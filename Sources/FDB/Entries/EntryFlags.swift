import CNetlink

/// The state of a bridge entry (`ndm_state`, linux/neighbour.h).
public struct EntryState: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    /// - Parameter rawValue: the bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Dynamic, seen within the ageing time. The corresponding C constant is `NUD_REACHABLE`.
    public static let reachable = EntryState(rawValue: UInt16(NUD_REACHABLE))
    /// Dynamic, past the ageing time. The corresponding C constant is `NUD_STALE`.
    public static let stale = EntryState(rawValue: UInt16(NUD_STALE))
    /// Static: forwards, does not age. The corresponding C constant is `NUD_NOARP`.
    public static let noARP = EntryState(rawValue: UInt16(NUD_NOARP))
    /// Local: delivered to the host, not forwarded. The corresponding C constant is `NUD_PERMANENT`.
    public static let permanent = EntryState(rawValue: UInt16(NUD_PERMANENT))
}

/// The flags of a bridge entry or of a request for one (`ndm_flags`, linux/neighbour.h).
public struct EntryFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    /// - Parameter rawValue: the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    private init(_ bits: Int32) { rawValue = UInt8(truncatingIfNeeded: bits) }

    /// In a request: takes the path of learning, which also notifies the driver of the old port. The corresponding C
    /// constant is `NTF_USE`.
    public static let use = EntryFlags(NTF_USE)
    /// The device's own address list, not the bridge. The corresponding C constant is `NTF_SELF`.
    public static let selfTable = EntryFlags(NTF_SELF)
    /// The bridge that the device is a port of. The corresponding C constant is `NTF_MASTER`.
    public static let master = EntryFlags(NTF_MASTER)
    /// Learned by a driver or a control plane. The corresponding C constant is `NTF_EXT_LEARNED`.
    public static let externallyLearned = EntryFlags(NTF_EXT_LEARNED)
    /// A driver reported that hardware has the entry; a move does not clear the flag. The corresponding C constant is
    /// `NTF_OFFLOADED`.
    public static let offloaded = EntryFlags(NTF_OFFLOADED)
    /// Learning does not move the entry. The corresponding C constant is `NTF_STICKY`.
    public static let sticky = EntryFlags(NTF_STICKY)
    /// The corresponding C constant is `NTF_ROUTER`.
    public static let router = EntryFlags(NTF_ROUTER)
}

/// The extended flags of a bridge entry (`NDA_FLAGS_EXT`, linux/neighbour.h; kernel 6.2 and later for bridges).
public struct EntryExtendedFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    /// - Parameter rawValue: the bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Learned on a locked port: does not authorise its host. The corresponding C constant is `NTF_EXT_LOCKED`.
    public static let locked = EntryExtendedFlags(rawValue: UInt32(NTF_EXT_LOCKED))
}
