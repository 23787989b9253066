public import FDB
public import Netlink

/// The filters of a NIC in legacy mode for one MAC, one VF and one netdev of the NIC.
public struct NICFilters: Hashable, Sendable {
    /// The VF as the PF lists it; nil if it is gone.
    public let function: VirtualFunction?
    /// The netdev has the MAC in its unicast list.
    public let hasEntry: Bool

    /// Makes filters from their parts.
    public init(function: VirtualFunction?, hasEntry: Bool) {
        self.function = function
        self.hasEntry = hasEntry
    }

    /// Reads the filters.
    ///
    /// - Parameters:
    ///   - mac: the MAC.
    ///   - vf: the VF's number.
    ///   - pf: interface index of the physical function.
    ///   - uplink: interface index of the netdev whose unicast list is read.
    /// - Throws: ``NetlinkError`` if answers are lost.
    public static func read(
        _ mac: MACAddress, vf: UInt32, of pf: Int32, uplink: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> NICFilters {
        let link = try Links.read([pf], using: &socket).first ?? nil
        return NICFilters(
            function: link?.virtualFunctions.first { $0.index == vf },
            hasEntry: try UnicastList.contains(mac, link: uplink, using: &socket))
    }
}

extension VirtualFunction {
    /// Reads how many frames a VF has received, as its PF's driver counts them (IFLA_VF_STATS).
    ///
    /// - Returns: nil if there is no such VF; drivers that do not count always report 0.
    /// - Throws: ``NetlinkError`` if answers are lost.
    public static func receivedPackets(
        _ vf: UInt32, of pf: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> UInt64? {
        var count: UInt64?
        try socket.get([LinkGet(index: pf, withFunctionCounters: true)]) { (_, reply) throws(NetlinkError) in
            guard case .success(let (_, payload)) = reply else { return }
            count = try Link(decoding: payload).virtualFunctions.first { $0.index == vf }?.receivedPackets
        }
        return count
    }
}
