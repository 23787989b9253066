package import FDB
import Switchdev

/// Whom the rules are asked about: a guest that is prepared, one that is to be, or a bridge with all its ports.
package struct Subject {
    /// The bridge's name.
    package var bridge: String
    /// The names of the guest's ports, by side; none for a bridge with all its ports.
    package var names = BySide<String>()
    /// The guest's addresses.
    package var addresses: [Address] = []
    /// The guest as it was prepared.
    package var guest: GuestInterface?
    /// Its name: what is its own already is nobody else's.
    package var id: GuestID?
    /// Where the guest is, when the caller knows.
    package var side: Side?
    /// The filters of a NIC in legacy mode are moved along with its addresses.
    package var movesFilters = false
    /// A standby whose frames the switch floods to other ports is accepted.
    package var allowsLeak = false

    /// A prepared guest.
    package init(_ guest: GuestInterface) {
        bridge = guest.bridge.name
        names = Subject.names(guest.primary?.name, guest.standby.name, guest.uplink?.name)
        addresses = guest.addresses
        self.guest = guest
        id = guest.id
        side = guest.side
        movesFilters = guest.nic != nil
    }

    /// Takes the names that a prepared guest's bridge and ports have now.
    package mutating func rename(_ guest: GuestInterface) {
        let now = Subject(guest)
        (self.guest, bridge, names) = (guest, now.bridge, now.names)
    }

    /// A guest that is to be prepared.
    package init(_ request: PreparationRequest) {
        bridge = request.bridge
        names = Subject.names(request.primary, request.standby, request.uplink)
        addresses = request.addresses
        side = request.side
        movesFilters = request.legacy != nil
        id = request.id
        allowsLeak = request.allowsLeak
    }

    /// A guest that may be prepared.
    package init(_ request: PreflightRequest) {
        bridge = request.bridge
        names = Subject.names(request.primary, request.standby, request.uplink)
        addresses = request.addresses
        side = request.side
    }

    /// A bridge with all its ports.
    package init(bridge: String) { self.bridge = bridge }

    private static func names(_ primary: String?, _ standby: String, _ uplink: String?) -> BySide<String> {
        var names = BySide<String>()
        names[.primary] = primary
        names[primary == nil ? .local : .standby] = standby
        names[.remote] = uplink
        return names
    }

    /// The sides that the guest has on this host.
    package var ownSides: [Side] { names[.local] == nil ? [.primary, .standby] : [.local] }

    /// Gives each address its VLAN.
    ///
    /// Without NDA_VLAN the kernel makes an entry for VLAN id 0 and one for each VLAN of the port (`br_fdb_add`), so on a
    /// bridge that filters VLANs every address has one: an untagged guest's is the PVID on which its ports agree. An address
    /// for which they do not agree stays without (``VLANRules/pvidDiffers``).
    package mutating func resolveAddresses(_ observation: Observation) {
        guard observation.bridge?.bridge?.filtersVLANs == true,
            let pvid = observation.vlans?[ownSides[0]]?.pvid,
            ownSides.allSatisfy({ observation.vlans?[$0]?.pvid == pvid })
        else { return }
        addresses = Set(addresses.map { $0.vlan == nil ? (try? Address(mac: $0.mac, vlan: pvid)) ?? $0 : $0 }).sorted()
    }
}
