import CNetlink
public import Netlink
import System

/// The nftables table that drops, where they come in, the answers to questions (``Ask``): no bridge knows the MAC that they go to,
/// and would flood them. Packet sockets see them before.
///
/// The table belongs to the socket that made it (NFT_TABLE_F_OWNER): the kernel removes it with the socket, however the
/// process ends, and lets nobody else change it. `nft list tables` shows it as `fdbsteer-ask-NUMBER`, with the
/// socket's port id; each chain counts what it drops.
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

    private static func name(_ socket: UInt32) -> String { "fdbsteer-ask-\(socket)" }
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
        case .begin: return PacketFilterRequest.begin.encode(into: &body)
        case .end: return PacketFilterRequest.end.encode(into: &body)
        default: body.put(nfgenmsg(nfgen_family: UInt8(CN_NFPROTO_NETDEV), version: 0, res_id: 0))
        }
        switch self {
        case .begin, .end: break
        case .addTable(let table):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: table)
            body.putBig(NFTA_TABLE_FLAGS.rawValue, NFT_TABLE_F_OWNER.rawValue)
        case .addChain(let table, let chain, let device):
            body.put(Int(NFTA_CHAIN_TABLE.rawValue), text: table)
            body.put(Int(NFTA_CHAIN_NAME.rawValue), text: chain)
            body.put(Int(NFTA_CHAIN_TYPE.rawValue), text: "filter")
            body.nested(NFTA_CHAIN_HOOK.rawValue) { hook in
                hook.putBig(NFTA_HOOK_HOOKNUM.rawValue, ingressHook)
                // Before others' chains, which may pass frames on to elsewhere.
                hook.putBig(NFTA_HOOK_PRIORITY.rawValue, UInt32(bitPattern: -500))
                hook.put(Int(NFTA_HOOK_DEV.rawValue), text: device)
            }
        case .deleteChain(let table, let chain):
            body.put(Int(NFTA_CHAIN_TABLE.rawValue), text: table)
            body.put(Int(NFTA_CHAIN_NAME.rawValue), text: chain)
        case .addRule(let table, let chain):
            body.put(Int(NFTA_RULE_TABLE.rawValue), text: table)
            body.put(Int(NFTA_RULE_CHAIN.rawValue), text: chain)
            body.nested(NFTA_RULE_EXPRESSIONS.rawValue) { list in
                list.expression("payload") {
                    $0.putBig(NFTA_PAYLOAD_DREG.rawValue, UInt32(NFT_REG_1.rawValue))
                    $0.putBig(NFTA_PAYLOAD_BASE.rawValue, UInt32(NFT_PAYLOAD_LL_HEADER.rawValue))
                    $0.putBig(NFTA_PAYLOAD_OFFSET.rawValue, UInt32(0))
                    $0.putBig(NFTA_PAYLOAD_LEN.rawValue, UInt32(Ask.prefix.count))
                }
                list.expression("cmp") {
                    $0.putBig(NFTA_CMP_SREG.rawValue, UInt32(NFT_REG_1.rawValue))
                    $0.putBig(NFTA_CMP_OP.rawValue, NFT_CMP_EQ.rawValue)
                    $0.data(NFTA_CMP_DATA.rawValue, Ask.prefix)
                }
                list.expression("counter") { _ in }
                list.expression("immediate") {
                    $0.putBig(NFTA_IMMEDIATE_DREG.rawValue, UInt32(NFT_REG_VERDICT.rawValue))
                    $0.nested(NFTA_IMMEDIATE_DATA.rawValue) { data in
                        data.nested(NFTA_DATA_VERDICT.rawValue) { $0.putBig(NFTA_VERDICT_CODE.rawValue, UInt32(0)) }
                    }
                }
            }
        }
    }
}

/// NF_NETDEV_INGRESS of linux/netfilter.h.
private let ingressHook: UInt32 = 0
