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
            var requests: [AskShieldRequest] = [.begin, .addTable(table)]
            for port in ports {
                let chain = chain(port.index)
                requests += [.addChain(table, chain, device: port.name), .addRule(table, chain)]
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
                    .begin, .addTable(table), .addChain(table, chain, device: port),
                    AskShieldRequest.addRule(table, chain),
                ],
                isTrial: true)
        }
    }

    /// Drops answers at a port no longer; that it did not is no error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func lower(_ port: Int32, using socket: inout CommandSocket) throws(NetlinkError) {
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            do throws(NetlinkError) {
                try socket.performTogether(
                    [AskShieldRequest.begin, .deleteChain(name(socket.portID), chain(port)), .end])
            } catch {
                guard error.errno == .noEntry else { throw error }
            }
        }
    }

    static func name(_ socket: UInt32) -> String { "fdbsteer/ask-\(socket)" }
    private static func chain(_ port: Int32) -> String { "port-\(port)" }
}

/// A message to nftables about that table.
enum AskShieldRequest: Request {
    case begin, end
    case addTable(String)
    case addChain(String, String, device: String)
    case addRule(String, String)
    case deleteChain(String, String)

    var type: MessageType {
        switch self {
        case .begin: PacketFilterRequest.begin.type
        case .end: PacketFilterRequest.end.type
        case .addTable: PacketFilterRequest.type(NFT_MSG_NEWTABLE)
        case .addChain: PacketFilterRequest.type(NFT_MSG_NEWCHAIN)
        case .addRule: PacketFilterRequest.type(NFT_MSG_NEWRULE)
        case .deleteChain: PacketFilterRequest.type(NFT_MSG_DELCHAIN)
        }
    }

    var flags: MessageFlags {
        switch self {
        // The table may be there from another port; a chain that is would get its rule twice.
        case .addTable, .addRule: [.create]
        case .addChain: [.create, .exclusive]
        default: []
        }
    }

    func encode(into body: inout MessageBody) {
        switch self {
        case .begin, .end: return body.putBatchHeader()
        default: body.putHeader(family: Int32(CN_NFPROTO_NETDEV))
        }
        switch self {
        case .begin, .end: break
        case .addTable(let table):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: table)
            body.putBig(NFTA_TABLE_FLAGS.rawValue, NFT_TABLE_F_OWNER.rawValue)
        case .addChain(let table, let chain, let device):
            body.putChain(chain, of: table)
            // Before others' chains, which may pass frames on to elsewhere.
            body.putHook(ingressHook, priority: -500, device: device)
        case .deleteChain(let table, let chain): body.putChain(chain, of: table)
        case .addRule(let table, let chain):
            let ofAnswers: [PacketExpression] = [
                .load(offset: 0, length: UInt32(Ask.prefix.count)), .compare(NFT_CMP_EQ, Ask.prefix), .count,
                .verdict(.drop),
            ]
            body.putRule(ofAnswers, in: chain, of: table)
        }
    }
}

/// NF_NETDEV_INGRESS of linux/netfilter.h.
private let ingressHook: UInt32 = 0
