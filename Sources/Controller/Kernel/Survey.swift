import FDB
import Glibc
import Netlink
import Policy
import Records
import Switchdev
import System

/// Reads all that the rules ask for.
struct Survey {
    /// Reads for a guest; what cannot be read is unknown (``Observation/unseen``).
    ///
    /// - Parameters:
    ///   - subject: its addresses get their VLANs.
    ///   - journal: has the other guests.
    static func read(
        _ subject: inout Subject, links: Links, beside journal: Result<Journal?, ControllerError>,
        on kernel: inout Kernel
    ) -> Observation {
        // What is prepared is known by its interface index, whatever it is called now.
        func link(_ name: String?, _ identity: PortIdentity?) -> Link? {
            identity.map { links[$0.index] } ?? name.flatMap { links[$0] }
        }
        if let renamed = subject.guest?.renamed({ links[$0]?.name }) { subject.rename(renamed) }
        let found = link(subject.bridge, subject.guest?.bridge)
        var observation = Observation(bridge: found?.kind == "bridge" ? found : nil, ports: BySide())
        for side in Side.allCases where subject.names[side] != nil {
            observation.ports[side] = link(subject.names[side], subject.guest?.port(of: side))
        }
        observation.interfaces = links
        guard let bridge = observation.bridge else { return observation }
        let ports = Side.allCases.compactMap { side in
            observation.ports[side].flatMap { $0.master == bridge.index ? (side, $0) : nil }
        }
        readVLANs(of: ports, bridge, into: &observation, on: &kernel)
        subject.resolveAddresses(observation)
        do throws(ControllerError) {
            observation.neighbours =
                try journal.get().map { journal throws(ControllerError) in
                    try journal.neighbours(
                        of: subject.id, ports: Side.allCases.compactMap { observation.ports[$0]?.index },
                        addresses: subject.addresses, bridge: bridge.index)
                } ?? Neighbours()
        } catch {
            observation.unseen.append(.init(.neighbours, "which guests are prepared: \(error)"))
        }
        readTable(bridge, subject, into: &observation, on: &kernel)
        if let neighbours = subject.guest?.neighbours { try? kernel.readNeighbours(neighbours, into: &observation) }
        readTunnel(subject, into: &observation, on: &kernel)
        observation.drivers = [:]
        for (_, port) in ports where port.isEswitchPort {
            observation.drivers?[port.index] = Driver(interface: port.name)
            if observation.drivers?[port.index] == nil {
                observation.unseen.append(.init(.drivers, "the driver of \(port.name)"))
            }
        }
        readCosts(subject, into: &observation, on: &kernel)
        return observation
    }

    /// What a prepared guest's uplink knows by itself of the guest's MACs, where it is a tunnel.
    private static func readTunnel(
        _ subject: Subject, into observation: inout Observation, on kernel: inout Kernel
    ) {
        guard let guest = subject.guest, let uplink = observation.ports[.remote], uplink.isTunnel else { return }
        do throws(NetlinkError) {
            observation.tunnelled = try UnicastList.held(guest.macs, link: uplink.index, using: &kernel.socket)
        } catch {
            observation.unseen.append(.init(.tunnelled, "the entries of \(uplink.name): \(error)"))
        }
    }

    /// The VLANs of ports, where they mean something: on a bridge that filters them, and for switches on any.
    private static func readVLANs(
        of ports: [(Side, Link)], _ bridge: Link, into observation: inout Observation, on kernel: inout Kernel
    ) {
        var vlans = BySide<PortVLANs>()
        for (side, port) in ports where bridge.bridge?.filtersVLANs == true || ports.contains(where: \.1.isEswitchPort)
        {
            do throws(NetlinkError) {
                vlans[side] = try PortVLANs.read(port: port.index, using: &kernel.socket)
            } catch {
                return observation.unseen.append(.init(.vlans, "the VLANs of \(port.name): \(error)"))
            }
        }
        observation.vlans = vlans
    }

    /// The entries of the guest's addresses, and who else lives behind its primary and standby: what lives elsewhere does not
    /// matter.
    private static func readTable(
        _ bridge: Link, _ subject: Subject, into observation: inout Observation, on kernel: inout Kernel
    ) {
        let ports = subject.ownSides.compactMap { observation.ports[$0] }.filter { $0.master == bridge.index }
        do throws(NetlinkError) {
            var table = try Table.snapshot(
                bridge: bridge.index, ports: Set(ports.map(\.index)).sorted(), using: &kernel.socket)
            try table.confirm(subject.addresses, using: &kernel.socket)
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
    private static func readCosts(
        _ subject: Subject, into observation: inout Observation, on kernel: inout Kernel
    ) {
        do throws(NetlinkError) {
            observation.sightings = try Sightings.read(
                of: Set(subject.addresses.map(\.mac)), on: observation.links.bridges, using: &kernel.socket)
        } catch {
            observation.unseen.append(.init(.sightings, "the guest's MACs on other bridges: \(error)"))
        }
        do throws(NetlinkError) {
            observation.disciplines = try QueueingDiscipline.all(using: &kernel.socket)
        } catch {
            observation.unseen.append(.init(.disciplines, "queueing disciplines: \(error)"))
        }
        let own = subject.ownSides.compactMap { observation.ports[$0] }
        do throws(NetlinkError) {
            observation.features = try OffloadFeatures.read(own.map(\.index))
            if let features = observation.features {
                for port in own where features[port.index] == nil {
                    observation.unseen.append(.init(.features, "the features of \(port.name)"))
                }
            } else {
                observation.unseen.append(
                    .init(.features, "the features of the ports: this kernel has no ethtool netlink"))
            }
        } catch {
            observation.unseen.append(.init(.features, "the features of the ports: \(error)"))
        }
        guard own.contains(where: \.isEswitchPort) else { return }
        observation.isInitialNamespace = Survey.isInitialNamespace
        if observation.isInitialNamespace == nil {
            observation.unseen.append(
                .init(.namespace, "whether this is the initial network namespace: /proc/1/ns/net cannot be read"))
        }
    }

    /// Tries what this kernel's nftables can do for guests. Undoing that takes the kernel 10 to 30 ms, which who prepares does not
    /// wait for.
    ///
    /// - Parameter observation: of a guest's ports.
    static func tryPacketFilters(_ observation: inout Observation, on kernel: inout Kernel) {
        guard let port = observation.ports[.standby] ?? observation.ports[.local] ?? observation.ports[.primary] else {
            return
        }
        var unseen: NetlinkError?
        func refusal(_ body: () throws(NetlinkError) -> Void) -> String? {
            do throws(NetlinkError) {
                try body()
                return nil
            } catch {
                // A socket that cannot be opened: the kernel has no nftables.
                if error.errno == .notPermitted || (error.code != .refused && error.code != .system) { unseen = error }
                return error.description
            }
        }
        let filtering = PacketFiltering(
            guarding: refusal { () throws(NetlinkError) in try SourceGuardTable.check(using: &kernel.socket) },
            asking: refusal { () throws(NetlinkError) in try AskShield.check(port.name, using: &kernel.socket) })
        if let unseen {
            observation.unseen.append(.init(.filtering, "what nftables can do for a guest: \(unseen)"))
        } else {
            observation.filtering = filtering
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
