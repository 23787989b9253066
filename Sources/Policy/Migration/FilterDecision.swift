public import FDB
public import QMP
public import Switchdev

/// Decides without I/O which of the MACs and VLANs in a guest's filter (`query-rx-filter`) become addresses of its guest
/// interface.
///
/// Declared addresses always stay. A guest may ask for anything, but it gets no MAC of another guest, no MAC of the bridge
/// and its ports, and no more addresses than the limit.
public struct FilterDecision: Hashable, Sendable {
    /// Addresses to pin.
    public private(set) var joining: [Address] = []
    /// Addresses that were pinned because the guest asked for them, and that it no longer asks for.
    public private(set) var leaving: [Address] = []
    /// The requests that are refused, in words.
    public private(set) var refused: [String] = []

    /// - Parameters:
    ///   - filter: the filter of the guest's standby.
    ///   - guest: the guest interface with all its addresses.
    ///   - adopted: those of its addresses that it got by asking for them.
    ///   - others: the other guests on the same bridge.
    ///   - reserved: MACs of the bridge and its ports.
    ///   - vlans: the VLANs of the standby's port; nil if the bridge does not filter VLANs.
    ///   - limit: the number of addresses that a guest may get by asking for them.
    public init(
        _ filter: RxFilter, guest: GuestInterface, adopted: Set<Address>, others: [GuestInterface],
        reserved: Set<MACAddress> = [], vlans: PortVLANs?, limit: Int
    ) {
        let declared = Set(guest.addresses).subtracting(adopted)
        var owners: [MACAddress: String] = [:]
        for other in others where other.id != guest.id {
            for address in other.addresses { owners[address.mac] = other.id.text }
        }
        var wanted: [Address] = []
        for text in [filter.mainMAC] + filter.unicast {
            guard let mac = MACAddress(text) else {
                refused.append("\"\(text.prefix(64))\" is no MAC")
                continue
            }
            if let owner = owners[mac] {
                refused.append("\(mac) belongs to guest \(owner)")
                continue
            }
            if reserved.contains(mac) || Sentinel.isSentinel(mac) {
                refused.append("\(mac) is the bridge's, one of its ports' or a sentinel's")
                continue
            }
            for vlan in FilterDecision.vlans(filter, declared, vlans) {
                do throws(AddressError) {
                    wanted.append(try Address(mac: mac, vlan: vlan))
                } catch {
                    refused.append(error.description)
                    break
                }
            }
        }
        let asked = Set(wanted)
        // In an incomplete list a missing address means nothing.
        let isComplete = !filter.isPromiscuous && !filter.unicastOverflow
        leaving = isComplete ? adopted.subtracting(asked).sorted() : []
        var room = max(0, limit - adopted.count + leaving.count)
        for address in asked.subtracting(guest.addresses).sorted() {
            if room == 0 {
                refused.append("\(address) is beyond the limit of \(limit)")
            } else {
                room -= 1
                joining.append(address)
            }
        }
        refused = Array(Set(refused)).sorted()
    }

    /// The VLANs for each MAC: those of the declared addresses, and those of the guest's own VLAN table that its port is a
    /// member of.
    private static func vlans(_ filter: RxFilter, _ declared: Set<Address>, _ port: PortVLANs?) -> [VLANID?] {
        guard let port else { return [nil] }
        var vlans = Set(declared.compactMap(\.vlan))
        // "all" only means that the guest does not choose.
        if filter.vlanMode == "normal" {
            for id in filter.vlans {
                // VLAN id 0 is the guest's untagged traffic.
                let vlan = id == 0 ? port.pvid : UInt16(exactly: id).flatMap(VLANID.init)
                if let vlan, port.members.contains(vlan) { vlans.insert(vlan) }
            }
        }
        return vlans.sorted()
    }
}

/// The result of adopting a guest's own filter.
public struct AdoptionReport: Hashable, Sendable, Encodable {
    /// The guest interface's name.
    public let guest: String
    /// Addresses that were pinned.
    public let joined: [String]
    /// Addresses that were released.
    public let left: [String]
    /// The requests that were refused, with the reasons.
    public let refused: [String]

    /// Makes a report from its fields.
    package init(guest: String, joined: [String], left: [String], refused: [String]) {
        self.guest = guest
        self.joined = joined
        self.left = left
        self.refused = refused
    }
}
