public import Switchdev

/// That frames from a guest's addresses come by its ports and the fabric only, or may come from anywhere again
/// (docs/design.md, "A pinned MAC is the guest's").
public struct GuardChange: Hashable, Sendable {
    /// Whose addresses, and from where they may come.
    public let spec: SourceGuard
    /// Whether it is made or removed.
    public let isOn: Bool

    /// Makes one from its parts.
    public init(_ spec: SourceGuard, isOn: Bool) {
        self.spec = spec
        self.isOn = isOn
    }

    /// The change that restores the earlier state.
    package var undo: GuardChange { GuardChange(spec, isOn: !isOn) }

    /// The message in words, and what shows the same.
    package var message: PlannedMessage {
        let count = spec.addresses.count
        let addresses = count == 1 ? "1 address" : "\(count) addresses"
        let table = SourceGuard.table(ofBridge: spec.bridge.index)
        let words =
            isOn
            ? "frames from \(addresses) only by \(spec.ports.map(\.name).joined(separator: ", ")) and the fabric"
            : "frames from \(addresses) by any port"
        return PlannedMessage(
            netlink: "NFT_MSG_\(isOn ? "NEW" : "DEL")SETELEM bridge \(table): \(words)", bridgeCommand: nil)
    }
}

extension SourceGuard {
    /// The guard of a guest.
    ///
    /// What the guest asked for by itself keeps nobody else from sending.
    ///
    /// - Parameter links: all interfaces; with fewer it is only good for a removal.
    package init(_ guest: GuestInterface, links: Links) {
        let bridge = links[guest.bridge.index]
        let filtersVLANs = bridge?.bridge?.filtersVLANs == true
        let ports = links.ports(of: guest.bridge.index)
        let declared = guest.isGuarded ? guest.declared : []
        self.init(
            bridge: Port(index: guest.bridge.index, name: bridge?.name ?? guest.bridge.name),
            filtersVLANs: filtersVLANs, tagType: bridge?.bridge?.tagType ?? 0x8100,
            defaultPVID: bridge?.bridge?.defaultPVID ?? 0, guest: guest.id.text, addresses: declared,
            ports: guest.ports.map { Port(index: $0.port.index, name: links[$0.port.index]?.name ?? $0.port.name) },
            fabric: SourceGuard.fabric(of: guest.bridge.index, links),
            pvids: filtersVLANs ? Dictionary(uniqueKeysWithValues: ports.map { ($0.index, 0) }) : [:])
        gate = SourceGuard.Gate(guest)
    }
}

extension SourceGuard.Gate {
    /// The gate of a guest; nil where the bridge's own means make it, or it has none.
    package init?(_ guest: GuestInterface) {
        guard guest.isGatedByTable else { return nil }
        self.init(ports: guest.own.map(\.port.index), macs: guest.macs)
    }
}

extension GuestInterface {
    /// It needs the bridge's table of nftables: because its addresses are guarded, or as its gate.
    package var needsTable: Bool { isGuarded || isGatedByTable }
}
