import CNetlink
public import Netlink

/// Counters of an interface since it was made (`struct rtnl_link_stats64`), in frames.
///
/// Directions are the interface's: frames from the bridge to a guest are transmitted by the port. On representors drivers
/// include frames that hardware forwarded if they can; veth counts only frames that software passed.
public struct PortCounters: Hashable, Sendable, Codable {
    /// Frames received by the port, which the device behind it sent.
    public let rxPackets: UInt64
    /// Frames transmitted by the port.
    public let txPackets: UInt64
    /// Frames received and dropped.
    public let rxDropped: UInt64
    /// Frames dropped instead of transmitted.
    public let txDropped: UInt64

    /// Makes counters from their parts.
    public init(rxPackets: UInt64, txPackets: UInt64, rxDropped: UInt64, txDropped: UInt64) {
        self.rxPackets = rxPackets
        self.txPackets = txPackets
        self.rxDropped = rxDropped
        self.txDropped = txDropped
    }

    /// Whether one of them is less than it was: the interface was made anew, or its driver has reset them.
    package func hasBegunAgain(since earlier: PortCounters) -> Bool {
        rxPackets < earlier.rxPackets || txPackets < earlier.txPackets || rxDropped < earlier.rxDropped
            || txDropped < earlier.txDropped
    }

    /// Reads the counters of interfaces.
    ///
    /// - Returns: for each index its counters, or nil if there is no such interface or it has no counters.
    /// - Throws: ``NetlinkError`` if answers are lost.
    public static func read(
        _ indexes: [Int32], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [PortCounters?] {
        var counters = [PortCounters?](repeating: nil, count: indexes.count)
        try socket.get(indexes.map(StatisticsGet.init)) { (index, reply) throws(NetlinkError) in
            guard case .success(let (_, payload)) = reply else { return }
            counters[index] = try PortCounters(decoding: payload)
        }
        return counters
    }

    /// Decodes the payload of an RTM_NEWSTATS message.
    ///
    /// - Returns: nil if it has no IFLA_STATS_LINK_64.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let size = MemoryLayout<if_stats_msg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "statistics message of \(payload.count) bytes where \(size) are the least")
        }
        var attributes = AttributeReader(payload, from: size)
        while let attribute = attributes.next() {
            // Kernels append fields; only the first eight are needed.
            guard attribute.type == Int(IFLA_STATS_LINK_64), attribute.bytes.count >= 64 else { continue }
            func field(_ number: Int) -> UInt64 {
                attribute.bytes.loadUnaligned(fromByteOffset: number * 8, as: UInt64.self)
            }
            self.init(rxPackets: field(0), txPackets: field(1), rxDropped: field(6), txDropped: field(7))
            return
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "statistics message with an attribute that does not fit")
        }
        return nil
    }
}

/// Reads only the counters of one link (RTM_GETSTATS, kernel 4.7): a tenth of an RTM_GETLINK's answer.
private struct StatisticsGet: Request {
    /// `struct rtnl_link_stats64` has 200 bytes, and grows seldom.
    static var replyLimit: Int? { 1024 }
    let index: Int32

    var type: MessageType { .getStatistics }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        body.put(if_stats_msg(family: 0, pad1: 0, pad2: 0, ifindex: UInt32(bitPattern: index), filter_mask: mask))
    }

    /// IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64).
    private var mask: UInt32 { 1 << (UInt32(IFLA_STATS_LINK_64) - 1) }
}
