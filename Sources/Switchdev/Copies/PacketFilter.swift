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
        case .begin, .end:
            body.put(nfgenmsg(nfgen_family: 0, version: 0, res_id: UInt16(NFNL_SUBSYS_NFTABLES).bigEndian))
            return
        default:
            body.put(nfgenmsg(nfgen_family: UInt8(CN_NFPROTO_NETDEV), version: 0, res_id: 0))
        }
        switch self {
        case .begin, .end: break
        case .addTable(let name, let userData):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: name)
            userData.withUnsafeBytes { body.put(Int(NFTA_TABLE_USERDATA.rawValue), bytes: $0) }
        case .deleteTable(let name), .getTable(let name):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: name)
        case .addChain(let table, let interface):
            body.put(Int(NFTA_CHAIN_TABLE.rawValue), text: table)
            body.put(Int(NFTA_CHAIN_NAME.rawValue), text: Self.chain)
            body.put(Int(NFTA_CHAIN_TYPE.rawValue), text: "filter")
            body.nested(NFTA_CHAIN_HOOK.rawValue) { hook in
                hook.putBig(NFTA_HOOK_HOOKNUM.rawValue, UInt32(CN_NF_NETDEV_EGRESS))
                hook.putBig(NFTA_HOOK_PRIORITY.rawValue, UInt32(0))
                hook.put(Int(NFTA_HOOK_DEV.rawValue), text: interface)
            }
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
            body.put(Int(NFTA_RULE_TABLE.rawValue), text: table)
            body.put(Int(NFTA_RULE_CHAIN.rawValue), text: Self.chain)
            body.nested(NFTA_RULE_EXPRESSIONS.rawValue) { rule.encode(into: &$0) }
        case .rules(let table):
            body.put(Int(NFTA_RULE_TABLE.rawValue), text: table)
            body.put(Int(NFTA_RULE_CHAIN.rawValue), text: Self.chain)
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
    let target: Int32

    /// NFT_META_IFTYPE of linux/netfilter/nf_tables.h, and ARPHRD_ETHER of linux/if_arp.h.
    private static let interfaceType = UInt32(NFT_META_IFTYPE.rawValue)
    private static let ethernet: UInt16 = 1
    private static let destination: UInt32 = 0
    private static let source: UInt32 = 6
    private static let ethernetTypeOffset: UInt32 = 12
    private static let tagOffset: UInt32 = 14
    private static let everybody = [UInt8](repeating: 0xff, count: 6)
    private static let groupBit: [UInt8] = [1, 0, 0, 0, 0, 0]

    func encode(into list: inout MessageBody) {
        // Always so on a bridge's port. Without it nft(8) shows raw payloads beside a set of Ethernet addresses, and does not load
        // what it has shown.
        list.expression("meta") {
            $0.putBig(NFTA_META_KEY.rawValue, Self.interfaceType)
            $0.putBig(NFTA_META_DREG.rawValue, UInt32(NFT_REG_1.rawValue))
        }
        compare(NFT_CMP_EQ, withUnsafeBytes(of: Self.ethernet) { Array($0) }, into: &list)
        switch kind {
        case .addresses(let set):
            look(up: Self.destination, in: set, into: &list)
        case .broadcast(let guest):
            look(up: Self.source, in: guest, inverted: true, into: &list)
            load(offset: Self.destination, length: 6, into: &list)
            compare(NFT_CMP_EQ, Self.everybody, into: &list)
        case .multicast(let guest):
            look(up: Self.source, in: guest, inverted: true, into: &list)
            load(offset: Self.destination, length: 6, into: &list)
            compare(NFT_CMP_NEQ, Self.everybody, into: &list)
            mask(Self.groupBit, into: &list)
            compare(NFT_CMP_EQ, Self.groupBit, into: &list)
        }
        let tagged = withUnsafeBytes(of: UInt16(ETH_P_8021Q).bigEndian) { Array($0) }
        switch tag {
        case .any: break
        case .untagged:
            load(offset: Self.ethernetTypeOffset, length: 2, into: &list)
            compare(NFT_CMP_NEQ, tagged, into: &list)
        case .vlan(let vlan):
            load(offset: Self.ethernetTypeOffset, length: 2, into: &list)
            compare(NFT_CMP_EQ, tagged, into: &list)
            load(offset: Self.tagOffset, length: 2, into: &list)
            mask([0x0f, 0xff], into: &list)
            compare(NFT_CMP_EQ, withUnsafeBytes(of: vlan.rawValue.bigEndian) { Array($0) }, into: &list)
        }
        list.expression("counter") { _ in }
        list.expression("immediate") {
            $0.putBig(NFTA_IMMEDIATE_DREG.rawValue, UInt32(NFT_REG_1.rawValue))
            $0.data(NFTA_IMMEDIATE_DATA.rawValue, withUnsafeBytes(of: target) { Array($0) })
        }
        list.expression("dup") { $0.putBig(NFTA_DUP_SREG_DEV.rawValue, UInt32(NFT_REG_1.rawValue)) }
    }

    private func look(up offset: UInt32, in set: String, inverted: Bool = false, into list: inout MessageBody) {
        load(offset: offset, length: 6, into: &list)
        list.expression("lookup") {
            $0.put(Int(NFTA_LOOKUP_SET.rawValue), text: set)
            $0.putBig(NFTA_LOOKUP_SREG.rawValue, UInt32(NFT_REG_1.rawValue))
            if inverted { $0.putBig(NFTA_LOOKUP_FLAGS.rawValue, UInt32(NFT_LOOKUP_F_INV.rawValue)) }
        }
    }

    private func mask(_ bits: [UInt8], into list: inout MessageBody) {
        list.expression("bitwise") {
            $0.putBig(NFTA_BITWISE_SREG.rawValue, UInt32(NFT_REG_1.rawValue))
            $0.putBig(NFTA_BITWISE_DREG.rawValue, UInt32(NFT_REG_1.rawValue))
            $0.putBig(NFTA_BITWISE_LEN.rawValue, UInt32(bits.count))
            $0.data(NFTA_BITWISE_MASK.rawValue, bits)
            $0.data(NFTA_BITWISE_XOR.rawValue, [UInt8](repeating: 0, count: bits.count))
        }
    }

    private func load(offset: UInt32, length: UInt32, into list: inout MessageBody) {
        list.expression("payload") {
            $0.putBig(NFTA_PAYLOAD_DREG.rawValue, UInt32(NFT_REG_1.rawValue))
            $0.putBig(NFTA_PAYLOAD_BASE.rawValue, UInt32(NFT_PAYLOAD_LL_HEADER.rawValue))
            $0.putBig(NFTA_PAYLOAD_OFFSET.rawValue, offset)
            $0.putBig(NFTA_PAYLOAD_LEN.rawValue, length)
        }
    }

    private func compare(_ operation: nft_cmp_ops, _ value: [UInt8], into list: inout MessageBody) {
        list.expression("cmp") {
            $0.putBig(NFTA_CMP_SREG.rawValue, UInt32(NFT_REG_1.rawValue))
            $0.putBig(NFTA_CMP_OP.rawValue, operation.rawValue)
            $0.data(NFTA_CMP_DATA.rawValue, value)
        }
    }
}

extension MessageBody {
    /// Nests attributes. nftables only reads nests that are marked as such, and integers in network byte order.
    mutating func nested(_ type: UInt32, _ content: (inout MessageBody) -> Void) {
        nest(Int(type) | Int(NLA_F_NESTED), content)
    }

    mutating func putBig(_ type: UInt32, _ value: UInt32) { put(Int(type), value.bigEndian) }

    mutating func data(_ type: UInt32, _ bytes: [UInt8]) {
        nested(type) { nest in bytes.withUnsafeBytes { nest.put(Int(NFTA_DATA_VALUE.rawValue), bytes: $0) } }
    }

    mutating func expression(_ name: String, _ content: (inout MessageBody) -> Void) {
        nested(NFTA_LIST_ELEM.rawValue) { element in
            element.put(Int(NFTA_EXPR_NAME.rawValue), text: name)
            element.nested(NFTA_EXPR_DATA.rawValue, content)
        }
    }
}
