import FDB
import Switchdev

/// What a control plane (EVPN) makes of the guest (docs/evpn.md).
package enum FabricRules {
    static let all = [notAdvertised, selfEntryLeft]

    /// A VXLAN device has an entry of its own for each address that another host advertises (`vxlan_fdb_update`; zebra writes it
    /// together with the bridge's).
    static let notAdvertised = Rule(
        "not-advertised", .loses, shown: "FRR: the source switched before the target",
        harm: "frames to the guest reach nobody, or are flooded"
    ) { it, answer in
        guard let guest = it.subject.guest, guest.side == .remote, let uplink = it.tunnelUplink else { return }
        guard let known = it.observation.tunnelled else { return answer.cannotTell() }
        for mac in guest.macs where !known.contains(mac) {
            answer(
                mac.description,
                "the guest is on another host, and \(uplink.name) knows none that advertises it: its source was told before "
                    + "its target, or the target has not been told",
                evidence: ["bridge fdb show dev \(uplink.name)": "no entry of \(mac)"],
                remedy: "switch it on the host where it runs; on the source only after that "
                    + "(FRR: show evpn mac vni all mac \(mac))")
        }
    }

    static let selfEntryLeft = Rule(
        "self-entry-left", .note, shown: "FRR: a guest that has gone and come back",
        harm: "nothing while the bridge's entry is on a local port"
    ) { it, answer in
        guard let guest = it.subject.guest, guest.side != .remote, let uplink = it.tunnelUplink else { return }
        guard let known = it.observation.tunnelled else { return answer.cannotTell() }
        for mac in guest.macs where known.contains(mac) {
            answer(
                mac.description,
                "\(uplink.name) still has an entry of its own with the VTEP where the guest was; the bridge does not ask it "
                    + "while the guest is here",
                evidence: ["bridge fdb show dev \(uplink.name)": "an entry of \(mac)"],
                remedy:
                    "nothing; it is used again when the bridge's entry goes to \(uplink.name) before the control plane "
                    + "has told where the guest is")
        }
    }
}

extension Preflight {
    /// The uplink, where it is a tunnel whose entries a control plane makes: one that does not learn.
    fileprivate var tunnelUplink: Link? {
        port(.remote).flatMap { $0.isTunnel && $0.bridgePort?.flags.contains(.learning) == false ? $0 : nil }
    }
}
