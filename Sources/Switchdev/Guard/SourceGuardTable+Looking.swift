import FDB
public import Netlink
import System

extension SourceGuardTable {
    // MARK: - Looking

    /// Whether the table holds a guest's guard as ``install(_:using:)`` makes it.
    ///
    /// - Throws: ``NetlinkError`` when answers are lost.
    public static func holds(_ spec: SourceGuard, using socket: inout CommandSocket) throws(NetlinkError) -> Bool {
        let table = SourceGuard.table(ofBridge: spec.bridge.index)
        guard try comment(of: hook, in: table, using: &socket).map(isStructure(spec)) == true else { return false }
        // A guest with a gate alone has no chain.
        if spec.addresses.isEmpty { return true }
        guard try comment(of: spec.chain, in: table, using: &socket) == ownComment(spec) else { return false }
        var isComplete = true
        for (set, elements) in pins(spec) {
            try socket.get(elements.map { GuardRequest.getElement(table: table, set: set, $0) }) {
                (_, reply) throws(NetlinkError) in
                if case .failure = reply { isComplete = false }
            }
        }
        return isComplete
    }

    /// Who has sent from addresses of a bridge's guests, and was refused, within the last hour.
    ///
    /// - Throws: ``NetlinkError`` when answers are lost.
    public static func refused(onBridge bridge: Int32, using socket: inout CommandSocket) throws(NetlinkError)
        -> [RefusedSource]
    {
        try elements(of: GuardSet.refused.name, in: SourceGuard.table(ofBridge: bridge), using: &socket).compactMap {
            guard $0.key.count >= 10, let mac = $0.key[4..<10].withUnsafeBytes({ MACAddress(octets: $0) }) else {
                return nil
            }
            let port = $0.key.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
            return RefusedSource(port: port, mac: mac, frames: $0.frames)
        }
    }

    /// How many frames from each guest's addresses were dropped since its chain was made, by the chain's name
    /// (``SourceGuard/chain(of:)``); none without the table.
    ///
    /// - Throws: ``NetlinkError`` when answers are lost.
    public static func dropped(
        onBridge bridge: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [String: UInt64] {
        var frames: [String: UInt64] = [:]
        try rules(of: nil, in: SourceGuard.table(ofBridge: bridge), using: &socket) { chain, payload in
            // Only a guest's last rule counts.
            let counted = PacketFilterTable.counter(in: payload).frames
            if chain.hasPrefix(SourceGuard.chain(of: "")) { frames[chain, default: 0] += counted }
        }
        return frames
    }

    // MARK: - Removing

    /// Removes what is a guest's, and the table after the bridge's last guest. What is gone already is not an error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func remove(_ spec: SourceGuard, using socket: inout CommandSocket) throws(NetlinkError) {
        let table = SourceGuard.table(ofBridge: spec.bridge.index)
        for (set, elements) in pins(spec) { try remove(elements, from: set, table, using: &socket) }
        if let gate = spec.gate { try remove(elements(of: gate), from: GuardSet.shut.name, table, using: &socket) }
        _ = try remove(.deleteChain(table: table, spec.chain), using: &socket)
        for _ in 0..<attempts where try !removeEmpty(table, using: &socket) {}
    }

    /// Removes those elements of a set that are in it.
    static func remove(
        _ elements: [GuardElement], from set: String, _ table: String, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        for request in delete(elements, from: set, table) where try !remove(request, using: &socket) {
            guard case .deleteElements(_, _, let part) = request, part.count > 1 else { continue }
            for element in part {
                _ = try remove(.deleteElements(table: table, set: set, [element]), using: &socket)
            }
        }
    }

    /// - Returns: false when there is nothing to remove.
    private static func remove(_ request: GuardRequest, using socket: inout CommandSocket) throws(NetlinkError) -> Bool
    {
        do throws(NetlinkError) {
            try perform([request], using: &socket)
            return true
        } catch {
            guard error.saysNoTable else {
                throw error.during("cannot remove a guest from its bridge's nftables table")
            }
            return false
        }
    }

    /// Removes a table without guests, unless somebody changes the ruleset meanwhile.
    ///
    /// - Returns: false when somebody has.
    private static func removeEmpty(_ table: String, using socket: inout CommandSocket) throws(NetlinkError) -> Bool {
        var generation: UInt32?
        try socket.get([GuardRequest.generation]) { (_, reply) throws(NetlinkError) in
            if case .success(let (_, payload)) = reply { generation = GuardReply.generation(in: payload) }
        }
        for set in [pinned, GuardSet.tagged, GuardSet.shut]
        where try !elements(of: set.name, in: table, using: &socket).isEmpty {
            return true
        }
        do throws(NetlinkError) {
            try socket.performTogether([.begin(generation: generation), GuardRequest.deleteTable(table), .end])
            return true
        } catch {
            if error.saysNoTable { return true }
            guard error.errno == .restart else { throw error.during("cannot remove the nftables table \(table)") }
            return false
        }
    }
}
