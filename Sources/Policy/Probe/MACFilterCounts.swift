/// Where the frames of one port arrived in one state of a probe.
public struct MACFilterCounts: Hashable, Sendable, Codable {
    /// Which port sent them.
    public enum Source: String, Hashable, Sendable, Codable {
        /// The port outside of the NIC: frames from the network.
        case wire
        /// Another VF of the same NIC: frames that the NIC's own switch forwards.
        case sibling
    }

    /// The state, in one word.
    public let state: String
    /// Its parts.
    public let parts: MACFilterProbe.State
    /// Which port sent.
    public let source: Source
    /// With a VLAN tag.
    public let tagged: Bool
    /// Frames that were sent.
    public let sent: Int
    /// Frames that arrived at the PF's interface.
    public var pf: Int
    /// Frames that arrived at the VF's interface, which exists only while it is bound to a driver of this host.
    public var vf: Int
    /// Frames of a sibling that left by the wire.
    public var wire: Int
    /// Frames that arrived at PF and VF.
    public var both: Int
    /// Frames that arrived nowhere.
    public var nowhere: Int
    /// How far the PF's counter of received frames went on, for all sources and others' frames together.
    public var pfCounter: UInt64?
    /// How far the VF's went on.
    public var vfCounter: UInt64?

    /// Makes counts from their parts.
    public init(
        _ state: MACFilterProbe.State, from source: Source, tagged: Bool, sent: Int, pf: Int = 0, vf: Int = 0,
        wire: Int = 0, both: Int = 0, nowhere: Int = 0
    ) {
        self.state = state.description
        parts = state
        self.source = source
        self.tagged = tagged
        self.sent = sent
        self.pf = pf
        self.vf = vf
        self.wire = wire
        self.both = both
        self.nowhere = nowhere
    }

    /// Most arrived there: a frame lost to a full buffer does not turn a verdict.
    private func isMost(_ count: Int) -> Bool { count * 2 > sent }
    /// The PF gets them.
    package var reachesPF: Bool { isMost(pf) }
    /// The VF gets them.
    package var reachesVF: Bool { isMost(vf) }
    /// Nobody gets them.
    package var isLost: Bool { isMost(nowhere) }

    /// In one word: `pf`, `vf`, `both`, `wire`, `nowhere`, or `mixed`.
    public var place: String {
        let places = [(pf, "pf"), (vf, "vf"), (wire, "wire")].filter { isMost($0.0) }.map(\.1)
        if reachesPF && reachesVF { return "both" }
        return places.isEmpty ? (isLost ? "nowhere" : "mixed") : places.joined(separator: "+")
    }
}
