public import FDB
package import Switchdev

/// A neighbour that follows a guest: on an interface of this host, an IP address of the guest has one of its MACs while the guest
/// is here (docs/neighbours.md).
public struct GuestNeighbour: Hashable, Sendable {
    /// The guest's IP address.
    public let ip: IPAddress
    /// The guest's MAC that has it.
    public let mac: MACAddress
    /// The bridge, or an interface above it. Its name is a label, as a port's is.
    public var interface: PortIdentity

    /// Makes one from its parts.
    package init(ip: IPAddress, mac: MACAddress, interface: PortIdentity) {
        self.ip = ip
        self.mac = mac
        self.interface = interface
    }

    /// What the kernel is to have while the guest is here.
    package var intended: IPNeighbour { .own(ip, mac, interface: interface.index) }

    /// Whether what the kernel has is right while the guest is on a side.
    package func isRight(_ found: IPNeighbour?, at side: Side) -> Bool {
        side == .remote ? found?.isOwn != true : holds(for: found)
    }

    /// Whether what the kernel has is of the same IP address and interface.
    package func isKey(of found: IPNeighbour) -> Bool { ip == found.ip && interface.index == found.interface }

    /// Whether what the kernel has is as intended.
    package func holds(for found: IPNeighbour?) -> Bool {
        found.map { $0.isOwn && $0.state.contains(.permanent) && $0.mac == mac } ?? false
    }
}

extension GuestInterface {
    /// The interfaces on which it has neighbours, each once.
    package var neighbourInterfaces: [PortIdentity] { neighbours?.interfaces ?? [] }
}

extension [GuestNeighbour] {
    /// Their interfaces, each once.
    package var interfaces: [PortIdentity] {
        var interfaces: [PortIdentity] = []
        for neighbour in self where !interfaces.contains(where: { $0.index == neighbour.interface.index }) {
            interfaces.append(neighbour.interface)
        }
        return interfaces
    }
}

extension GuestNeighbour {
    /// The most interfaces between a bridge and the one that has the host's address: VLANs in VLANs, and a macvlan above them.
    private static let mostLayers = 8

    /// Finds out which of a guest's IP addresses are on which interface.
    ///
    /// - Parameters:
    ///   - devices: names of the interfaces.
    ///   - request: its addresses have their VLANs.
    ///   - bridge: the guest's.
    ///   - pvid: the VLAN of what the bridge itself sends without a tag; nil where it filters no VLANs, or has none.
    /// - Throws: ``ControllerError`` of code `precondition` that names the interface or the address.
    package static func resolve(
        _ request: PreparationRequest, on bridge: Link, pvid: VLANID?, links: Links
    ) throws(ControllerError) -> [GuestNeighbour] {
        var neighbours: [GuestNeighbour] = []
        for device in request.neighbours {
            guard let link = links[device] else {
                throw ControllerError(
                    .precondition, "--neighbour \(device): there is no such interface", remedy: "see \"ip link\"")
            }
            let tag = try tag(of: link, above: bridge, links)
            let filters = bridge.bridge?.filtersVLANs == true
            let vlan = filters ? tag ?? pvid : nil
            if filters, vlan == nil {
                throw ControllerError(
                    .precondition, "--neighbour \(device): \(bridge.name) itself is in no VLAN without a tag",
                    remedy: "name the interface of the guest's VLAN, as \(bridge.name).10, or: bridge vlan add dev "
                        + "\(bridge.name) vid VLAN pvid untagged self")
            }
            var found: [GuestNeighbour] = []
            for owned in request.ips {
                let owners = request.addresses.filter { own in
                    owned.address.map { $0.mac == own.mac && ($0.vlan == nil || $0.vlan == own.vlan) } ?? true
                }.filter { !filters || $0.vlan == vlan }
                guard let owner = owners.first else { continue }
                guard owners.allSatisfy({ $0.mac == owner.mac }) else {
                    throw ControllerError(
                        .usage, "the guest has several MACs: which of them has \(owned.ip)?",
                        remedy:
                            "write --ip \(owned.ip)=MAC with one of \(owners.map(\.description).joined(separator: ", "))"
                    )
                }
                found.append(GuestNeighbour(ip: owned.ip, mac: owner.mac, interface: PortIdentity(link)))
            }
            if found.isEmpty {
                throw ControllerError(
                    .precondition,
                    "--neighbour \(device): none of the guest's IP addresses is in its VLAN, \(vlan.map { "\($0)" } ?? "")",
                    remedy: "name the interface of the guest's VLAN, or the address's: --ip IP=MAC/VLAN")
            }
            neighbours += found
        }
        if let lost = request.ips.first(where: { owned in !neighbours.contains { $0.ip == owned.ip } }),
            !request.neighbours.isEmpty
        {
            throw ControllerError(
                .precondition, "--ip \(lost): none of the interfaces of --neighbour is in its VLAN",
                remedy:
                    "name the interface of that VLAN too: --neighbour \(request.neighbours.joined(separator: ",")),DEV")
        }
        return neighbours
    }

    /// The VLAN tag with which frames of an interface reach the bridge below it; nil for none.
    private static func tag(
        of link: Link, above bridge: Link, _ links: Links
    ) throws(ControllerError) -> VLANID? {
        var (at, tag) = (link, VLANID?.none)
        for _ in 0..<mostLayers {
            if at.index == bridge.index { return tag }
            guard at.kind == "vlan" || at.kind == "macvlan", let lower = at.lower.flatMap({ links[$0] }) else { break }
            // The outermost tag is the one that the bridge sees.
            if at.kind == "vlan" { tag = at.vlan }
            at = lower
        }
        throw ControllerError(
            .precondition, "--neighbour \(link.name) is not above bridge \(bridge.name)",
            remedy: "name \(bridge.name) itself, or a VLAN or macvlan interface above it that has the host's IP address"
        )
    }
}
