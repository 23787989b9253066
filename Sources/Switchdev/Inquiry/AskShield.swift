import CNetlink
public import Netlink
import System

/// The nftables table that drops, where they come in, the answers to questions (``Ask``): no bridge knows the MAC that they go to,
/// and would flood them. Packet sockets see them before.
///
/// The table belongs to the socket that made it (NFT_TABLE_F_OWNER): the kernel removes it with the socket, however the
/// process ends, and lets nobody else change it. `nft list tables` shows it as `fdbsteer/ask-NUMBER`, with the
/// socket's port id; each chain counts what it drops. A guest's table (``CopySpecification``) begins with `fdbsteer-`.
public enum AskShield {
    /// Drops answers at ports from now on. What is so already is no error.
    ///
    /// - Parameters:
    ///   - ports: indexes and names. The kernel forgets those of a port that is removed.
    ///   - socket: lives as long as questions are put; its socket for packet filters owns the table.
    /// - Throws: ``NetlinkError``; nothing was changed.
    public static func raise(
        _ ports: [(index: Int32, name: String)], using socket: inout CommandSocket
    ) throws(NetlinkError) {
        if ports.isEmpty { return }
        var isThere = false
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            let table = name(socket.portID)
            var requests: [OwnedTableRequest] = [.begin, .addTable(table)]
            for port in ports {
                let chain = chain(port.index)
                requests += [.addIngress(table, chain, device: port.name), .addRule(table, chain, ofAnswers)]
            }
            do throws(NetlinkError) {
                try socket.performTogether(requests + [.end])
            } catch {
                guard error.errno == .exists else { throw error.during("cannot make the nftables table \(table)") }
                isThere = true
            }
        }
        // The kernel made none of them, because of one.
        guard isThere, ports.count > 1 else { return }
        for port in ports { try raise([port], using: &socket) }
    }

    /// Tries whether this kernel can drop answers at a port, and makes nothing.
    ///
    /// - Throws: ``NetlinkError``, as ``SourceGuardTable/check(using:)`` does.
    public static func check(_ port: String, using socket: inout CommandSocket) throws(NetlinkError) {
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            let (table, chain) = ("fdbsteer/probe", "port")
            try socket.performTogether(
                [
                    .begin, .addTable(table), .addIngress(table, chain, device: port),
                    OwnedTableRequest.addRule(table, chain, ofAnswers),
                ],
                isTrial: true)
        }
    }

    /// Drops answers at a port no longer; that it did not is no error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func lower(_ port: Int32, using socket: inout CommandSocket) throws(NetlinkError) {
        try OwnedTableRequest.remove(chain(port), of: name, using: &socket)
    }

    private static let ofAnswers: [PacketExpression] = [
        .load(offset: 0, length: UInt32(Ask.prefix.count)), .compare(NFT_CMP_EQ, Ask.prefix), .count, .verdict(.drop),
    ]

    static func name(_ socket: UInt32) -> String { "fdbsteer/ask-\(socket)" }
    private static func chain(_ port: Int32) -> String { "port-\(port)" }
}
