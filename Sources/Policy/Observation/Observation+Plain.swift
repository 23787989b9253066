import FDB
import Switchdev

extension Observation {
    /// No rule of a redirection could find anything in what was read, so that ``Preflight`` need not run: a switch has no time
    /// for it (a tenth of its instructions, by valgrind). A test holds this against the rules.
    ///
    /// Software ports that forward and let the same through, which this guest has alone, and addresses that nobody has taken.
    package func isPlain(for guest: GuestInterface) -> Bool {
        guard let bridge, bridge.isUp, let settings = bridge.bridge, !guest.isLegacy,
            let standby = ports[guest.arrival], let second = standby.bridgePort?.flags,
            second.contains(.locked) == (guest.standby.gate == .lock && guest.isClosed(guest.arrival)),
            guest.sharesPorts || guest.learns(guest.arrival) || !second.contains(.learning),
            isPlain(standby, bridge), guest.fromPVID.isEmpty, let entries
        else { return false }
        var primaryMAC: MACAddress?
        if guest.primary != nil {
            guard let primary = ports[.primary], let first = primary.bridgePort?.flags,
                primary.index != standby.index, primary.mtu == standby.mtu, primary.virtualFunctions.isEmpty,
                first.subtracting(.learning) == second.subtracting(.learning),
                guest.sharesPorts || !first.contains(.learning), isPlain(primary, bridge)
            else { return false }
            primaryMAC = primary.mac
        }
        var uplinkMAC: MACAddress?
        if guest.uplink != nil {
            guard let uplink = ports[.remote], uplink.index != standby.index, uplink.index != guest.primary?.index,
                isPlain(uplink, bridge)
            else { return false }
            uplinkMAC = uplink.mac
        }
        for address in guest.addresses {
            let mac = address.mac
            if mac == bridge.mac || mac == primaryMAC || mac == standby.mac || mac == uplinkMAC
                || foreignPorts.contains(where: { $0.mac == mac }) || Sentinel.isSentinel(mac)
                || (address.vlan != nil && !settings.filtersVLANs)
            {
                return false
            }
            guard let entry = entries[address] else { continue }
            if entry.isLocal || (entry.isSticky && !guest.isSticky) { return false }
        }
        return true
    }

    private func isPlain(_ port: Link, _ bridge: Link) -> Bool {
        port.master == bridge.index && port.bridgePort?.state == .forwarding && port.obstacle == nil
            && !port.isEswitchPort
    }
}
