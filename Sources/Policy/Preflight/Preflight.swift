import FDB
import Switchdev

/// What rules look at: whom they are asked about, with what was read; no I/O.
package struct Preflight {
    package let subject: Subject
    package let observation: Observation
    /// The bridge.
    let bridge: Link?
    /// Every interface that was read.
    let links: Links

    package init(_ subject: Subject, _ observation: Observation) {
        self.subject = subject
        self.observation = observation
        bridge = observation.bridge.flatMap { $0.kind == "bridge" && $0.bridge != nil ? $0 : nil }
        links = observation.links
    }

    /// Asks the rules.
    package func judge(by rules: [Rule] = Rule.all) -> Verdict { Verdict(self, by: rules) }

    // MARK: - Ports

    /// The sides that were given, with their roles and names.
    var roles: [(side: Side, role: String, name: String)] {
        [(Side.primary, "primary"), (.standby, "standby"), (.local, "port"), (.remote, "uplink")].compactMap {
            side, role in
            subject.names[side].map { (side, role, $0) }
        }
    }

    /// The interface of a side, when it is a port of the bridge.
    func port(_ side: Side) -> Link? {
        guard subject.names[side] != nil, let link = observation.ports[side], isPort(link) else { return nil }
        return link
    }

    private func isPort(_ link: Link) -> Bool {
        bridge.map { link.master == $0.index && link.bridgePort != nil } ?? false
    }

    /// Interfaces that were given and are no ports of the bridge.
    var strangers: [(side: Side, role: String, link: Link, bridge: Link)] {
        guard let bridge else { return [] }
        return roles.compactMap { side, role, _ in
            observation.ports[side].flatMap { isPort($0) ? nil : (side, role, $0, bridge) }
        }
    }

    /// Ports of the bridge that this guest has, each once.
    var ports: [(side: Side, link: Link)] {
        var seen = Set<Int32>()
        return roles.compactMap { side, _, _ in port(side).map { (side, $0) } }.filter {
            seen.insert($0.1.index).inserted
        }
    }

    /// The subject is a bridge with all its ports.
    var isSurvey: Bool { roles.isEmpty }

    /// Ports of the bridge, the guest's or all.
    var allPorts: [Link] {
        isSurvey ? bridge.map { links.ports(of: $0.index) } ?? [] : ports.map(\.link)
    }

    /// The ports that lead to the guest on this host, or all of a bridge.
    var ownPorts: [Link] { isSurvey ? allPorts : ports.filter { $0.side != .remote }.map(\.link) }

    /// Primary and standby, when both are ports of the bridge and two.
    var pair: (primary: Link, standby: Link)? {
        guard let primary = port(.primary), let standby = port(.standby), primary.index != standby.index else {
            return nil
        }
        return (primary, standby)
    }

    /// Primary and standby with what they let through. Not where the standby is the uplink, whose flags are the network's.
    var compared: (primary: Link, standby: Link, first: BridgePort.Flags, second: BridgePort.Flags)? {
        guard !standbyIsUplink, let (primary, standby) = pair, let first = primary.bridgePort?.flags,
            let second = standby.bridgePort?.flags
        else { return nil }
        return (primary, standby, first, second)
    }

    /// The standby is the uplink too: its settings are the network's, not the guest's.
    var standbyIsUplink: Bool { port(.standby).map { $0.index == port(.remote)?.index } ?? false }

    /// A port of a switch among the ports.
    var switchPort: Link? { allPorts.first(where: \.isEswitchPort) }

    /// Ports of a switch whose driver is known, with those drivers.
    var driven: [(port: Link, driver: Driver)] {
        allPorts.compactMap { port in
            port.isEswitchPort ? observation.drivers?[port.index].map { (port, $0) } : nil
        }
    }

    /// The redirections that go to the port of a side.
    func redirections(to side: Side) -> Refusal {
        // The primary of a guest whose NIC filters for it is also its way to other hosts.
        subject.movesFilters && side == .primary ? [.toPrimary, .toRemote] : .to(side)
    }

    func name(_ index: Int32) -> String { links[index]?.name ?? "ifindex \(index)" }

    // MARK: - Addresses

    /// The entries of the guest's addresses.
    var known: [Entry] { subject.addresses.compactMap { observation.entry($0) } }

    /// Where the guest is by the entries of its addresses; those without one follow the others.
    package var sideByEntries: Side? {
        let places = Set(known.map(\.port))
        guard places.count == 1, let place = places.first else { return nil }
        return Side.allCases.first { port($0)?.index == place }
    }

    /// A port of the bridge is a tunnel, whose control plane advertises the bridge's entries, with their flags, to its fabric. A sticky
    /// one says to everybody that the address never moves (RFC 7432, 7.7), so that nobody believes the host that it moves to.
    package var hasTunnel: Bool {
        bridge.map { links.ports(of: $0.index).contains(where: \.isTunnel) } ?? false
    }

    /// The bridge or the port of it that has a MAC as its own.
    func owner(of mac: MACAddress) -> Link? {
        bridge.flatMap { bridge in (links.ports(of: bridge.index) + [bridge]).first { $0.mac == mac } }
    }

    /// Why primary or standby serves others than this guest.
    package enum Sharing: Hashable {
        case alone
        case unknown
        case shared(String)
    }

    /// Whether the port of a side serves others than this guest.
    package func sharing(_ side: Side) -> Sharing {
        guard let link = port(side) else { return .unknown }
        if let other = observation.neighbours?.ports[link.index] { return .shared("guest \(other) uses it") }
        if side == .primary, subject.movesFilters { return .shared("it is the NIC's") }
        if side == .standby, standbyIsUplink { return .shared("it is the uplink") }
        guard let table = observation.table else { return .unknown }
        let own = Set(subject.addresses.map(\.mac))
        let others = table.entries.values.filter {
            $0.port == link.index && !$0.isLocal && !own.contains($0.address.mac)
        }
        guard let first = others.map(\.address).min() else { return observation.neighbours == nil ? .unknown : .alone }
        return .shared(
            others.count == 1 ? "\(first) lives behind it" : "\(first) and \(others.count - 1) more live behind it")
    }
}

extension BridgePort.Flags {
    func word(_ flag: BridgePort.Flags) -> String { contains(flag) ? "on" : "off" }
}
