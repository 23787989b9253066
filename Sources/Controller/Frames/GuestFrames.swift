import CNetlink
package import FDB
import Glibc
package import Netlink
import Switchdev
import System

/// Frames that a guest sends by one port, as the host's CPU sees them: their source is one of the guest's MACs.
///
/// Neither RARP counts, by which hypervisors announce a guest on each of its ports, nor what the bridge itself sends out by
/// the port. For a loop around poll(2); the kernel filters, so that nobody wakes for other frames.
package struct GuestFrames: ~Copyable {
    /// For poll(2).
    package let descriptor: Int32

    /// A program of the classic packet filter has 4,096 instructions at most; each MAC takes five.
    private static let macLimit = 800

    /// - Parameters:
    ///   - macs: the guest's; all frames count when there are more than 800.
    ///   - port: interface index.
    ///   - takesAnnouncements: RARP counts too.
    /// - Throws: ``NetlinkError`` of code `system`.
    package init(
        from macs: some Sequence<MACAddress>, port: Int32, takesAnnouncements: Bool = false
    ) throws(NetlinkError) {
        let program = GuestFrames.filter(Set(macs).sorted(), takesAnnouncements: takesAnnouncements)
        descriptor = try openPacketSocket(on: port, named: "ifindex \(port)", program)
    }

    deinit { closePacketSocket(descriptor) }

    /// Reads the frames that have arrived.
    ///
    /// - Returns: whether a frame of the guest has come since the last call.
    package func take() -> Bool {
        var found = false
        var byte: UInt8 = 0
        while true {
            let count = recv(descriptor, &byte, 1, 0)
            // ENETDOWN is told once when the port goes down.
            if count < 0, errno == EINTR || errno == ENETDOWN { continue }
            if count < 0 { return found }
            found = true
        }
    }

    /// Reads the frames that have arrived, at most ``takeLimit`` of them. The socket's queue holds fewer, so the limit only matters
    /// while frames arrive faster than they are read.
    ///
    /// - Parameter body: called with each frame's source.
    package func take(_ body: (MACAddress, Kind) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: Int(GuestFrames.snap), alignment: 8) { buffer in
            for _ in 0..<GuestFrames.takeLimit {
                let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
                if count < 0, errno == EINTR || errno == ENETDOWN { continue }
                guard count >= 0 else { return }
                let frame = UnsafeRawBufferPointer(rebasing: buffer[..<count])
                guard count >= 14, let mac = MACAddress(octets: UnsafeRawBufferPointer(rebasing: frame[6..<12])) else {
                    continue
                }
                switch UInt16(frame[12]) << 8 | UInt16(frame[13]) {
                case UInt16(ETH_P_RARP): body(mac, .announcement)
                case UInt16(ETH_P_ARP):
                    if case (_, .probe)? = GuestWord.decode(frame) { body(mac, .probe) } else { body(mac, .other) }
                default: body(mac, .other)
                }
            }
        }
    }

    /// What a frame is for.
    package enum Kind: Hashable, Sendable {
        /// RARP.
        case announcement
        /// The guest tries whether anybody else has its address (RFC 5227).
        case probe
        case other
    }

    /// The octets that are kept of a frame: an ARP packet has 42.
    private static let snap: UInt32 = 64

    private static let takeLimit = 1024

    /// Accepts frames from these MACs that come in and, unless they are asked for, are no RARP.
    static func filter(_ macs: [MACAddress], takesAnnouncements: Bool = false) -> [sock_filter] {
        let loadByte = BPF_LD | BPF_B | BPF_ABS
        let loadHalf = BPF_LD | BPF_H | BPF_ABS
        let isEqual = BPF_JMP | BPF_JEQ | BPF_K
        let end = BPF_RET | BPF_K
        var program = [
            FrameFilter.step(loadByte, UInt32(bitPattern: Int32(CN_FRAME_KIND))),
            FrameFilter.step(isEqual, UInt32(PACKET_OUTGOING), no: 1), FrameFilter.step(end, 0),
        ]
        if !takesAnnouncements {
            program += [
                FrameFilter.step(loadHalf, 12), FrameFilter.step(isEqual, UInt32(ETH_P_RARP), no: 1),
                FrameFilter.step(end, 0),
            ]
        }
        guard macs.count <= macLimit else { return program + [FrameFilter.step(end, snap)] }
        for mac in macs { program += FrameFilter.accept(from: mac, octets: snap) }
        return program + [FrameFilter.step(end, 0)]
    }
}
