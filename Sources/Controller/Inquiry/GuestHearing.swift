import CNetlink
import FDB
import Glibc
import Netlink
import Policy
import Switchdev
import System

/// Hears a guest's IP addresses from its own frames: what ARP and neighbour discovery say is its own, and sources of its IPv4 packets.
struct GuestHearing: ~Copyable {
    private let sockets: InquirySockets
    private let macs: Set<MACAddress>
    /// Frames that are read before others get their turn.
    private static let framesPerTurn = 64
    /// Of a guest with more MACs only so many are heard: each is five instructions of a filter.
    private static let macLimit = 64

    /// - Parameter ports: the guest's own.
    /// - Throws: ``NetlinkError`` of code `system`.
    init(_ guest: GuestInterface, on ports: [PortIdentity]) throws(NetlinkError) {
        let macs = Set(guest.addresses.map(\.mac)).sorted().prefix(GuestHearing.macLimit)
        sockets = try InquirySockets(on: ports, GuestHearing.filter(Array(macs)))
        self.macs = Set(macs)
    }

    /// For poll(2).
    var descriptor: Int32 { sockets.descriptor }

    /// Reads the frames that have arrived.
    ///
    /// - Parameter isStrict: sources of packets do not count, which a guest that forwards has many of.
    /// - Returns: an IP address that seems to be the guest's; nil for none yet.
    func take(isStrict: Bool) -> IPAddress? {
        var found: IPAddress?
        sockets.take(most: GuestHearing.framesPerTurn) { frame in
            guard let (mac, word) = GuestWord.decode(frame), macs.contains(mac) else { return }
            switch word {
            case .owns(let ip): found = ip
            case .sends(let ip) where !isStrict: found = found ?? ip
            default: break
            }
        }
        return found
    }

    /// Accepts frames that come in from these MACs: ARP, IPv4, neighbour solicitations and advertisements.
    private static func filter(_ macs: [MACAddress]) -> [sock_filter] {
        let (equal, half, byte) = (BPF_JMP | BPF_JEQ | BPF_K, BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_B | BPF_ABS)
        let (step, end) = (FrameFilter.step, BPF_RET | BPF_K)
        var program = [
            step(byte, UInt32(bitPattern: Int32(CN_FRAME_KIND)), 0, 0),
            step(equal, UInt32(PACKET_OUTGOING), 7, 0),
            step(half, 12, 0, 0), step(equal, UInt32(ETH_P_ARP), 6, 0), step(equal, UInt32(ETH_P_IP), 5, 0),
            step(equal, UInt32(ETH_P_IPV6), 0, 3),
            // The message's type, where extension headers do not move it; such frames are none of these.
            step(byte, 54, 0, 0), step(equal, 135, 2, 0), step(equal, 136, 1, 0),
            step(end, 0, 0, 0),
        ]
        for mac in macs { program += FrameFilter.accept(from: mac, octets: 128) }
        return program + [step(end, 0, 0, 0)]
    }
}
