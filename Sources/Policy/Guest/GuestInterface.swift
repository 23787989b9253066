public import FDB
package import Switchdev

/// Where a guest is reached from this host.
public enum Side: String, Hashable, Sendable, CaseIterable, Codable {
    /// By the bridge port of its VF.
    case primary
    /// By the bridge port of its paravirtual NIC.
    case standby
    /// It is on another host: behind the uplink.
    case remote
}

/// The name of a guest interface: 1 to 64 letters, digits, and `. _ : -`, the first a letter or digit.
public struct GuestID: Hashable, Sendable, CustomStringConvertible {
    /// The text.
    public let text: String

    /// - Throws: ``ControllerError`` of code `usage`.
    public init(_ text: String) throws(ControllerError) {
        let letters = text.utf8
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            (byte >= 0x30 && byte <= 0x39) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a)
        }
        guard let first = letters.first, isAlphanumeric(first), letters.count <= 64,
            letters.allSatisfy({ isAlphanumeric($0) || [0x2e, 0x5f, 0x3a, 0x2d].contains($0) })
        else {
            throw ControllerError(
                .usage, "guest name \"\(text)\" is not usable",
                remedy: "use 1 to 64 letters, digits, '.', '_', ':' or '-', beginning with a letter or digit")
        }
        self.text = text
    }

    public var description: String { text }
}

/// A bridge port by its name and the interface index that it had when the guest was prepared.
///
/// Names are used again by other devices: both must agree.
public struct PortIdentity: Hashable, Sendable {
    /// Interface name.
    public let name: String
    /// Interface index of this boot.
    public let index: Int32
    /// Entries of the port reach hardware.
    public let isEswitchPort: Bool
    /// Learning was on before the guest was prepared, and is off because of it: `release` switches it on again.
    public var learningToRestore: Bool
    /// It had no backup port before the guest was prepared, and has the standby because of it: `release` takes it away.
    public var backupToClear: Bool

    /// Makes an identity from its parts.
    public init(
        name: String, index: Int32, isEswitchPort: Bool, learningToRestore: Bool = false,
        backupToClear: Bool = false
    ) {
        self.name = name
        self.index = index
        self.isEswitchPort = isEswitchPort
        self.learningToRestore = learningToRestore
        self.backupToClear = backupToClear
    }

    package init(_ link: Link) {
        self.init(name: link.name, index: link.index, isEswitchPort: link.isEswitchPort)
    }
}

/// One failover pair of one VM: a bridge, the ports by which the guest is reached, and its addresses.
public struct GuestInterface: Hashable, Sendable {
    /// Its name.
    public let id: GuestID
    /// The bridge; its learning flag means nothing.
    public let bridge: PortIdentity
    /// The port of the VF.
    public var primary: PortIdentity
    /// The port of the paravirtual NIC.
    public var standby: PortIdentity
    /// The port behind which a guest that is not here is reached.
    public var uplink: PortIdentity?
    /// Sorted, without duplicates.
    public let addresses: [Address]
    /// The side that the addresses are pinned to.
    public var side: Side
    /// Pinned entries are sticky: a port serves others too, so that its learning stays on.
    public let isSticky: Bool
    /// What the guest does with frames that reach both of its NICs.
    public var kind = GuestKind.unknown
    /// The NIC whose filters move with the addresses, when its eswitch is in legacy mode: the primary is then the port of the
    /// bridge that goes to the NIC, and the VF has none.
    public var nic: LegacyNIC? = nil

    /// Makes one from its parts.
    package init(
        id: GuestID, bridge: PortIdentity, primary: PortIdentity, standby: PortIdentity, uplink: PortIdentity? = nil,
        addresses: [Address], side: Side, isSticky: Bool, nic: LegacyNIC? = nil
    ) {
        self.id = id
        self.bridge = bridge
        self.primary = primary
        self.standby = standby
        self.uplink = uplink
        self.addresses = addresses
        self.side = side
        self.isSticky = isSticky
        self.nic = nic
    }

    /// The port of a side; nil for `remote` without an uplink.
    public func port(of side: Side) -> PortIdentity? {
        switch side {
        case .primary: primary
        case .standby: standby
        case .remote: nic == nil ? uplink : primary
        }
    }

    /// The ports with the sides that they serve, an uplink that is also the standby once.
    public var ports: [(side: Side, port: PortIdentity)] {
        // With their labels from the start: to convert the array takes longer than to make it.
        var ports = [(side: Side.primary, port: primary), (side: Side.standby, port: standby)]
        if let uplink, uplink.index != standby.index { ports.append((side: .remote, port: uplink)) }
        return ports
    }

    /// A port of the guest whose entries reach hardware, the primary first.
    package var eswitchPort: PortIdentity? { ports.map(\.port).first(where: \.isEswitchPort) }

    /// Whether the port of a side learns: not where the guest is here, so that a late frame by its other port moves nothing.
    /// While it is on another host its standby does, so that its first frame here, QEMU's announcement, brings its addresses
    /// along.
    package func learns(_ side: Side) -> Bool { self.side == .remote && side == .standby && standby.learningToRestore }

    /// The side whose port has an interface index.
    public func side(ofPort index: Int32) -> Side? {
        if primary.index == index { return .primary }
        if standby.index == index { return .standby }
        return uplink?.index == index ? .remote : nil
    }
}

extension GuestInterface {
    /// The name of the guest's port that has an interface index.
    package func name(ofPort index: Int32) -> String {
        side(ofPort: index).flatMap { port(of: $0)?.name } ?? "ifindex \(index)"
    }
}

extension GuestInterface {
    /// Whether these are its addresses; one without a VLAN stands for the one with that MAC.
    package func has(exactly given: [Address]) -> Bool {
        given.count == addresses.count
            && zip(given.sorted(), addresses).allSatisfy { $0.mac == $1.mac && ($0.vlan == nil || $0.vlan == $1.vlan) }
    }
}
