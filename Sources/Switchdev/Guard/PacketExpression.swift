import CNetlink
import Netlink
import System

/// What nftables does with a frame in the end.
enum PacketVerdict: Hashable {
    case accept, drop
    /// Goes on in another chain and does not come back.
    case goto(String)
    /// Goes on in another chain, and comes back after its last rule.
    case jump(String)
}

/// One expression of a rule of nftables. Expressions hand values on in registers (linux/netfilter/nf_tables.h).
enum PacketExpression {
    /// Where a value is kept. A lookup takes all words that its set's key has, from the first on.
    enum Register {
        /// The first 16 octets, whose first word is ``word(_:)`` 0.
        case first
        /// A word of four octets.
        case word(UInt32)

        var number: UInt32 {
            switch self {
            case .first: UInt32(NFT_REG_1.rawValue)
            case .word(let index): UInt32(NFT_REG32_00.rawValue) + index
            }
        }
    }

    /// Octets of the Ethernet header, with the tag that a port keeps beside the frame in its place.
    case load(offset: UInt32, length: UInt32, Register = .first)
    /// A property of the frame: the port where it came in (`NFT_META_IIF`).
    case meta(nft_meta_keys, Register = .first)
    case mask([UInt8], Register = .first)
    case compare(nft_cmp_ops, [UInt8], Register = .first)
    /// Goes on where the first register's value is in a set.
    case lookUp(set: String, isInverted: Bool = false)
    /// The verdict that a map has for the first register's value; goes on where it has none.
    case decide(map: String)
    case verdict(PacketVerdict)
    case count
    /// Adds the first register's value to a set, with a counter, or counts it there; does not go on where the set is full.
    case countIn(set: String)
    case value(Int32)
    /// Sends a copy by the port whose index the first register has.
    case duplicate

    static var destination: PacketExpression { .load(offset: 0, length: 6) }
    static func source(_ register: Register = .first) -> PacketExpression { .load(offset: 6, length: 6, register) }

    /// Whether a frame has a tag of this type.
    static func isTagged(_ isTagged: Bool = true, type: UInt16) -> [PacketExpression] {
        [
            .load(offset: 12, length: 2),
            .compare(isTagged ? NFT_CMP_EQ : NFT_CMP_NEQ, bytes(type.bigEndian)),
        ]
    }

    /// The VLAN id of a tag.
    static func vlan(_ register: Register = .first) -> [PacketExpression] {
        [.load(offset: 14, length: 2, register), .mask([0x0f, 0xff], register)]
    }

    static func bytes<T: BitwiseCopyable>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    func encode(into list: inout MessageBody) {
        switch self {
        case .load(let offset, let length, let register):
            list.expression("payload") {
                $0.putBig(NFTA_PAYLOAD_DREG.rawValue, register.number)
                $0.putBig(NFTA_PAYLOAD_BASE.rawValue, UInt32(NFT_PAYLOAD_LL_HEADER.rawValue))
                $0.putBig(NFTA_PAYLOAD_OFFSET.rawValue, offset)
                $0.putBig(NFTA_PAYLOAD_LEN.rawValue, length)
            }
        case .meta(let key, let register):
            list.expression("meta") {
                $0.putBig(NFTA_META_KEY.rawValue, UInt32(key.rawValue))
                $0.putBig(NFTA_META_DREG.rawValue, register.number)
            }
        case .mask(let bits, let register):
            list.expression("bitwise") {
                $0.putBig(NFTA_BITWISE_SREG.rawValue, register.number)
                $0.putBig(NFTA_BITWISE_DREG.rawValue, register.number)
                $0.putBig(NFTA_BITWISE_LEN.rawValue, UInt32(bits.count))
                $0.data(NFTA_BITWISE_MASK.rawValue, bits)
                $0.data(NFTA_BITWISE_XOR.rawValue, [UInt8](repeating: 0, count: bits.count))
            }
        case .compare(let operation, let value, let register):
            list.expression("cmp") {
                $0.putBig(NFTA_CMP_SREG.rawValue, register.number)
                $0.putBig(NFTA_CMP_OP.rawValue, operation.rawValue)
                $0.data(NFTA_CMP_DATA.rawValue, value)
            }
        default: encodeEnd(into: &list)
        }
    }

    /// The same for what uses a value.
    private func encodeEnd(into list: inout MessageBody) {
        let first = Register.first.number
        switch self {
        case .lookUp(let set, let isInverted):
            list.expression("lookup") {
                $0.put(Int(NFTA_LOOKUP_SET.rawValue), text: set)
                $0.putBig(NFTA_LOOKUP_SREG.rawValue, first)
                if isInverted { $0.putBig(NFTA_LOOKUP_FLAGS.rawValue, UInt32(NFT_LOOKUP_F_INV.rawValue)) }
            }
        case .decide(let map):
            list.expression("lookup") {
                $0.put(Int(NFTA_LOOKUP_SET.rawValue), text: map)
                $0.putBig(NFTA_LOOKUP_SREG.rawValue, first)
                $0.putBig(NFTA_LOOKUP_DREG.rawValue, UInt32(NFT_REG_VERDICT.rawValue))
            }
        case .verdict(let verdict):
            list.expression("immediate") {
                $0.putBig(NFTA_IMMEDIATE_DREG.rawValue, UInt32(NFT_REG_VERDICT.rawValue))
                $0.nested(NFTA_IMMEDIATE_DATA.rawValue) { $0.put(verdict) }
            }
        case .count: list.expression("counter") { _ in }
        case .countIn(let set):
            list.expression("dynset") {
                $0.put(Int(NFTA_DYNSET_SET_NAME.rawValue), text: set)
                $0.putBig(NFTA_DYNSET_OP.rawValue, UInt32(NFT_DYNSET_OP_UPDATE.rawValue))
                $0.putBig(NFTA_DYNSET_SREG_KEY.rawValue, first)
                $0.nested(NFTA_DYNSET_EXPR.rawValue) {
                    $0.put(Int(NFTA_EXPR_NAME.rawValue), text: "counter")
                    $0.nested(NFTA_EXPR_DATA.rawValue) { _ in }
                }
            }
        case .value(let number):
            list.expression("immediate") {
                $0.putBig(NFTA_IMMEDIATE_DREG.rawValue, first)
                $0.data(NFTA_IMMEDIATE_DATA.rawValue, PacketExpression.bytes(number))
            }
        default: list.expression("dup") { $0.putBig(NFTA_DUP_SREG_DEV.rawValue, first) }
        }
    }
}

extension NetlinkError {
    /// There is no such table, or nothing of that name in it. Kernels without nftables do not know its messages (EINVAL,
    /// EOPNOTSUPP), so there is none either.
    var saysNoTable: Bool { [.noEntry, .invalid, .notSupported].contains(errno) }
}

extension MessageBody {
    /// The header of the first and the last message of a batch.
    mutating func putBatchHeader() {
        put(nfgenmsg(nfgen_family: 0, version: 0, res_id: UInt16(NFNL_SUBSYS_NFTABLES).bigEndian))
    }

    /// The header of a message about the tables of a family (`NFPROTO_NETDEV`, `NFPROTO_BRIDGE`).
    mutating func putHeader(family: Int32) { put(nfgenmsg(nfgen_family: UInt8(family), version: 0, res_id: 0)) }

    mutating func putChain(_ name: String, of table: String) {
        put(Int(NFTA_CHAIN_TABLE.rawValue), text: table)
        put(Int(NFTA_CHAIN_NAME.rawValue), text: name)
    }

    /// What makes a chain one of filters at a hook.
    ///
    /// - Parameter device: the port, in the family netdev.
    mutating func putHook(_ number: UInt32, priority: Int32, device: String? = nil) {
        put(Int(NFTA_CHAIN_TYPE.rawValue), text: "filter")
        nested(NFTA_CHAIN_HOOK.rawValue) { hook in
            hook.putBig(NFTA_HOOK_HOOKNUM.rawValue, number)
            hook.putBig(NFTA_HOOK_PRIORITY.rawValue, UInt32(bitPattern: priority))
            if let device { hook.put(Int(NFTA_HOOK_DEV.rawValue), text: device) }
        }
    }

    /// A rule of a chain, or all of them; without a chain's name those of all chains.
    mutating func putRule(_ expressions: [PacketExpression]? = nil, in chain: String?, of table: String) {
        put(Int(NFTA_RULE_TABLE.rawValue), text: table)
        if let chain { put(Int(NFTA_RULE_CHAIN.rawValue), text: chain) }
        guard let expressions else { return }
        nested(NFTA_RULE_EXPRESSIONS.rawValue) { list in
            for expression in expressions { expression.encode(into: &list) }
        }
    }

    /// Nests attributes. nftables only reads nests that are marked as such, and integers in network byte order.
    mutating func nested(_ type: UInt32, _ content: (inout MessageBody) -> Void) {
        nest(Int(type) | Int(NLA_F_NESTED), content)
    }

    mutating func putBig(_ type: UInt32, _ value: UInt32) { put(Int(type), value.bigEndian) }

    mutating func data(_ type: UInt32, _ bytes: [UInt8]) {
        nested(type) { nest in bytes.withUnsafeBytes { nest.put(Int(NFTA_DATA_VALUE.rawValue), bytes: $0) } }
    }

    /// A verdict as data: NF_DROP and NF_ACCEPT of linux/netfilter.h, NFT_GOTO or NFT_JUMP.
    mutating func put(_ verdict: PacketVerdict) {
        nested(NFTA_DATA_VERDICT.rawValue) { nest in
            switch verdict {
            case .drop: nest.putBig(NFTA_VERDICT_CODE.rawValue, 0)
            case .accept: nest.putBig(NFTA_VERDICT_CODE.rawValue, 1)
            case .goto(let chain), .jump(let chain):
                let code = if case .goto = verdict { NFT_GOTO } else { NFT_JUMP }
                nest.putBig(NFTA_VERDICT_CODE.rawValue, UInt32(bitPattern: code.rawValue))
                nest.put(Int(NFTA_VERDICT_CHAIN.rawValue), text: chain)
            }
        }
    }

    mutating func expression(_ name: String, _ content: (inout MessageBody) -> Void) {
        nested(NFTA_LIST_ELEM.rawValue) { element in
            element.put(Int(NFTA_EXPR_NAME.rawValue), text: name)
            element.nested(NFTA_EXPR_DATA.rawValue, content)
        }
    }
}
