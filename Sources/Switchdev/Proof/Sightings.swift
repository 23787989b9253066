public import FDB
public import Netlink
import System

/// The places where MACs are seen, on all bridges and VLANs of a network namespace.
public enum Sightings {
    /// Reads the entries of MACs on every bridge and VLAN.
    ///
    /// A bridge that filters VLANs is dumped, because its entries may be in any VLAN. A dump can miss entries (``Table``): a
    /// sighting is evidence, but its absence is not. On other bridges each MAC is read singly, without a VLAN and in the VLAN
    /// of the bridge's `default_pvid`, in which its ports have entries too (`br_fdb_add`).
    ///
    /// - Parameters:
    ///   - macs: the MACs.
    ///   - bridges: the bridges of the namespace.
    ///   - socket: in the namespace.
    /// - Throws: ``NetlinkError`` if the kernel refuses, or answers are lost.
    /// - Complexity: two gets for each MAC on each bridge without VLANs. A dump walks the whole table once for each port.
    public static func read(
        of macs: Set<MACAddress>, on bridges: [Link], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Entry] {
        var entries: [Entry] = []
        for bridge in bridges {
            guard let settings = bridge.bridge else { continue }
            if settings.filtersVLANs {
                try Table.scan(bridge: bridge.index, using: &socket) {
                    if macs.contains($0.address.mac) { entries.append($0) }
                }
                continue
            }
            let tags = [nil] + [VLANID(rawValue: settings.defaultPVID)].compactMap { $0 }
            let addresses = macs.sorted().flatMap { mac in tags.compactMap { try? Address(mac: mac, vlan: $0) } }
            do throws(NetlinkError) {
                entries += try Table.read(addresses, bridge: bridge.index, using: &socket).compactMap { $0 }
            } catch {
                // The bridge has been removed since.
                guard error.errno == .noDevice || error.errno == .invalid else { throw error }
            }
        }
        return entries.sorted { ($0.bridge ?? 0, $0.address) < ($1.bridge ?? 0, $1.address) }
    }
}
