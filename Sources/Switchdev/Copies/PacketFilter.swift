import CNetlink
import FDB
import Netlink

/// A message to nftables (net/netfilter/nf_tables_api.c) about the table of one copy.
enum PacketFilterRequest: Request {
    case begin, end
    case addTable(name: String, userData: [UInt8])
    case deleteTable(name: String)
    case addChain(table: String, interface: String)
    case addSet(table: String, name: String, number: UInt32)
    case addElements(table: String, set: String, [MACAddress])
    case addRule(table: String, PacketFilterRule)
    case getTable(name: String)
    case rules(table: String)

    static let chain = "copy"

    var type: MessageType {
        switch self {
        case .begin: MessageType(rawValue: UInt16(NFNL_MSG_BATCH_BEGIN))
        case .end: MessageType(rawValue: UInt16(NFNL_MSG_BATCH_END))
        case .addTable: Self.type(NFT_MSG_NEWTABLE)
        case .deleteTable: Self.type(NFT_MSG_DELTABLE)
        case .addChain: Self.type(NFT_MSG_NEWCHAIN)
        case .addSet: Self.type(NFT_MSG_NEWSET)
        case .addElements: Self.type(NFT_MSG_NEWSETELEM)
        case .addRule: Self.type(NFT_MSG_NEWRULE)
        case .getTable: Self.type(NFT_MSG_GETTABLE)
        case .rules: Self.type(NFT_MSG_GETRULE)
        }
    }

    static func type(_ message: nf_tables_msg_types) -> MessageType {
        MessageType(rawValue: UInt16(NFNL_SUBSYS_NFTABLES) << 8 | UInt16(message.rawValue))
    }

    var flags: MessageFlags {
        switch self {
        case .addTable: [.create, .exclusive]
        case .addChain, .addSet, .addElements, .addRule: [.create]
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
        case .addTable(let name, let userData):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: name)
            userData.withUnsafeBytes { body.put(Int(NFTA_TABLE_USERDATA.rawValue), bytes: $0) }
        case .deleteTable(let name), .getTable(let name):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: name)
        case .addChain(let table, let interface):
            body.putChain(Self.chain, of: table)
            body.putHook(UInt32(CN_NF_NETDEV_EGRESS), priority: 0, device: interface)
        case .addSet(let table, let name, let number):
            body.put(Int(NFTA_SET_TABLE.rawValue), text: table)
            body.put(Int(NFTA_SET_NAME.rawValue), text: name)
            // The number that nft(8) gives to the type of Ethernet addresses. It is only shown, never interpreted.
            body.putBig(NFTA_SET_KEY_TYPE.rawValue, UInt32(9))
            body.putBig(NFTA_SET_KEY_LEN.rawValue, UInt32(6))
            body.putBig(NFTA_SET_ID.rawValue, number)
        case .addElements(let table, let set, let addresses):
            body.put(Int(NFTA_SET_ELEM_LIST_TABLE.rawValue), text: table)
            body.put(Int(NFTA_SET_ELEM_LIST_SET.rawValue), text: set)
            body.nested(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) { list in
                for address in addresses {
                    list.nested(NFTA_LIST_ELEM.rawValue) { element in
                        element.data(NFTA_SET_ELEM_KEY.rawValue, withUnsafeBytes(of: address.octets) { Array($0) })
                    }
                }
            }
        case .addRule(let table, let rule):
            body.putRule(rule.expressions, in: Self.chain, of: table)
        case .rules(let table): body.putRule(in: Self.chain, of: table)
        }
    }
}

/// A rule that counts frames of one kind, with a tag or without, and copies them to a port.
struct PacketFilterRule {
    /// The destinations that the rule matches.
    enum Kind: Hashable {
        /// The addresses of a set.
        case addresses(set: String)
        /// Broadcast, except from the addresses of a set.
        case broadcast(notFrom: String)
        /// Other groups, except from the addresses of a set.
        case multicast(notFrom: String)
    }

    let kind: Kind
    let tag: CopySpecification.Tag
    /// The type of the bridge's tags.
    let tagType: UInt16
    let target: Int32

    /// ARPHRD_ETHER of linux/if_arp.h.
    private static let ethernet: UInt16 = 1
    private static let everybody = [UInt8](repeating: 0xff, count: 6)
    private static let groupBit: [UInt8] = [1, 0, 0, 0, 0, 0]

    var expressions: [PacketExpression] {
        isEthernet + matches + tagMatches + [.count, .value(target), .duplicate]
    }

    /// Always so on a bridge's port. Without it nft(8) shows raw payloads beside a set of Ethernet addresses, and does not load
    /// what it has shown.
    private var isEthernet: [PacketExpression] {
        [.meta(NFT_META_IFTYPE), .compare(NFT_CMP_EQ, PacketExpression.bytes(Self.ethernet))]
    }

    private var matches: [PacketExpression] {
        switch kind {
        case .addresses(let set):
            [.destination, .lookUp(set: set)]
        case .broadcast(let guest):
            [.source(), .lookUp(set: guest, isInverted: true), .destination, .compare(NFT_CMP_EQ, Self.everybody)]
        case .multicast(let guest):
            [
                .source(), .lookUp(set: guest, isInverted: true), .destination, .compare(NFT_CMP_NEQ, Self.everybody),
                .mask(Self.groupBit), .compare(NFT_CMP_EQ, Self.groupBit),
            ]
        }
    }

    private var tagMatches: [PacketExpression] {
        switch tag {
        case .any: []
        case .untagged: PacketExpression.isTagged(false, type: tagType)
        case .vlan(let vlan):
            PacketExpression.isTagged(type: tagType) + PacketExpression.vlan()
                + [.compare(NFT_CMP_EQ, PacketExpression.bytes(vlan.rawValue.bigEndian))]
        }
    }
}
