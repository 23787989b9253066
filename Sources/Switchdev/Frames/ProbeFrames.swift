import CNetlink
public import FDB
import Glibc
public import Netlink
public import System

/// A numbered frame of a probe, with the fields that distinguish it from others.
public struct ProbeFrame: Hashable, Sendable {
    /// The measurement that it belongs to.
    public let measurement: UInt16
    /// The port that sent it.
    public let source: UInt8
    /// It was sent with a VLAN tag.
    public let isTagged: Bool
    /// Its number, from 0.
    public let number: UInt16

    /// The EtherType for local experiments (IEEE 802), which no protocol handler accepts.
    public static let etherType: UInt16 = 0x88b6
    /// The size in bytes, without the tag.
    static let size = 60
    private static let magic: [UInt8] = Array("fdbsteer".utf8)

    /// Makes a frame from its parts.
    public init(measurement: UInt16, source: UInt8, isTagged: Bool, number: UInt16) {
        self.measurement = measurement
        self.source = source
        self.isTagged = isTagged
        self.number = number
    }

    /// The bytes on the wire.
    ///
    /// - Parameters:
    ///   - run: distinguishes this probe's frames from those of another.
    ///   - vlan: the VLAN of a tagged frame.
    func bytes(to destination: MACAddress, from source: MACAddress, run: UInt32, vlan: VLANID?) -> [UInt8] {
        var bytes: [UInt8] = []
        for mac in [destination, source] { withUnsafeBytes(of: mac.octets) { bytes += $0 } }
        func put(_ value: UInt16) { bytes += [UInt8(value >> 8), UInt8(value & 0xff)] }
        if isTagged, let vlan {
            put(UInt16(ETH_P_8021Q))
            put(vlan.rawValue)
        }
        put(ProbeFrame.etherType)
        bytes += ProbeFrame.magic
        put(UInt16(run >> 16))
        put(UInt16(run & 0xffff))
        put(measurement)
        bytes += [self.source, isTagged ? 1 : 0]
        put(number)
        let size = ProbeFrame.size + (isTagged ? 4 : 0)
        return bytes + [UInt8](repeating: 0, count: max(0, size - bytes.count))
    }

    /// Decodes a received frame, whose tag the NIC may have removed.
    ///
    /// - Returns: nil for a frame that is not this probe's.
    public init?(decoding bytes: UnsafeRawBufferPointer, run: UInt32) {
        func word(_ offset: Int) -> UInt16 {
            UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
        }
        guard bytes.count >= 18 else { return nil }
        let payload = word(12) == UInt16(ETH_P_8021Q) ? 18 : 14
        let end = payload + ProbeFrame.magic.count
        guard bytes.count >= end + 10, word(payload - 2) == ProbeFrame.etherType,
            bytes[payload..<end].elementsEqual(ProbeFrame.magic),
            UInt32(word(end)) << 16 | UInt32(word(end + 2)) == run
        else { return nil }
        measurement = word(end + 4)
        source = bytes[end + 6]
        isTagged = bytes[end + 7] != 0
        number = word(end + 8)
    }
}

/// An interface on which a probe sends and receives (AF_PACKET, packet(7)).
public struct ProbePort: ~Copyable {
    private let descriptor: Int32
    /// The interface's name.
    public let name: String

    /// - Parameters:
    ///   - link: the interface.
    ///   - promiscuous: makes the interface receive every frame as long as this value lives.
    /// - Throws: ``NetlinkError`` of code `system`; EPERM without CAP_NET_RAW.
    public init(_ link: Link, promiscuous: Bool = false) throws(NetlinkError) {
        let descriptor = cn_probe_socket(link.index, ProbeFrame.etherType, promiscuous ? 1 : 0)
        guard descriptor >= 0 else {
            throw NetlinkError(
                .system, "cannot open a packet socket on \(link.name)", errno: KernelErrno(rawValue: -descriptor))
        }
        self.descriptor = descriptor
        name = link.name
    }

    deinit { close(descriptor) }

    /// Sends a frame.
    ///
    /// - Returns: nil, or the kernel's error.
    public func send(
        _ frame: ProbeFrame, to destination: MACAddress, from source: MACAddress, run: UInt32, vlan: VLANID?
    ) -> KernelErrno? {
        let bytes = frame.bytes(to: destination, from: source, run: run, vlan: vlan)
        while Glibc.send(descriptor, bytes, bytes.count, 0) < 0 {
            if errno != EINTR { return KernelErrno(rawValue: errno) }
        }
        return nil
    }

    /// Passes on the probe's frames that have arrived, except those that this host sent on the interface.
    public func receive(run: UInt32, _ body: (ProbeFrame) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { buffer in
            while true {
                var isOutgoing: Int32 = 0
                let count = cn_packet_receive(descriptor, buffer.baseAddress, buffer.count, &isOutgoing)
                guard count > 0 else { return }
                let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<min(count, buffer.count)])
                guard isOutgoing == 0, let frame = ProbeFrame(decoding: bytes, run: run) else { continue }
                body(frame)
            }
        }
    }
}
