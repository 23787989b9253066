import CNetlink
import FDB
import Glibc
import Netlink
import Synchronization
import System

/// The nftables table that copies the frames of one guest.
///
/// fdbsteer writes its messages itself: a host needs neither nft(8) nor its library, the kernel carries out all of them in
/// one transaction, and a refusal has the kernel's text. `nft list table netdev fdbsteer-GUEST` shows the table, with `/` for
/// each `:` of the guest's name.
struct PacketFilterTable {
    let specification: CopySpecification

    var name: String { specification.tableName }

    /// Our mark, and what the table copies, which could otherwise only be read by decoding its rules.
    private var userData: [UInt8] {
        var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ value: UInt64) {
            for shift in stride(from: 0, to: 64, by: 8) {
                digest = (digest ^ (value >> shift & 0xff)) &* 0x100_0000_01b3
            }
        }
        add(UInt64(UInt32(bitPattern: specification.source)))
        add(UInt64(UInt32(bitPattern: specification.target)))
        // A chain is bound to a name since Linux 6.16 (`nft_netdev_event`, net/netfilter/nft_chain_filter.c): after a renaming it
        // copies nothing.
        var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        if if_indextoname(UInt32(bitPattern: specification.source), &name) != nil {
            for byte in name { add(UInt64(UInt8(bitPattern: byte))) }
        }
        add(UInt64(specification.groups.rawValue))
        add(UInt64(specification.tagType))
        for match in specification.matches.sorted(by: { ($0.mac, $0.tag.order) < ($1.mac, $1.tag.order) }) {
            add(match.mac.value)
            add(UInt64(match.tag.order))
        }
        return TrafficControlRequest.mark + withUnsafeBytes(of: digest.bigEndian) { Array($0) }
    }

    private static let guestSet = "guest"

    private var byTag: [(tag: CopySpecification.Tag, matches: [CopySpecification.Match])] {
        Dictionary(grouping: specification.matches, by: \.tag).map { ($0, $1) }.sorted { $0.tag.order < $1.tag.order }
    }

    private static func setName(_ tag: CopySpecification.Tag) -> String { "addresses\(tag.order)" }

    private var sets: [(name: String, addresses: [MACAddress])] {
        let destinations = byTag.map { ($0.tag, $0.matches) }.map { tag, matches in
            (name: Self.setName(tag), addresses: matches.map(\.mac).sorted())
        }
        if specification.groups.isEmpty { return destinations }
        return destinations + [(name: Self.guestSet, addresses: Set(specification.matches.map(\.mac)).sorted())]
    }

    private var rules: [PacketFilterRule] {
        byTag.flatMap { tag, _ in
            var kinds = [PacketFilterRule.Kind.addresses(set: Self.setName(tag))]
            if specification.groups.contains(.broadcast) { kinds.append(.broadcast(notFrom: Self.guestSet)) }
            if specification.groups.contains(.multicast) { kinds.append(.multicast(notFrom: Self.guestSet)) }
            return kinds.map {
                PacketFilterRule(
                    kind: $0, tag: tag, tagType: specification.tagType, target: specification.target)
            }
        }
    }

    /// True once a table was made, because the kernel does not lose the ability.
    private static let wasAvailable = Atomic(false)

    /// Whether this kernel's nftables has egress hooks: makes and removes a table with one in one transaction.
    ///
    /// Do this once in a process. Closing the socket waits until nobody can use the removed table any more, 10 to 30 ms
    /// (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c), and a guest takes no longer than that to give up its primary.
    static func isAvailable(on interface: String) -> Bool {
        if wasAvailable.load(ordering: .relaxed) { return true }
        let name = "fdbsteer/probe"
        do throws(NetlinkError) {
            var socket = try CommandSocket(.netfilter)
            try socket.performTogether([
                .begin, PacketFilterRequest.addTable(name: name, userData: TrafficControlRequest.mark),
                .addChain(table: name, interface: interface), .deleteTable(name: name), .end,
            ])
            wasAvailable.store(true, ordering: .relaxed)
            return true
        } catch {
            return false
        }
    }

    /// Makes the table, in one transaction.
    ///
    /// - Parameters:
    ///   - interface: the name of the port where the frames leave.
    ///   - socket: a socket for packet filters.
    func install(interface: String, using socket: inout CommandSocket) throws(NetlinkError) {
        var requests: [PacketFilterRequest] = [.begin]
        // A table of an earlier version would copy each frame once more.
        if let earlier = specification.earlierTableName, try PacketFilterTable.isOurs(earlier, using: &socket) {
            requests.append(.deleteTable(name: earlier))
        }
        requests += [.addTable(name: name, userData: userData), .addChain(table: name, interface: interface)]
        let sets = self.sets
        for (number, set) in sets.enumerated() {
            requests.append(.addSet(table: name, name: set.name, number: UInt32(number + 1)))
            requests.append(.addElements(table: name, set: set.name, set.addresses))
        }
        for kind in rules { requests.append(.addRule(table: name, kind)) }
        requests.append(.end)
        try socket.performTogether(requests)
    }

    /// Removes the table if it is ours; a table that does not exist is not an error.
    func remove(using socket: inout CommandSocket) throws(NetlinkError) {
        for name in [name, specification.earlierTableName].compactMap({ $0 })
        where try PacketFilterTable.isOurs(name, using: &socket) {
            try socket.performTogether([.begin, PacketFilterRequest.deleteTable(name: name), .end])
        }
    }

    private static func isOurs(_ name: String, using socket: inout CommandSocket) throws(NetlinkError) -> Bool {
        try userData(of: name, using: &socket)?.starts(with: TrafficControlRequest.mark) == true
    }

    /// Reads what the kernel shows of the table; nil if there is no such table, or it is not ours.
    func state(using socket: inout CommandSocket) throws(NetlinkError) -> CopyState? {
        guard let data = try PacketFilterTable.userData(of: name, using: &socket),
            data.starts(with: TrafficControlRequest.mark)
        else { return nil }
        var state = CopyState(frames: 0, bytes: 0, failed: 0, isAsSpecified: data == userData)
        var found = 0
        try socket.dump(PacketFilterRequest.rules(table: name)) { (header, payload) throws(NetlinkError) in
            guard header.type == PacketFilterRequest.type(NFT_MSG_NEWRULE) else { return }
            found += 1
            let counter = PacketFilterTable.counter(in: payload)
            state.frames = state.frames.plus(counter.frames)
            state.bytes = state.bytes.plus(counter.bytes)
        }
        if found != rules.count { state.isAsSpecified = false }
        return state
    }

    /// The counter in a rule's expressions.
    static func counter(in payload: UnsafeRawBufferPointer) -> (frames: UInt64, bytes: UInt64) {
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        for attribute in AttributeReader(payload, from: MemoryLayout<nfgenmsg>.size)
        where attribute.type == Int(NFTA_RULE_EXPRESSIONS.rawValue) {
            for expression in attribute.nested {
                var name = ""
                for part in expression.nested {
                    if part.type == Int(NFTA_EXPR_NAME.rawValue) { name = part.text }
                    guard part.type == Int(NFTA_EXPR_DATA.rawValue), name == "counter" else { continue }
                    for value in part.nested {
                        let number = value.integer(as: UInt64.self).map(UInt64.init(bigEndian:)) ?? 0
                        if value.type == Int(NFTA_COUNTER_PACKETS.rawValue) { frames = number }
                        if value.type == Int(NFTA_COUNTER_BYTES.rawValue) { bytes = number }
                    }
                }
            }
        }
        return (frames, bytes)
    }

    /// The user data of a table, empty if it has none; nil if there is no such table.
    private static func userData(
        of name: String, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [UInt8]? {
        var found: [UInt8]?
        try socket.get([PacketFilterRequest.getTable(name: name)]) {
            (_, reply) throws(NetlinkError) in
            switch reply {
            case .success(let (_, payload)):
                found = []
                for attribute in AttributeReader(payload, from: MemoryLayout<nfgenmsg>.size)
                where attribute.type == Int(NFTA_TABLE_USERDATA.rawValue) { found = Array(attribute.bytes) }
            case .failure(let error):
                guard error.saysNoTable else {
                    throw error.during("cannot read the nftables table \(name)")
                }
            }
        }
        return found
    }
}

extension CopySpecification.Tag {
    /// Orders tags by a number: tags ignored, untagged, VLANs.
    fileprivate var order: Int {
        switch self {
        case .any: 5000
        case .untagged: 0
        case .vlan(let vlan): Int(vlan.rawValue)
        }
    }
}
