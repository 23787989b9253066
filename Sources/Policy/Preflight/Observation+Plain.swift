import FDB
import Switchdev

extension Observation {
    /// Nothing can be found in what was read, so that ``Preflight`` need not run: a switch has no time for it (a tenth
    /// of its instructions, by valgrind).
    ///
    /// Software ports that forward and let the same through, of which nobody else has one.
    package func isPlain(for guest: GuestInterface) -> Bool {
        guard let bridge, bridge.isUp, let settings = bridge.bridge, let primary = ports[.primary],
            let standby = ports[.standby],
            let first = primary.bridgePort?.flags, let second = standby.bridgePort?.flags,
            primary.index != standby.index, primary.mtu == standby.mtu, primary.virtualFunctions.isEmpty,
            first.subtracting(.learning) == second.subtracting(.learning), !first.contains(.locked),
            guest.isSticky || !first.contains(.learning),
            guest.isSticky || guest.learns(.standby) || !second.contains(.learning), isPlain(primary, bridge),
            isPlain(standby, bridge),
            !guest.addresses.contains(where: {
                $0.mac == bridge.mac || $0.mac == primary.mac || $0.mac == standby.mac || Sentinel.isSentinel($0.mac)
                    || ($0.vlan != nil && !settings.filtersVLANs)
            })
        else { return false }
        guard guest.uplink != nil else { return true }
        guard let uplink = ports[.remote] else { return false }
        return uplink.index != standby.index && isPlain(uplink, bridge)
            && !guest.addresses.contains { $0.mac == uplink.mac }
    }

    private func isPlain(_ port: Link, _ bridge: Link) -> Bool {
        port.master == bridge.index && port.bridgePort?.state == .forwarding && port.obstacle == nil
            && !port.isEswitchPort
    }
}
