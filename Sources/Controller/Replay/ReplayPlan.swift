import FDB
import Netlink
import Policy
import Switchdev

/// What a replay of one guest has to know.
struct ReplayPlan {
    /// How the guest is asked which of its ports' frames it takes.
    struct Asks {
        let ip: IPAddress
        let standbyTag: FrameTag?
        let primaryTag: FrameTag?

        /// The question of a pair.
        func frame(_ side: Side, _ pair: Int) -> [UInt8] {
            let ask = Ask(place: ReplayPlan.place(side), number: UInt16(truncatingIfNeeded: pair))
            // A `struct virtio_net_hdr` that asks for nothing.
            return [UInt8](repeating: 0, count: ReplayPlan.headerLength)
                + ask.frame(to: ip, tag: side == .primary ? primaryTag : standbyTag)
        }
    }

    let standby: PortIdentity
    let primary: PortIdentity
    let uplink: PortIdentity?
    let uplinkMAC: MACAddress
    let tagging: UplinkTagging?
    let macs: [MACAddress]
    /// nil where the guest has no primary to give up, or cannot be asked.
    let gap: Asks?
    /// It gets its primary, and does not give it up.
    let isArriving: Bool
    /// The primary is a tap: its counters tell which frames were read from its queue. A NIC has no such queue, and its counters may lag.
    var isPrimaryTap = false

    /// The length of `struct virtio_net_hdr`.
    static let headerLength = 10

    /// Other inquiries use smaller ones.
    private static func place(_ side: Side) -> UInt8 { side == .primary ? 3 : 4 }

    func isOfGuest(_ frame: UnsafeRawBufferPointer) -> Bool {
        let octets = UnsafeRawBufferPointer(rebasing: frame[0..<6])
        return macs.contains { mac in withUnsafeBytes(of: mac.octets) { $0.elementsEqual(octets) } }
    }

    /// The number of the pair whose question by a side a frame is; nil for other frames.
    func pair(of frame: UnsafeRawBufferPointer, from side: Side) -> Int? {
        guard let ask = Ask(frame[6..<12]), ask.place == ReplayPlan.place(side) else { return nil }
        return Int(ask.number)
    }

    /// What the guest says.
    enum Word {
        /// It answers the question of a pair.
        case answer(Side, pair: Int)
        /// It probes the address at which it is asked (RFC 5227): a question would be a conflict to it.
        case probe
    }

    /// What a frame says of the guest; nil for one that says nothing, or is not the guest's.
    func word(_ frame: UnsafeRawBufferPointer) -> Word? {
        guard let ip = gap?.ip, let (mac, word) = GuestWord.decode(frame), macs.contains(mac) else { return nil }
        switch word {
        case .answer(let ask, ip):
            let side = [Side.primary, .standby].first { ask.place == ReplayPlan.place($0) }
            return side.map { .answer($0, pair: Int(ask.number)) }
        case .probe(ip): return .probe
        default: return nil
        }
    }
}
