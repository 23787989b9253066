import CNetlink
public import Netlink

/// Counters of an interface since it was made (IFLA_STATS64, `struct rtnl_link_stats64`), in frames.
///
/// Directions are the interface's: what the bridge sends to a guest is transmitted by the port. On representors drivers count
/// what hardware forwarded too where they can; veth counts only what software passed.
public struct PortCounters: Hashable, Sendable, Codable {
    /// Received by the port: sent by what is behind it.
    public let rxPackets: UInt64
    /// Transmitted by the port.
    public let txPackets: UInt64
    /// Received and dropped.
    public let rxDropped: UInt64
    /// Dropped instead of transmitted.
    public let txDropped: UInt64

    /// Makes counters from their parts.
    public init(rxPackets: UInt64, txPackets: UInt64, rxDropped: UInt64, txDropped: UInt64) {
        self.rxPackets = rxPackets
        self.txPackets = txPackets
        self.rxDropped = rxDropped
        self.txDropped = txDropped
    }

    /// Reads the counters of interfaces.
    ///
    /// - Returns: for each index its counters, nil where there is no such interface, or it has none.
    /// - Throws: ``NetlinkError`` when answers are lost.
    public static func read(
        _ indexes: [Int32], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [PortCounters?] {
        var counters = [PortCounters?](repeating: nil, count: indexes.count)
        try socket.get(indexes.map { LinkGet(index: $0, withCounters: true) }) { (index, reply) throws(NetlinkError) in
            guard case .success(let (_, payload)) = reply else { return }
            counters[index] = try PortCounters(decoding: payload)
        }
        return counters
    }

    /// Decodes the payload of an RTM_NEWLINK message.
    ///
    /// - Returns: nil when it has no IFLA_STATS64.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let size = MemoryLayout<ifinfomsg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "link message of \(payload.count) bytes where \(size) are the least")
        }
        var attributes = AttributeReader(payload, from: size)
        while let attribute = attributes.next() {
            // Kernels append fields, and the first eight are all that is needed.
            guard attribute.type == Int(IFLA_STATS64), attribute.bytes.count >= 64 else { continue }
            func field(_ number: Int) -> UInt64 {
                attribute.bytes.loadUnaligned(fromByteOffset: number * 8, as: UInt64.self)
            }
            self.init(rxPackets: field(0), txPackets: field(1), rxDropped: field(6), txDropped: field(7))
            return
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "link message with an attribute that does not fit")
        }
        return nil
    }
}
