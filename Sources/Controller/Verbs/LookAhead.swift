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
        let links = try host.kernel.links()
        var subject = Subject(record.guest)
        let observation = host.kernel.survey(
            &subject, links: links, beside: try journal.records().filter { $0.row != record.row })
        return PreflightReport(
            guest: id.text, bridge: subject.bridge, findings: Preflight(subject, observation).judge().findings,
            waiving: waived, unseen: observation.unseen.map(\.words))
    }

    /// Of a guest that is to be prepared.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when not even the interfaces can be read.
    package func run(_ request: PreflightRequest, on host: inout Host) throws(ControllerError) -> PreflightReport {
        let links = try host.kernel.links()
        var unseen: [String] = []
        var subject = Subject(request)
        let names = PortName(links: links, pci: PCIFunctions()) { () throws(NetlinkError) in try Devlink.snapshot() }
        for side in Side.allCases {
            guard let name = subject.names[side] else { continue }
            do throws(ControllerError) {
                subject.names[side] = try names.netdev(name, role: side.rawValue, bridge: request.bridge)
            } catch {
                unseen.append("which port \(name) is: \(error)")
            }
        }
        var records: [GuestRecord]?
        do throws(ControllerError) {
            records = try Journal(reading: host.folder)?.records() ?? []
        } catch {
            unseen.append("which guests are prepared: \(error)")
        }
        let observation = host.kernel.survey(&subject, links: links, beside: records)
        return PreflightReport(
            guest: nil, bridge: request.bridge, findings: Preflight(subject, observation).judge().findings,
            waiving: waived, unseen: unseen + observation.unseen.map(\.words))
    }
}

extension Kernel {
    /// Reads all that the rules ask for; what cannot be read is unknown (``Observation/unseen``).
    ///
    /// - Parameters:
    ///   - subject: its addresses get their VLANs.
    ///   - records: the other guests; nil when they could not be read.
    mutating func survey(_ subject: inout Subject, links: Links, beside records: [GuestRecord]?) -> Observation {
        // A name and an interface index that no longer agree are another interface's.
        func link(_ name: String?, _ identity: PortIdentity?) -> Link? {
            guard let identity else { return name.flatMap { links[$0] } }
            return links[identity.index].flatMap { $0.name == identity.name ? $0 : nil }
        }
        let found = link(subject.bridge, subject.guest?.bridge)
        var observation = Observation(bridge: found?.kind == "bridge" ? found : nil, ports: BySide())
        for side in Side.allCases where subject.names[side] != nil {
            observation.ports[side] = link(subject.names[side], subject.guest?.port(of: side))
        }
        observation.interfaces = links
        observation.neighbours = records.map { Neighbours($0, on: subject.bridge) }
        guard let bridge = observation.bridge else { return observation }
        let ports = Side.allCases.compactMap { side in
            observation.ports[side].flatMap { $0.master == bridge.index ? (side, $0) : nil }
        }
        readVLANs(of: ports, bridge, into: &observation)
        subject.resolveAddresses(observation)
        readTable(bridge, subject, into: &observation)
        observation.drivers = [:]
        for (_, port) in ports where port.isEswitchPort {
            observation.drivers?[port.index] = Driver(interface: port.name)
            if observation.drivers?[port.index] == nil {
                observation.unseen.append(.init(.drivers, "the driver of \(port.name)"))
            }
        }
        readCosts(subject, into: &observation)
        return observation
    }

    /// The VLANs of ports, where they mean something: on a bridge that filters them, and for switches on any.
    private mutating func readVLANs(
        of ports: [(Side, Link)], _ bridge: Link, into observation: inout Observation
    ) {
        var vlans = BySide<PortVLANs>()
        for (side, port) in ports where bridge.bridge?.filtersVLANs == true || ports.contains(where: \.1.isEswitchPort)
        {
            do throws(NetlinkError) {
                vlans[side] = try PortVLANs.read(port: port.index, using: &socket)
            } catch {
                return observation.unseen.append(.init(.vlans, "the VLANs of \(port.name): \(error)"))
            }
        }
        observation.vlans = vlans
    }

    /// The entries of the guest's addresses, and who else lives behind its primary and standby: what lives elsewhere does not
    /// matter.
    private mutating func readTable(_ bridge: Link, _ subject: Subject, into observation: inout Observation) {
        let ports = [Side.primary, .standby].compactMap { observation.ports[$0] }.filter { $0.master == bridge.index }
        do throws(NetlinkError) {
            var table = try Table.snapshot(
                bridge: bridge.index, ports: Set(ports.map(\.index)).sorted(), using: &socket)
            try table.confirm(subject.addresses, using: &socket)
            observation.table = table
            observation.entries = EntrySet(subject.addresses.map { table[$0] })
            if !table.isExact {
                observation.unseen.append(
                    .init(.table, "entries of others, in part: \(bridge.name)'s table never rests"))
            }
        } catch {
            observation.unseen.append(.init([.table, .entries], "the table of \(bridge.name): \(error)"))
        }
    }

    /// The guest's MACs elsewhere, and what costs CPU or a way to copy or to prove.
    private mutating func readCosts(_ subject: Subject, into observation: inout Observation) {
        do throws(NetlinkError) {
            observation.sightings = try Sightings.read(
                of: Set(subject.addresses.map(\.mac)), on: observation.links.bridges, using: &socket)
        } catch {
            observation.unseen.append(.init(.sightings, "the guest's MACs on other bridges: \(error)"))
        }
        do throws(NetlinkError) {
            observation.disciplines = try QueueingDiscipline.all(using: &socket)
        } catch {
            observation.unseen.append(.init(.disciplines, "queueing disciplines: \(error)"))
        }
        let pair = [Side.primary, .standby].compactMap { observation.ports[$0] }
        do throws(NetlinkError) {
            observation.features = try OffloadFeatures.read(pair.map(\.index))
            if let features = observation.features {
                for port in pair where features[port.index] == nil {
                    observation.unseen.append(.init(.features, "the features of \(port.name)"))
                }
            } else {
                observation.unseen.append(
                    .init(.features, "the features of the ports: this kernel has no ethtool netlink"))
            }
        } catch {
            observation.unseen.append(.init(.features, "the features of the ports: \(error)"))
        }
        guard pair.contains(where: \.isEswitchPort) else { return }
        observation.isInitialNamespace = Kernel.isInitialNamespace
        if observation.isInitialNamespace == nil {
            observation.unseen.append(
                .init(.namespace, "whether this is the initial network namespace: /proc/1/ns/net cannot be read"))
        }
    }

    /// The calling thread's network namespace is that of process 1; nil when that one cannot be read.
    private static var isInitialNamespace: Bool? {
        var first = stat()
        var own = stat()
        guard stat("/proc/1/ns/net", &first) == 0, stat("/proc/thread-self/ns/net", &own) == 0 else { return nil }
        return first.st_ino == own.st_ino && first.st_dev == own.st_dev
    }
}
