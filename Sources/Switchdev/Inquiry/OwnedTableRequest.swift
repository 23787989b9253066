import CNetlink
import Netlink
import System

/// A message to nftables about a table of family netdev that belongs to the socket that made it (NFT_TABLE_F_OWNER): the kernel removes
/// it with the socket, however the process ends, and lets nobody else change it.
enum OwnedTableRequest: Request {
    case begin, end
    case addTable(String)
    /// A chain for what comes in by a port.
    case addIngress(String, String, device: String)
    /// A chain for what leaves by a port (Linux 5.16).
    case addEgress(String, String, device: String)
    case addRule(String, String, [PacketExpression])
    case deleteChain(String, String)

    var type: MessageType {
        switch self {
        case .begin: PacketFilterRequest.begin.type
        case .end: PacketFilterRequest.end.type
        case .addTable: PacketFilterRequest.type(NFT_MSG_NEWTABLE)
        case .addIngress, .addEgress: PacketFilterRequest.type(NFT_MSG_NEWCHAIN)
        case .addRule: PacketFilterRequest.type(NFT_MSG_NEWRULE)
        case .deleteChain: PacketFilterRequest.type(NFT_MSG_DELCHAIN)
        }
    }

    var flags: MessageFlags {
        switch self {
        // The table may be there from another port; a chain that is would get its rule twice.
        case .addTable: [.create]
        case .addRule: [.create, .append]
        case .addIngress, .addEgress: [.create, .exclusive]
        default: []
        }
    }

    /// Before others' chains, which may pass frames on to elsewhere.
    private static let priority: Int32 = -500
    /// NF_NETDEV_INGRESS of linux/netfilter.h.
    private static let ingress: UInt32 = 0

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
        case .addIngress(let table, let chain, let device):
            body.putChain(chain, of: table)
            body.putHook(Self.ingress, priority: Self.priority, device: device)
        case .addEgress(let table, let chain, let device):
            body.putChain(chain, of: table)
            body.putHook(UInt32(CN_NF_NETDEV_EGRESS), priority: Self.priority, device: device)
        case .deleteChain(let table, let chain): body.putChain(chain, of: table)
        case .addRule(let table, let chain, let expressions): body.putRule(expressions, in: chain, of: table)
        }
    }
}

extension OwnedTableRequest {
    /// Removes a chain; that there is none is no error.
    ///
    /// - Parameter table: the name of its table, by the port id of the socket that owns it.
    /// - Throws: ``NetlinkError``.
    static func remove(
        _ chain: String, of table: (UInt32) -> String, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            do throws(NetlinkError) {
                try socket.performTogether([Self.begin, .deleteChain(table(socket.portID), chain), .end])
            } catch {
                guard error.errno == .noEntry else { throw error }
            }
        }
    }
}
