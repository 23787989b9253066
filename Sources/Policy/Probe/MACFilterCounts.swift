/// The places at which the frames of one port arrived in one state of a probe.
public struct MACFilterCounts: Hashable, Sendable, Codable {
    /// The port that sent them.
    public enum Source: String, Hashable, Sendable, Codable, CaseIterable {
        /// The port outside the NIC: frames from the network.
        case wire
        /// Another VF of the same NIC: frames that the NIC's own switch forwards.
        case sibling
    }

    /// The state as one word.
    public let state: String
    /// The fields of the state.
    public let parts: MACFilterProbe.State
    /// The port that sent the frames.
    public let source: Source
    /// The frames had a VLAN tag.
    public let tagged: Bool
    /// The number of frames sent.
    public let sent: Int
    /// Frames that arrived at the PF's interface.
    public var pf: Int
    /// Frames that arrived at the VF's interface, which exists only while a driver of this host is bound to the VF.
    public var vf: Int
    /// Frames of a sibling that left the NIC through the wire.
    public var wire: Int
    /// Frames that arrived at both PF and VF.
    public var both: Int
    /// Frames that arrived nowhere.
    public var nowhere: Int
    /// The increase of the PF's counter of received frames, over all sources and including other hosts' frames.
    public var pfCounter: UInt64?
    /// The increase of the VF's counter.
    public var vfCounter: UInt64?

    /// Makes counts from their fields.
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

    /// More than half arrived there: a frame lost to a full buffer does not change a verdict.
    private func isMost(_ count: Int) -> Bool { count * 2 > sent }
    /// The PF gets the frames.
    package var reachesPF: Bool { isMost(pf) }
    /// The VF gets the frames.
    package var reachesVF: Bool { isMost(vf) }
    /// Neither gets the frames.
    package var isLost: Bool { isMost(nowhere) }

    /// The place as one word: `pf`, `vf`, `both`, `wire`, `nowhere`, or `mixed`.
    public var place: String {
        let places = [(pf, "pf"), (vf, "vf"), (wire, "wire")].filter { isMost($0.0) }.map(\.1)
        if reachesPF && reachesVF { return "both" }
        return places.isEmpty ? (isLost ? "nowhere" : "mixed") : places.joined(separator: "+")
    }
}
