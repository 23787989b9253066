import CNetlink
public import Netlink

/// Where MACs are seen, on all bridges and VLANs of a network namespace.
public enum Sightings {
    /// Reads the entries of MACs, whatever their bridge and VLAN.
    ///
    /// One dump, with what a dump can miss (``Table``): a sighting is evidence, its absence is none.
    ///
    /// - Parameters:
    ///   - macs: the MACs.
    ///   - socket: in the namespace.
    /// - Throws: ``NetlinkError`` when the kernel refuses, or answers are lost.
    /// - Complexity: the entries of all bridges and the address lists of all interfaces (`rtnl_fdb_dump`).
    public static func read(
        of macs: Set<MACAddress>, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Entry] {
        var entries: [Entry] = []
        try socket.dump(NamespaceDump()) { (header, payload) throws(NetlinkError) in
            guard header.type == .newNeighbour, let entry = try Entry(decoding: payload),
                macs.contains(entry.address.mac), entry.bridge != nil, !entry.flags.contains(.selfTable)
            else { return }
            entries.append(entry)
        }
        return entries.sorted { ($0.bridge ?? 0, $0.address) < ($1.bridge ?? 0, $1.address) }
    }
}

/// A dump of every bridge's entries.
private struct NamespaceDump: Request {
    var type: MessageType { .getNeighbour }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        var fixed = ndmsg()
        fixed.ndm_family = UInt8(AF_BRIDGE)
        body.put(fixed)
    }
}
