public import FDB
package import Switchdev

/// The place where a guest is reached from this host.
public enum Side: String, Hashable, Sendable, CaseIterable, Codable {
    /// Through the bridge port of its VF.
    case primary
    /// Through the bridge port of its paravirtual NIC.
    case standby
    /// Through the port of a guest that has one alone: a tap, a veth, or the representor of a VF that migrates along.
    case local
    /// The guest is on another host, behind the uplink.
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

/// How a port is shut while its guest is on another host.
public enum Gate: String, Hashable, Sendable, Codable, CaseIterable {
    /// The bridge's own flag (`IFLA_BRPORT_LOCKED`, Linux 5.18): the bridge drops frames whose source has no entry on the
    /// port. The flag was off when the guest was prepared.
    case lock
    /// nftables' table of the bridge (``SourceGuardTable``): what comes from one of the guest's MACs is dropped.
    case table
}

/// A bridge or a bridge port, identified by its interface index.
public struct PortIdentity: Hashable, Sendable {
    /// What it was called when the record was last written: a label, which may have changed since.
    public var name: String
    /// The interface index, which names one interface of a network namespace during a boot.
    public let index: Int32
    /// Entries of the port are offloaded to hardware.
    public let isEswitchPort: Bool
    /// The port in hardware, `BUS/DEVICE/PORT` as devlink names it, where it was one of an eswitch. It outlives the interface.
    public var devlink: String?
    /// Preparing the guest switched learning off; `release` switches it on again.
    public var learningToRestore: Bool
    /// Preparing the guest set the standby as the backup port of a port that had none; `release` removes it.
    public var backupToClear: Bool
    /// The port is shut to the guest's frames while that is on another host, by this means; nil for a port without a gate.
    public var gate: Gate?
    /// Somebody else had locked the port when the guest last left it: what comes back finds it locked, and the lock is not the gate's.
    public var isLockedByOthers = false
    /// It has a gate.
    public var gates: Bool { gate != nil }

    /// Makes an identity from its fields.
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

/// One interface of one VM: a bridge, the ports that reach the guest, and its addresses. It is a failover pair, or has one port on
/// each host.
///
/// `Optional<…>` instead of `…?` leaves out the implicit nil, in whose place the initializer would put the value: for that the
/// runtime looks for a type by its name, which costs a process 10,000 instructions for each.
public struct GuestInterface: Hashable, Sendable {
    /// Its name.
    public let id: GuestID
    /// The bridge. `learningToRestore` is unused here.
    public var bridge: PortIdentity
    /// The port of the VF; nil for a guest with one port.
    public var primary: Optional<PortIdentity>
    /// The port of the paravirtual NIC; of a guest with one port, that port.
    public var standby: PortIdentity
    /// The port that leads to the guest while it is on another host.
    public var uplink: Optional<PortIdentity>
    /// Sorted, without duplicates.
    public let addresses: [Address]
    /// Those of the addresses that the guest got by asking for them; all others an operator has declared.
    public var adopted: [Address] = []
    /// The side that the addresses are pinned to.
    public var side: Side
    /// Pinned entries are sticky, because learning stays on.
    public var isSticky: Bool
    /// A port also serves others, so that learning stays on. Entries are sticky then, unless a control plane would advertise that to
    /// its fabric.
    public var sharesPorts: Bool
    /// Frames from its addresses are let through from its ports and the fabric only (``SourceGuard``).
    public var isGuarded = false
    /// What the guest does with a frame that reaches both of its NICs.
    public var kind = GuestKind.unknown
    /// Addresses that were given without a VLAN: theirs is the PVID that the ports had when the guest was prepared.
    public var fromPVID: [Address] = []
    /// The NIC whose filters move with the addresses, if its eswitch is in legacy mode. The primary is then the bridge port
    /// that leads to the NIC, and the VF has no port.
    public var nic: Optional<LegacyNIC>
    /// The neighbours that follow it; nil for none.
    public var neighbours: [GuestNeighbour]? = nil
    /// Whether what it misses while it migrates is kept and sent again; nil: as the daemon's configuration says.
    public var replay: ReplayMode? = nil

    /// Makes a guest interface from its fields.
    package init(
        id: GuestID, bridge: PortIdentity, primary: PortIdentity?, standby: PortIdentity, uplink: PortIdentity? = nil,
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
        sharesPorts = isSticky
        self.nic = nic
    }

    /// The port of a side; nil for `remote` without an uplink.
    public func port(of side: Side) -> PortIdentity? {
        switch side {
        case .primary: primary
        case .standby: primary == nil ? nil : standby
        case .local: primary == nil ? standby : nil
        case .remote: isLegacy ? primary : uplink
        }
    }

    /// Filters of a NIC move with the addresses.
    package var isLegacy: Bool { if case .some = nic { true } else { false } }

    /// The side at which a guest that comes from another host is first reached.
    public var arrival: Side { primary == nil ? .local : .standby }

    /// The ports that lead to the guest on this host, with their sides.
    package var own: [(side: Side, port: PortIdentity)] {
        // The tuple labels are given here, because converting the array takes longer than making it.
        if let primary { return [(side: Side.primary, port: primary), (side: Side.standby, port: standby)] }
        return [(side: Side.local, port: standby)]
    }

    /// The primary, or the one port: what a bracket copies to, and what leads to a NIC in legacy mode, is always a primary.
    package var firstPort: PortIdentity { primary ?? standby }

    /// The ports with the sides that they serve; an uplink that is also the standby appears once.
    public var ports: [(side: Side, port: PortIdentity)] {
        var ports = own
        if let uplink, uplink.index != standby.index { ports.append((side: .remote, port: uplink)) }
        return ports
    }

    /// A port of the guest whose entries are offloaded to hardware; the primary is preferred.
    package var eswitchPort: PortIdentity? { ports.map(\.port).first(where: \.isEswitchPort) }

    /// Whether the port of a side learns. It does not while the guest is here, so a late frame from its other port moves
    /// nothing. While the guest is on another host the port by which it would come learns, so the guest's first frame here, QEMU's
    /// announcement, brings its addresses along; not through a gate.
    package func learns(_ side: Side) -> Bool {
        self.side == .remote && side == arrival && standby.learningToRestore && !standby.gates
    }

    /// Its ports let nothing of its addresses in while the guest is on another host, so that no switch of the fabric learns them here.
    public var isGated: Bool { standby.gates || primary?.gates == true }

    /// Its gate is a table of nftables, on each of its own ports.
    public var isGatedByTable: Bool { standby.gate == .table }

    /// Its MACs, without those that differ by their VLAN alone.
    package var macs: [MACAddress] {
        var macs: [MACAddress] = []
        // Sorted: one MAC's addresses are neighbours.
        for address in addresses where macs.last != address.mac { macs.append(address.mac) }
        return macs
    }

    /// Whether the port of a side is shut now.
    package func isClosed(_ side: Side) -> Bool {
        self.side == .remote && side != .remote && port(of: side)?.gates == true
    }

    /// The side whose port has an interface index.
    public func side(ofPort index: Int32) -> Side? {
        if primary?.index == index { return .primary }
        if standby.index == index { return arrival }
        return uplink?.index == index ? .remote : nil
    }
}

extension GuestInterface {
    /// The guest with the names that its bridge and ports have now; nil when they have those that it knows.
    ///
    /// - Parameter name: the present name of an interface index; nil where there is no such interface.
    package func renamed(_ name: (Int32) -> String?) -> GuestInterface? {
        var renamed = self
        func update(_ port: inout PortIdentity) -> Bool {
            guard let now = name(port.index), now != port.name else { return false }
            port.name = now
            return true
        }
        var isNews = update(&renamed.bridge)
        if var primary, update(&primary) {
            renamed.primary = primary
            isNews = true
        }
        isNews = update(&renamed.standby) || isNews
        if var uplink, update(&uplink) {
            renamed.uplink = uplink
            isNews = true
        }
        if var nic, update(&nic.pf) {
            renamed.nic = nic
            isNews = true
        }
        for (index, neighbour) in (neighbours ?? []).enumerated() {
            var interface = neighbour.interface
            guard update(&interface) else { continue }
            renamed.neighbours?[index].interface = interface
            isNews = true
        }
        return isNews ? renamed : nil
    }

    /// What has another name in `other`, in words.
    package func renamings(to other: GuestInterface) -> String {
        var pairs = [(bridge, other.bridge), (standby, other.standby)]
        for case (let old?, let new?) in [
            (primary, other.primary), (uplink, other.uplink), (nic?.pf, other.nic?.pf),
        ] { pairs.append((old, new)) }
        pairs += zip(neighbourInterfaces, other.neighbourInterfaces)
        var words: [String] = []
        for (old, new) in pairs where old.name != new.name {
            let text = "\(old.name) (ifindex \(old.index)) is called \(new.name) now"
            if !words.contains(text) { words.append(text) }
        }
        return words.joined(separator: ", ")
    }

    /// The name of the guest's port that has an interface index.
    package func name(ofPort index: Int32) -> String {
        if standby.index == index { return standby.name }
        if primary?.index == index, let name = primary?.name { return name }
        if uplink?.index == index, let name = uplink?.name { return name }
        return "ifindex \(index)"
    }
}

extension GuestInterface {
    /// The addresses that an operator has declared, and that the guest did not get by asking.
    package var declared: [Address] {
        // The first set of a type costs a process 0.3 million instructions: a switch of other guests makes none.
        if adopted.isEmpty { return addresses }
        let adopted = Set(adopted)
        return addresses.filter { !adopted.contains($0) }
    }

    /// Whether `given` are the declared addresses; one without a VLAN stands for the address with that MAC.
    package func declares(exactly given: [Address]) -> Bool {
        let declared = declared
        return given.count == declared.count
            && zip(given.sorted(), declared).allSatisfy { $0.mac == $1.mac && ($0.vlan == nil || $0.vlan == $1.vlan) }
    }
}
