import CNetlink
import FDB
import Glibc
import Netlink
package import Policy
import Records
import Switchdev

/// Finds what would go wrong with a guest's redirections; changes nothing and needs no privilege.
package struct LookAhead {
    /// Findings that the caller accepts.
    let waived: Set<Finding.Code>

    /// - Parameter waived: findings that the caller accepts.
    package init(waiving waived: Set<Finding.Code> = []) { self.waived = waived }

    /// Of a prepared guest.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known.
    package func run(_ id: GuestID, on host: inout Host) throws(ControllerError) -> PreflightReport {
        let journal = try Journal.reading(host.folder, for: id)
        let record = try journal.guest(id)
        let guest = record.guest
        let links = try host.kernel.links()
        // A name and an interface index that no longer agree are another interface's.
        func link(_ identity: PortIdentity) -> Link? {
            links[identity.index].flatMap { $0.name == identity.name ? $0 : nil }
        }
        var input = PreflightInput(
            bridgeName: guest.bridge.name, bridge: link(guest.bridge), names: [:], ports: [:],
            addresses: guest.addresses, links: links)
        for side in Side.allCases {
            guard let port = guest.port(of: side) else { continue }
            input.names[side] = port.name
            input.ports[side] = link(port)
        }
        input.prepared = guest
        var unseen: [String] = []
        input.setGuests(try journal.records().filter { $0.row != record.row })
        host.kernel.read(&input, unseen: &unseen)
        return PreflightReport(
            guest: id.text, bridge: guest.bridge.name, findings: Preflight.findings(input), waiving: waived,
            unseen: unseen)
    }

    /// Of a guest that is to be prepared.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when not even the interfaces can be read.
    package func run(_ request: PreflightRequest, on host: inout Host) throws(ControllerError) -> PreflightReport {
        let links = try host.kernel.links()
        var unseen: [String] = []
        var input = PreflightInput(
            bridgeName: request.bridge, bridge: links[request.bridge], names: [:], ports: [:],
            addresses: request.addresses, links: links)
        input.saysSide = request.saysSide
        let names = PortName(links: links, pci: PCIFunctions()) { () throws(NetlinkError) in try Devlink.snapshot() }
        for (side, name) in [(Side.primary, request.primary), (.standby, request.standby), (.remote, request.uplink)] {
            guard let name else { continue }
            input.names[side] = name
            do throws(ControllerError) {
                input.names[side] = try names.netdev(name, role: side.rawValue, bridge: request.bridge)
            } catch {
                unseen.append("which port \(name) is: \(error)")
            }
            input.ports[side] = input.names[side].flatMap { links[$0] }
        }
        do throws(ControllerError) {
            input.setGuests(try Journal(reading: host.folder)?.records() ?? [])
        } catch {
            unseen.append("which guests are prepared: \(error)")
        }
        host.kernel.read(&input, unseen: &unseen)
        return PreflightReport(
            guest: nil, bridge: request.bridge, findings: Preflight.findings(input), waiving: waived, unseen: unseen)
    }
}

/// Reading for the rules: what cannot be read is named, and nothing is found about it.
extension Kernel {
    /// Reads the table, the VLANs and the drivers, and what ``readExtras(_:unseen:)`` reads.
    fileprivate mutating func read(_ input: inout PreflightInput, unseen: inout [String]) {
        guard let bridge = input.bridge, bridge.kind == "bridge" else { return }
        let ports = input.ports.filter { $0.value.master == bridge.index }
        do throws(NetlinkError) {
            let own = Set([ports[.primary], ports[.standby]].compactMap { $0?.index }).sorted()
            var table = try Table.snapshot(bridge: bridge.index, ports: own, using: &socket)
            try table.confirm(input.addresses, using: &socket)
            input.table = table
            if !table.isExact { unseen.append("entries of others, in part: \(bridge.name)'s table never rests") }
        } catch {
            unseen.append("the table of \(bridge.name): \(error)")
        }
        let hasSwitch = ports.values.contains(where: \.isEswitchPort)
        for (side, port) in ports where bridge.bridge?.filtersVLANs == true || hasSwitch {
            do throws(NetlinkError) {
                input.vlans[side] = try PortVLANs.read(port: port.index, using: &socket)
            } catch {
                unseen.append("the VLANs of \(port.name): \(error)")
            }
        }
        for port in ports.values where port.isEswitchPort {
            input.drivers[port.index] = Driver(interface: port.name)
            if input.drivers[port.index] == nil { unseen.append("the driver of \(port.name)") }
        }
        input.resolveAddresses()
        readExtras(&input, unseen: &unseen)
    }

    /// Reads what only a preflight asks for.
    mutating func readExtras(_ input: inout PreflightInput, unseen: inout [String]) {
        let macs = Set(input.addresses.map(\.mac))
        do throws(NetlinkError) {
            input.sightings = try Sightings.read(of: macs, on: input.links.bridges, using: &socket)
        } catch {
            unseen.append("the guest's MACs on other bridges: \(error)")
        }
        do throws(NetlinkError) {
            input.disciplines = try QueueingDiscipline.all(using: &socket)
        } catch {
            unseen.append("queueing disciplines: \(error)")
        }
        let pair = [Side.primary, .standby].compactMap { input.ports[$0] }
        do throws(NetlinkError) {
            if let features = try OffloadFeatures.read(pair.map(\.index)) {
                input.features = features
                for port in pair where features[port.index] == nil { unseen.append("the features of \(port.name)") }
            } else {
                unseen.append("the features of the ports: this kernel has no ethtool netlink")
            }
        } catch {
            unseen.append("the features of the ports: \(error)")
        }
        guard pair.contains(where: \.isEswitchPort) else { return }
        input.isInitialNamespace = Kernel.isInitialNamespace
        if input.isInitialNamespace == nil {
            unseen.append("whether this is the initial network namespace: /proc/1/ns/net cannot be read")
        }
    }

    /// The calling thread's network namespace is that of process 1; nil when that one cannot be read.
    private static var isInitialNamespace: Bool? {
        var first = stat()
        var own = stat()
        guard stat("/proc/1/ns/net", &first) == 0, stat("/proc/thread-self/ns/net", &own) == 0 else { return nil }
        return first.st_ino == own.st_ino && first.st_dev == own.st_dev
    }

    // MARK: - Inside of other verbs

    /// Findings for the report of `prepare`, from what it has read.
    mutating func findings(
        _ request: PreparationRequest, bridge: Link, ports: [Side: Link], links: Links, table: Table,
        vlans: [Side: PortVLANs], planner: Planner
    ) -> [Finding] {
        var input = PreflightInput(
            bridgeName: bridge.name, bridge: bridge, names: ports.mapValues(\.name), ports: ports,
            addresses: request.addresses, links: links)
        input.table = table
        input.vlans = vlans
        input.drivers = planner.drivers
        input.otherGuests = planner.otherGuests
        input.saysSide = true
        var unseen: [String] = []
        readExtras(&input, unseen: &unseen)
        return Preflight.findings(input).filter {
            $0.severity != .note && (request.legacy == nil || $0.code != .legacyEswitch)
        }
    }
}
