import CNetlink
import FDB
import Netlink

/// An element of a set or a map of the table of ``SourceGuard``.
struct GuardElement: Hashable {
    let key: [UInt8]
    /// What the map says for the key.
    var verdict: PacketVerdict?

    init(_ key: [UInt8], _ verdict: PacketVerdict? = nil) {
        self.key = key
        self.verdict = verdict
    }

    /// Octets and VLANs stand in network byte order, each value of a key in words of four octets (`nft_set_elem_init`).
    static func key(_ address: Address) -> [UInt8] {
        let octets = PacketExpression.bytes(address.mac.octets)
        return address.vlan.map { octets + [0, 0] + PacketExpression.bytes($0.rawValue.bigEndian) + [0, 0] } ?? octets
    }

    static func key(_ port: Int32) -> [UInt8] { PacketExpression.bytes(port) }

    static func key(_ port: Int32, _ mac: MACAddress) -> [UInt8] {
        key(port) + PacketExpression.bytes(mac.octets) + [0, 0]
    }
}

/// A set or a map of the table.
struct GuardSet: Hashable {
    let name: String
    /// As nft(8) numbers types, six bits for each part of a key: 20 an interface index, 9 an Ethernet address, 4 a number. The kernel
    /// only keeps it.
    let keyType: UInt32
    let keyLength: UInt32
    let isMap: Bool
    /// What nft(8) needs beside the type to show keys: their byte order, or of which expressions they are.
    let userData: [UInt8]

    private static func order(_ order: UInt8) -> [UInt8] { [0, 4, order, 0, 0, 0] }

    /// Addresses of a bridge without VLANs, or of one VLAN.
    static func addresses(_ name: String) -> GuardSet {
        GuardSet(name: name, keyType: 9, keyLength: 6, isMap: true, userData: order(2))
    }

    /// Addresses with VLANs: "typeof ether saddr . vlan id".
    static let tagged = GuardSet(
        name: "tagged", keyType: 9 << 6 | 4, keyLength: 12, isMap: true,
        userData: order(0) + [1, 4, 0, 0, 0, 0, 3, 58, 0, 4, 13, 0, 0, 0, 1, 50]
            + [0, 20, 0, 4, 7, 0, 0, 0, 1, 12, 0, 4, 17, 0, 0, 0, 1, 4, 2, 0, 0, 0]
            + [1, 26, 0, 4, 7, 0, 0, 0, 1, 18, 0, 4, 16, 0, 0, 0, 1, 4, 4, 0, 0, 0, 4, 4, 12, 0, 0, 0]
            + [4, 8, 0, 4, 1, 0, 0, 0, 1, 0])
    /// The chains of untagged frames by port.
    static let untagged = GuardSet(name: "untagged", keyType: 20, keyLength: 4, isMap: true, userData: order(1))
    /// Ports that may send from any address.
    static let fabric = GuardSet(name: "fabric", keyType: 20, keyLength: 4, isMap: false, userData: order(1))
    /// Who sent what was dropped; counted for an hour.
    static let refused = GuardSet(
        name: "refused", keyType: 20 << 6 | 9, keyLength: 12, isMap: false, userData: order(0))
    /// How many pairs of port and address ``refused`` keeps.
    static let refusedLimit: UInt32 = 1024
    /// Ports with MACs from which they let nothing in: gates.
    static let shut = GuardSet(name: "shut", keyType: 20 << 6 | 9, keyLength: 12, isMap: false, userData: order(0))
    /// For how long, in milliseconds.
    static let refusedTimeout: UInt64 = 3_600_000
}

/// A message to nftables about the table of ``SourceGuard``.
enum GuardRequest: Request {
    /// - Parameter generation: the ruleset must not have changed since (ERESTART).
    case begin(generation: UInt32?)
    case end
    case generation
    case addTable(String)
    case deleteTable(String)
    case addChain(table: String, String, isHook: Bool = false)
    case getChain(table: String, String)
    case deleteChain(table: String, String)
    case addSet(table: String, GuardSet, number: UInt32)
    case addElements(table: String, set: String, [GuardElement])
    case deleteElements(table: String, set: String, [GuardElement])
    case getElement(table: String, set: String, GuardElement)
    case elements(table: String, set: String)
    case addRule(table: String, chain: String, [PacketExpression], comment: String? = nil)
    /// All rules of a chain.
    case flush(table: String, chain: String)
    /// Those of all chains without a name.
    case rules(table: String, chain: String?)

    /// Before anything else looks at a frame of a bridge, and before the bridge learns from it (`br_handle_frame`): nft(8)'s "raw"
    /// is -300.
    static let priority: Int32 = -400

    var type: MessageType {
        switch self {
        case .begin: PacketFilterRequest.begin.type
        case .end: PacketFilterRequest.end.type
        case .generation: PacketFilterRequest.type(NFT_MSG_GETGEN)
        case .addTable: PacketFilterRequest.type(NFT_MSG_NEWTABLE)
        case .deleteTable: PacketFilterRequest.type(NFT_MSG_DELTABLE)
        case .addChain: PacketFilterRequest.type(NFT_MSG_NEWCHAIN)
        case .getChain: PacketFilterRequest.type(NFT_MSG_GETCHAIN)
        case .deleteChain: PacketFilterRequest.type(NFT_MSG_DELCHAIN)
        case .addSet: PacketFilterRequest.type(NFT_MSG_NEWSET)
        case .addElements: PacketFilterRequest.type(NFT_MSG_NEWSETELEM)
        case .deleteElements: PacketFilterRequest.type(NFT_MSG_DELSETELEM)
        case .getElement, .elements: PacketFilterRequest.type(NFT_MSG_GETSETELEM)
        case .addRule: PacketFilterRequest.type(NFT_MSG_NEWRULE)
        case .flush: PacketFilterRequest.type(NFT_MSG_DELRULE)
        case .rules: PacketFilterRequest.type(NFT_MSG_GETRULE)
        }
    }

    var flags: MessageFlags {
        switch self {
        case .addTable, .addChain, .addSet, .addElements: [.create]
        case .addRule: [.create, .append]
        default: []
        }
    }

    func encode(into body: inout MessageBody) {
        switch self {
        case .begin(let generation):
            body.putBatchHeader()
            if let generation { body.putBig(UInt32(NFNL_BATCH_GENID.rawValue), generation) }
            return
        case .end: return body.putBatchHeader()
        default: body.putHeader(family: Int32(CN_NFPROTO_BRIDGE))
        }
        switch self {
        case .addTable(let name):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: name)
            body.comment(NFTA_TABLE_USERDATA.rawValue, "fdbsteer: source addresses of prepared guests")
        case .deleteTable(let name):
            body.put(Int(NFTA_TABLE_NAME.rawValue), text: name)
        case .addChain(let table, let name, let isHook):
            body.putChain(name, of: table)
            if isHook { body.putHook(UInt32(CN_NF_BR_PRE_ROUTING), priority: GuardRequest.priority) }
        case .getChain(let table, let name), .deleteChain(let table, let name): body.putChain(name, of: table)
        case .addSet(let table, let set, let number):
            GuardRequest.encode(set, number, table, into: &body)
        case .addRule(let table, let chain, let expressions, let comment):
            body.putRule(expressions, in: chain, of: table)
            if let comment { body.comment(NFTA_RULE_USERDATA.rawValue, comment) }
        case .flush(let table, let chain): body.putRule(in: chain, of: table)
        case .rules(let table, let chain): body.putRule(in: chain, of: table)
        default: encodeElements(into: &body)
        }
    }

    /// How many elements it adds or deletes.
    var elementCount: Int {
        switch self {
        case .addElements(_, _, let elements), .deleteElements(_, _, let elements): elements.count
        default: 0
        }
    }

    private func encodeElements(into body: inout MessageBody) {
        let (table, set, elements): (String, String, [GuardElement])
        switch self {
        case .addElements(let name, let of, let list), .deleteElements(let name, let of, let list):
            (table, set, elements) = (name, of, list)
        case .getElement(let name, let of, let element): (table, set, elements) = (name, of, [element])
        case .elements(let name, let of): (table, set, elements) = (name, of, [])
        default: return
        }
        body.put(Int(NFTA_SET_ELEM_LIST_TABLE.rawValue), text: table)
        body.put(Int(NFTA_SET_ELEM_LIST_SET.rawValue), text: set)
        if elements.isEmpty { return }
        body.nested(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) { list in
            for element in elements {
                list.nested(NFTA_LIST_ELEM.rawValue) { nest in
                    nest.data(NFTA_SET_ELEM_KEY.rawValue, element.key)
                    guard case .addElements = self, let verdict = element.verdict else { return }
                    nest.nested(NFTA_SET_ELEM_DATA.rawValue) { $0.put(verdict) }
                }
            }
        }
    }

    private static func encode(
        _ set: GuardSet, _ number: UInt32, _ table: String, into body: inout MessageBody
    ) {
        body.put(Int(NFTA_SET_TABLE.rawValue), text: table)
        body.put(Int(NFTA_SET_NAME.rawValue), text: set.name)
        var flags: UInt32 = 0
        if set.isMap {
            flags = UInt32(NFT_SET_MAP.rawValue)
            body.putBig(NFTA_SET_DATA_TYPE.rawValue, NFT_DATA_VERDICT.rawValue)
            body.putBig(NFTA_SET_DATA_LEN.rawValue, 0)
        }
        if set == .refused {
            flags = UInt32(NFT_SET_EVAL.rawValue | NFT_SET_TIMEOUT.rawValue)
            body.put(Int(NFTA_SET_TIMEOUT.rawValue), GuardSet.refusedTimeout.bigEndian)
            body.nested(NFTA_SET_DESC.rawValue) { $0.putBig(NFTA_SET_DESC_SIZE.rawValue, GuardSet.refusedLimit) }
        }
        body.putBig(NFTA_SET_FLAGS.rawValue, flags)
        body.putBig(NFTA_SET_KEY_TYPE.rawValue, set.keyType)
        body.putBig(NFTA_SET_KEY_LEN.rawValue, set.keyLength)
        body.putBig(NFTA_SET_ID.rawValue, number)
        set.userData.withUnsafeBytes { body.put(Int(NFTA_SET_USERDATA.rawValue), bytes: $0) }
    }
}

extension MessageBody {
    /// A comment as libnftnl keeps it: type, length, text.
    fileprivate mutating func comment(_ type: UInt32, _ text: String) {
        let text = Array(text.utf8.prefix(127)) + [0]
        ([0, UInt8(text.count)] + text).withUnsafeBytes { put(Int(type), bytes: $0) }
    }
}

/// What is read of the table.
enum GuardReply {
    /// An element of a set, as it is dumped or asked for.
    struct Element {
        var key: [UInt8] = []
        /// The chain where a map sends the key.
        var chain: String?
        var frames: UInt64 = 0
    }

    static func elements(in payload: UnsafeRawBufferPointer) -> [Element] {
        var found: [Element] = []
        for list in AttributeReader(payload, from: MemoryLayout<nfgenmsg>.size)
        where list.type == Int(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) {
            for element in list.nested { found.append(decode(element.nested)) }
        }
        return found
    }

    private static func decode(_ attributes: AttributeReader) -> Element {
        var element = Element()
        for attribute in attributes {
            switch attribute.type {
            case Int(NFTA_SET_ELEM_KEY.rawValue):
                for value in attribute.nested where value.type == Int(NFTA_DATA_VALUE.rawValue) {
                    element.key = Array(value.bytes)
                }
            case Int(NFTA_SET_ELEM_DATA.rawValue):
                for verdict in attribute.nested where verdict.type == Int(NFTA_DATA_VERDICT.rawValue) {
                    for part in verdict.nested where part.type == Int(NFTA_VERDICT_CHAIN.rawValue) {
                        element.chain = part.text
                    }
                }
            case Int(NFTA_SET_ELEM_EXPR.rawValue):
                for part in attribute.nested where part.type == Int(NFTA_EXPR_DATA.rawValue) {
                    for value in part.nested where value.type == Int(NFTA_COUNTER_PACKETS.rawValue) {
                        element.frames = value.integer(as: UInt64.self).map(UInt64.init(bigEndian:)) ?? 0
                    }
                }
            default: break
            }
        }
        return element
    }

    /// The comment of a rule.
    static func comment(in payload: UnsafeRawBufferPointer) -> String? {
        for attribute in AttributeReader(payload, from: MemoryLayout<nfgenmsg>.size)
        where attribute.type == Int(NFTA_RULE_USERDATA.rawValue) && attribute.bytes.count > 2 && attribute.bytes[0] == 0
        {
            return String(decoding: attribute.bytes.dropFirst(2).prefix { $0 != 0 }, as: UTF8.self)
        }
        return nil
    }

    /// The chain of a rule.
    static func chain(in payload: UnsafeRawBufferPointer) -> String {
        for attribute in AttributeReader(payload, from: MemoryLayout<nfgenmsg>.size)
        where attribute.type == Int(NFTA_RULE_CHAIN.rawValue) { return attribute.text }
        return ""
    }

    /// The number of the ruleset (`nf_tables_fill_gen_info`).
    static func generation(in payload: UnsafeRawBufferPointer) -> UInt32? {
        for attribute in AttributeReader(payload, from: MemoryLayout<nfgenmsg>.size)
        where attribute.type == Int(NFTA_GEN_ID.rawValue) {
            return attribute.integer(as: UInt32.self).map(UInt32.init(bigEndian:))
        }
        return nil
    }
}
