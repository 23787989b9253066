import CNetlink
public import FDB
public import Netlink

/// The nftables table that keeps out of a port's queue what would only be in the way there when somebody reads it: a tap holds 1,000
/// frames, and drops the newest.
///
/// The table belongs to the socket that made it, and ends with the process, so that a daemon that dies keeps nothing from a
/// guest. `nft list tables` shows it as `fdbsteer/queue-NUMBER`; each chain counts what it drops.
public enum QueueShield {
    /// What does not leave by the port.
    public enum Kind: Hashable, Sendable {
        /// Everything but frames to these MACs: nobody reads the port yet, and others' frames are old when somebody does.
        case others(than: [MACAddress])
        /// Frames to these MACs, unless they have the mark: they are kept, and sent once somebody reads the port.
        case frames(to: [MACAddress])
    }

    /// SO_MARK of what is sent past ``Kind/frames(to:)``.
    public static let mark: UInt32 = 0x2fd5b

    /// Keeps frames out of a port's queue from now on, and no others than before.
    ///
    /// - Parameter socket: its socket for packet filters owns the table.
    /// - Throws: ``NetlinkError``: nothing is kept out.
    public static func raise(
        _ kind: Kind, at port: Int32, named device: String, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        try lower(port, using: &socket)
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            let (table, chain) = (name(socket.portID), chain(port))
            try socket.performTogether(
                [.begin, .addTable(table), .addEgress(table, chain, device: device)]
                    + rules(kind).map { OwnedTableRequest.addRule(table, chain, $0) } + [.end])
        }
    }

    private static func rules(_ kind: Kind) -> [[PacketExpression]] {
        func isTo(_ mac: MACAddress) -> [PacketExpression] {
            [.destination, .compare(NFT_CMP_EQ, withUnsafeBytes(of: mac.octets) { Array($0) })]
        }
        switch kind {
        case .others(let macs): return macs.map { isTo($0) + [.verdict(.accept)] } + [[.count, .verdict(.drop)]]
        case .frames(let macs):
            let isMarked: [PacketExpression] = [
                .meta(NFT_META_MARK), .compare(NFT_CMP_EQ, PacketExpression.bytes(mark)), .verdict(.accept),
            ]
            return [isMarked] + macs.map { isTo($0) + [.count, .verdict(.drop)] }
        }
    }

    /// Keeps nothing out any more; that nothing was is no error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func lower(_ port: Int32, using socket: inout CommandSocket) throws(NetlinkError) {
        try OwnedTableRequest.remove(chain(port), of: name, using: &socket)
    }

    private static func name(_ socket: UInt32) -> String { "fdbsteer/queue-\(socket)" }
    private static func chain(_ port: Int32) -> String { "queue-\(port)" }
}
