public import FDB
public import QMP
public import Switchdev

/// Which of the MACs and VLANs that a guest wants to receive become addresses of its guest interface: decided from what it
/// asked for (`query-rx-filter`), without I/O.
///
/// Declared addresses never leave. A guest may ask for anything: it gets no MAC of another guest, none of the bridge's own, and
/// no more than the limit.
public struct FilterDecision: Hashable, Sendable {
    /// Addresses to pin.
    public private(set) var joining: [Address] = []
    /// Addresses that were pinned because the guest asked for them, which it does no more.
    public private(set) var leaving: [Address] = []
    /// What the guest asked for and does not get, in words.
    public private(set) var refused: [String] = []

    /// - Parameters:
    ///   - filter: what the guest asked for on its standby.
    ///   - guest: with all its addresses.
    ///   - adopted: those of its addresses that it got by asking.
    ///   - others: the guests beside it on the same bridge.
    ///   - reserved: MACs of the bridge and its ports.
    ///   - vlans: those of the standby's port; nil when the bridge does not tell VLANs apart.
    ///   - limit: how many addresses a guest may get by asking.
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
        // A list that is not all of it says nothing about what is not on it.
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

    /// The VLANs that each MAC is wanted in: those of the declared addresses, and those of the guest's own table that its
    /// port is a member of.
    private static func vlans(_ filter: RxFilter, _ declared: Set<Address>, _ port: PortVLANs?) -> [VLANID?] {
        guard let port else { return [nil] }
        var vlans = Set(declared.compactMap(\.vlan))
        // With "all" the guest only says that it does not choose.
        if filter.vlanMode == "normal" {
            for id in filter.vlans {
                // 0 is the guest's untagged traffic.
                let vlan = id == 0 ? port.pvid : UInt16(exactly: id).flatMap(VLANID.init)
                if let vlan, port.members.contains(vlan) { vlans.insert(vlan) }
            }
        }
        return vlans.sorted()
    }
}

/// What came of a guest's own filter.
public struct AdoptionReport: Hashable, Sendable, Encodable {
    /// The guest interface's name.
    public let guest: String
    /// Addresses that were pinned.
    public let joined: [String]
    /// Addresses that were given back.
    public let left: [String]
    /// What the guest does not get, and why.
    public let refused: [String]

    /// Makes one from its parts.
    package init(guest: String, joined: [String], left: [String], refused: [String]) {
        self.guest = guest
        self.joined = joined
        self.left = left
        self.refused = refused
    }
}
