import CNetlink
import FDB
public import Netlink
import Synchronization
import System

/// The nftables table of one bridge that drops frames from guests' addresses that come from elsewhere.
///
/// The bridge learns after its prerouting hook (`br_handle_frame`, net/bridge/br_input.c), so a dropped frame moves no entry. A frame
/// from no guest's address costs one lookup. Ports that were not known when the table was made are covered, because the table
/// says who may send and not who may not. It is per bridge because a MAC may be somebody else's on another one.
///
/// `nft list table bridge fdbsteer-guard-IFINDEX` shows it.
public enum SourceGuardTable {
    static let pinned = GuardSet.addresses("pinned")
    static let hook = "prerouting"
    /// Comes back for frames that are to be dropped. Tables of an earlier version have a chain "foreign", which dropped them itself:
    /// guests' chains of that version still go there.
    private static let strangers = "strangers"
    /// The end of a comment that says that the hook's rules have one for gates.
    static let gates = ", gates"
    /// Elements in one message: each takes up to 130 octets, and a transaction has 64 KiB for two such messages and the table.
    private static let chunk = 180
    static let attempts = 3
    /// This kernel does not know the name of a frame's bridge in nftables (CONFIG_NFT_BRIDGE_META): the ports of other bridges are
    /// listed instead.
    private static let isNameless = Atomic(false)

    // MARK: - Making

    /// Lets only a guest's ports and the fabric send from its addresses. The same call again changes nothing.
    ///
    /// - Throws: ``NetlinkError``: this kernel's nftables has no bridges, or lacks something else.
    public static func install(_ spec: SourceGuard, using socket: inout CommandSocket) throws(NetlinkError) {
        var attempt = 1
        while true {
            do throws(NetlinkError) {
                return try tryInstall(spec, using: &socket)
            } catch {
                // Who released the bridge's last guest has removed the table since it was read.
                guard error.errno == .noEntry, attempt < attempts else {
                    throw error.during(
                        "cannot make the nftables table \(SourceGuard.table(ofBridge: spec.bridge.index))")
                }
                attempt += 1
            }
        }
    }

    /// Takes over what has changed of the ports.
    ///
    /// - Returns: false where there is no table, or one for a bridge of another name or other VLANs.
    /// - Throws: ``NetlinkError``.
    public static func refresh(_ spec: SourceGuard, using socket: inout CommandSocket) throws(NetlinkError) -> Bool {
        let table = SourceGuard.table(ofBridge: spec.bridge.index)
        guard try comment(of: hook, in: table, using: &socket).map(isStructure(spec)) == true else { return false }
        let changes = try fabric(spec, table, using: &socket) + vlans(spec, table, using: &socket)
        try perform(changes, using: &socket)
        return true
    }

    private static func tryInstall(_ spec: SourceGuard, using socket: inout CommandSocket) throws(NetlinkError) {
        let table = SourceGuard.table(ofBridge: spec.bridge.index)
        let found = try comment(of: hook, in: table, using: &socket)
        let isMade = found.map(isStructure(spec)) == true
        // What shuts other guests' ports stays.
        let hasGates = spec.gate != nil || found?.hasSuffix(gates) == true
        var changes = try fabric(spec, table, using: &socket) + vlans(spec, table, using: &socket)
        // A guest with a gate alone is not guarded.
        if !spec.addresses.isEmpty { changes += own(spec, table) }
        for (set, elements) in pins(spec) { changes += add(elements, to: set, table) }
        if isMade {
            try perform(changes, using: &socket)
        } else {
            try performNamed(spec, table, hasGates, changes, using: &socket)
        }
    }

    /// Makes the table as well; with the bridge's name where the kernel knows that.
    private static func performNamed(
        _ spec: SourceGuard, _ table: String, _ hasGates: Bool, _ changes: [GuardRequest],
        using socket: inout CommandSocket
    ) throws(NetlinkError) {
        if !isNameless.load(ordering: .relaxed) {
            do throws(NetlinkError) {
                return try perform(structure(spec, table, isNamed: true, hasGates) + changes, using: &socket)
            } catch {
                guard error.code == .refused else { throw error }
            }
        }
        try perform(structure(spec, table, isNamed: false, hasGates) + changes, using: &socket)
        isNameless.store(true, ordering: .relaxed)
    }

    /// What the hook's rules are made for; without its name a bridge may be renamed.
    private static func structureComment(_ spec: SourceGuard, isNamed: Bool, hasGates: Bool) -> String {
        let tags = spec.tagType == UInt16(ETH_P_8021Q) ? "" : " of type \(String(spec.tagType, radix: 16))"
        return (isNamed ? spec.bridge.name : "any name")
            + (spec.filtersVLANs ? ", VLANs\(tags), PVID \(spec.defaultPVID)" : "") + ", \(strangers)"
            + (hasGates ? gates : "")
    }

    /// Whether a comment says that the hook's rules are right: gates of other guests do no harm.
    static func isStructure(_ spec: SourceGuard) -> (String) -> Bool {
        { comment in
            [true, false].contains { isNamed in
                comment == structureComment(spec, isNamed: isNamed, hasGates: true)
                    || spec.gate == nil && comment == structureComment(spec, isNamed: isNamed, hasGates: false)
            }
        }
    }

    /// The table without guests. What exists already stays, but for the rules.
    private static func structure(
        _ spec: SourceGuard, _ table: String, isNamed: Bool, _ hasGates: Bool
    ) -> [GuardRequest] {
        var requests: [GuardRequest] = [.addTable(table)]
        for (number, set) in [pinned, .tagged, .untagged, .fabric, .refused].enumerated() {
            requests.append(.addSet(table: table, set, number: UInt32(number + 1)))
        }
        requests += [
            .addChain(table: table, strangers), .flush(table: table, chain: strangers),
            .addRule(
                table: table, chain: strangers,
                [.meta(NFT_META_IIF), .lookUp(set: GuardSet.fabric.name), .verdict(.accept)]),
        ]
        for kind in SourceGuard.fabricKinds {
            requests.append(
                .addRule(
                    table: table, chain: strangers,
                    [.meta(NFT_META_IIFKIND), .compare(NFT_CMP_EQ, name(kind)), .verdict(.accept)]))
        }
        requests += [
            .addRule(
                table: table, chain: strangers,
                [.meta(NFT_META_IIF), .source(.word(1)), .countIn(set: GuardSet.refused.name)]),
            .addChain(table: table, hook, isHook: true), .flush(table: table, chain: hook),
        ]
        if spec.filtersVLANs, let vlan = VLANID(rawValue: spec.defaultPVID) {
            requests += makeVLAN(vlan.rawValue, table, number: 6)
        }
        if hasGates { requests.append(.addSet(table: table, .shut, number: 7)) }
        let rules = hookRules(spec, isNamed: isNamed, hasGates)
        for (number, rule) in rules.enumerated() {
            let comment = number == 0 ? structureComment(spec, isNamed: isNamed, hasGates: hasGates) : nil
            requests.append(.addRule(table: table, chain: hook, rule, comment: comment))
        }
        return requests
    }

    private static func hookRules(_ spec: SourceGuard, isNamed: Bool, _ hasGates: Bool) -> [[PacketExpression]] {
        var rules: [[PacketExpression]] = []
        // A port is one of one bridge. Without a gate on the bridge no frame pays for this.
        if hasGates {
            rules.append([
                .meta(NFT_META_IIF), .source(.word(1)), .lookUp(set: GuardSet.shut.name), .count, .verdict(.drop),
            ])
        }
        if isNamed {
            rules.append([
                .meta(NFT_META_BRI_IIFNAME), .compare(NFT_CMP_NEQ, name(spec.bridge.name)), .verdict(.accept),
            ])
        }
        guard spec.filtersVLANs else { return rules + [[.source(), .decide(map: pinned.name)]] }
        rules += [
            PacketExpression.isTagged(type: spec.tagType) + [.source()] + PacketExpression.vlan(.word(2)) + [
                .decide(map: GuardSet.tagged.name)
            ],
            // A tag of VLAN 0 has only a priority: the frame is in its port's PVID.
            PacketExpression.isTagged(type: spec.tagType) + PacketExpression.vlan() + [
                .compare(NFT_CMP_NEQ, [0, 0]), .verdict(.accept),
            ],
            [.meta(NFT_META_IIF), .decide(map: GuardSet.untagged.name)],
        ]
        if spec.defaultPVID != 0 { rules.append([.verdict(.goto(vlanName(spec.defaultPVID)))]) }
        return rules
    }

    private static func vlanName(_ vlan: UInt16) -> String { "vlan-\(vlan)" }

    /// A name as nftables compares it.
    private static func name(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8.prefix(Int(IFNAMSIZ) - 1))
        return bytes + [UInt8](repeating: 0, count: Int(IFNAMSIZ) - bytes.count)
    }

    /// The chain and the map of what comes without a tag for a VLAN.
    private static func makeVLAN(_ vlan: UInt16, _ table: String, number: UInt32) -> [GuardRequest] {
        let name = vlanName(vlan)
        return [
            .addSet(table: table, .addresses(name), number: number), .addChain(table: table, name),
            .flush(table: table, chain: name),
            .addRule(table: table, chain: name, [.source(), .decide(map: name)]),
        ]
    }

    /// What is missing of the VLANs, and where known ports' frames without a tag belong.
    private static func vlans(
        _ spec: SourceGuard, _ table: String, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [GuardRequest] {
        let wanted = Set(spec.addresses.compactMap { $0.vlan?.rawValue } + spec.pvids.values.filter { $0 != 0 })
            .sorted()
        var requests: [GuardRequest] = []
        if wanted.isEmpty { return [] }
        try socket.get(wanted.map { GuardRequest.getChain(table: table, vlanName($0)) }) {
            (index, reply) throws(NetlinkError) in
            guard case .failure = reply else { return }
            requests += makeVLAN(wanted[index], table, number: 10 + UInt32(index))
        }
        let known = try elements(of: GuardSet.untagged.name, in: table, using: &socket)
        let chains = Dictionary(known.map { ($0.key, $0.chain) }) { $1 }
        var old: [GuardElement] = []
        var new: [GuardElement] = []
        for (port, pvid) in spec.pvids.sorted(by: { $0.key < $1.key }) {
            let chain = pvid == 0 ? nil : vlanName(pvid)
            let found = chains[GuardElement.key(port)]
            if let found, found == chain { continue }
            if found != nil { old.append(GuardElement(GuardElement.key(port))) }
            new.append(GuardElement(GuardElement.key(port), chain.map { .goto($0) } ?? .accept))
        }
        let ports = Set(spec.pvids.keys.map(GuardElement.key))
        if !ports.isEmpty { old += known.filter { !ports.contains($0.key) }.map { GuardElement($0.key) } }
        return requests + delete(old, from: GuardSet.untagged.name, table) + add(new, to: GuardSet.untagged.name, table)
    }

    /// What has changed of the fabric.
    private static func fabric(
        _ spec: SourceGuard, _ table: String, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [GuardRequest] {
        let name = GuardSet.fabric.name
        let wanted = Set(spec.fabric.map(GuardElement.key))
        let found = Set(try elements(of: name, in: table, using: &socket).map(\.key))
        return delete(found.subtracting(wanted).map { GuardElement($0) }, from: name, table)
            + add(wanted.subtracting(found).map { GuardElement($0) }, to: name, table)
    }

    static func ownComment(_ spec: SourceGuard) -> String {
        "\(strangers) but ports \(spec.ports.map { "\($0.index)" }.joined(separator: ", "))"
    }

    /// The guest's chain. A port that was made anew under the same name is the guest's as well as one that was renamed.
    private static func own(_ spec: SourceGuard, _ table: String) -> [GuardRequest] {
        let chain = spec.chain
        var rules = spec.ports.map {
            [PacketExpression.meta(NFT_META_IIF), .compare(NFT_CMP_EQ, GuardElement.key($0.index)), .verdict(.accept)]
        }
        rules += spec.ports.map {
            [PacketExpression.meta(NFT_META_IIFNAME), .compare(NFT_CMP_EQ, name($0.name)), .verdict(.accept)]
        }
        rules += [[.verdict(.jump(strangers))], [.count, .verdict(.drop)]]
        return [.addChain(table: table, chain), .flush(table: table, chain: chain)]
            + rules.enumerated().map { number, rule in
                .addRule(table: table, chain: chain, rule, comment: number == 0 ? ownComment(spec) : nil)
            }
    }

    /// The elements of the guest's addresses by set. Which of them count depends on whether the bridge filters VLANs.
    static func pins(_ spec: SourceGuard) -> [(set: String, elements: [GuardElement])] {
        let verdict = PacketVerdict.goto(spec.chain)
        var sets: [(set: String, elements: [GuardElement])] = []
        for (vlan, addresses) in Dictionary(grouping: spec.addresses, by: \.vlan?.rawValue) {
            if vlan != nil {
                sets.append((GuardSet.tagged.name, addresses.map { GuardElement(GuardElement.key($0), verdict) }))
            }
            sets.append(
                (
                    vlan.map(vlanName) ?? pinned.name,
                    addresses.map { GuardElement(PacketExpression.bytes($0.mac.octets), verdict) }
                ))
        }
        return sets
    }

    // MARK: - Messages

    static func add(_ elements: [GuardElement], to set: String, _ table: String) -> [GuardRequest] {
        parts(elements).map { .addElements(table: table, set: set, $0) }
    }

    static func delete(_ elements: [GuardElement], from set: String, _ table: String) -> [GuardRequest] {
        parts(elements).map { .deleteElements(table: table, set: set, $0) }
    }

    private static func parts(_ elements: [GuardElement]) -> [[GuardElement]] {
        stride(from: 0, to: elements.count, by: chunk).map { Array(elements[$0..<min(elements.count, $0 + chunk)]) }
    }

    /// Sends requests in as few transactions as fit.
    static func perform(_ requests: [GuardRequest], using socket: inout CommandSocket) throws(NetlinkError) {
        var batch: [GuardRequest] = [.begin(generation: nil)]
        var elements = 0
        for request in requests {
            if elements + request.elementCount > 2 * chunk {
                try socket.performTogether(batch + [.end])
                (batch, elements) = ([.begin(generation: nil)], 0)
            }
            batch.append(request)
            elements += request.elementCount
        }
        if batch.count > 1 { try socket.performTogether(batch + [.end]) }
    }

    /// The elements of a set; none without the set.
    static func elements(
        of set: String, in table: String, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [GuardReply.Element] {
        var found: [GuardReply.Element] = []
        do throws(NetlinkError) {
            try socket.dump(GuardRequest.elements(table: table, set: set)) { (_, payload) throws(NetlinkError) in
                found += GuardReply.elements(in: payload)
            }
        } catch {
            guard error.saysNoTable else { throw error.during("cannot read the nftables table \(table)") }
        }
        return found
    }

    /// The comment of a chain's first rule; nil without one.
    static func comment(
        of chain: String, in table: String, using socket: inout CommandSocket
    ) throws(NetlinkError) -> String? {
        var found: String?
        var isFirst = true
        try rules(of: chain, in: table, using: &socket) { _, payload in
            if isFirst { found = GuardReply.comment(in: payload) }
            isFirst = false
        }
        return found
    }

    /// Reads the rules of a chain, or of all of a table's; none without the table.
    static func rules(
        of chain: String?, in table: String, using socket: inout CommandSocket,
        _ body: (_ chain: String, UnsafeRawBufferPointer) -> Void
    ) throws(NetlinkError) {
        do throws(NetlinkError) {
            try socket.dump(GuardRequest.rules(table: table, chain: chain)) { (header, payload) throws(NetlinkError) in
                guard header.type == PacketFilterRequest.type(NFT_MSG_NEWRULE) else { return }
                body(GuardReply.chain(in: payload), payload)
            }
        } catch {
            guard error.saysNoTable else { throw error.during("cannot read the nftables table \(table)") }
        }
    }

    // MARK: - Trying

    /// Tries whether this kernel can guard addresses, and makes nothing.
    ///
    /// - Throws: ``NetlinkError``: `refused` by a kernel that cannot (EOPNOTSUPP without CONFIG_NF_TABLES_BRIDGE), or without the
    ///   privilege (EPERM); `system` without nftables' sockets (EPROTONOSUPPORT).
    public static func check(using socket: inout CommandSocket) throws(NetlinkError) {
        let spec = SourceGuard(
            bridge: .init(index: 0, name: "fdbsteer"), filtersVLANs: false, guest: "trial", addresses: [], ports: [])
        try socket.withPacketFilters { (socket) throws(NetlinkError) in
            let table = "fdbsteer/probe"
            let requests = structure(spec, table, isNamed: false, true) + own(spec, table)
            try socket.performTogether([.begin(generation: nil)] + requests, isTrial: true)
        }
    }
}
