package import FDB
import Netlink
package import Policy
package import Records
package import Switchdev

/// The bridges of a network namespace with their ports, entries and guests: what `topology` shows.
package struct Topology: Sendable {
    /// What is to be said of a bridge or a port.
    package struct Remark: Hashable, Sendable, Encodable {
        /// The stable word: the code of a ``Finding``, or `isolated`, or `bracket-open`.
        package let code: String
        /// What is so.
        package let message: String
    }

    /// A bridge with its ports.
    package struct BridgeView: Sendable {
        /// The bridge.
        package let link: Link
        /// Its settings.
        package let settings: Bridge
        /// Its ports, in the order of their interface indexes.
        package let ports: [PortView]
        /// Why no redirection on this bridge can work, or what is dangerous about it.
        package let findings: [Remark]
    }

    /// A port with what lives behind it.
    package struct PortView: Sendable {
        /// The port.
        package let link: Link
        /// What devlink knows of it.
        package let devlink: DevlinkPort?
        /// The PCI address of the VF that it represents, on this host.
        package let functionAddress: String?
        /// The driver, for ports of a switch.
        package let driver: Driver?
        /// What it is to prepared guests: guest and side.
        package let roles: [(guest: String, side: Side)]
        /// Unicast entries but the local ones, sorted.
        package let entries: [Entry]
        /// The entries that are pinned, with their guests.
        package let pinned: [Address: String]
        /// What would block a redirection to this port.
        package let findings: [Remark]
    }

    /// An eswitch, as devlink names it.
    package struct EswitchView: Sendable {
        /// Its device.
        package let handle: DevlinkHandle
        /// Legacy or switchdev; nil where the kernel does not tell.
        package let mode: EswitchMode?
        /// The switch id that its ports report.
        package let switchID: SwitchID?
        /// Its ports, with their netdevs in this namespace and the bridges or other masters that these belong to.
        package let ports: [(port: DevlinkPort, netdev: String?, master: String?)]
    }

    /// A NIC with VFs.
    package struct NICView: Sendable {
        /// The netdev of the physical function.
        package let link: Link
        /// What its behaviour depends on.
        package let nic: NICIdentity
        /// What the probe of such a NIC found (`probe mac-filter`); nil when none was probed.
        package let verdict: StoredVerdict?
    }

    /// By name.
    package let bridges: [BridgeView]
    /// By device.
    package let eswitches: [EswitchView]
    /// By name; empty when one bridge was asked for.
    package let nics: [NICView]
}

extension Topology {
    /// Reads the bridges, or one of them; changes nothing and needs no privilege.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a bridge that does not exist.
    package static func read(bridge name: String?, on host: inout Host) throws(ControllerError) -> Topology {
        let links = try host.kernel.links()
        let bridges = links.bridges.filter { bridge in name.map { bridge.isCalled($0) } ?? true }
        if let name, bridges.isEmpty {
            throw ControllerError(
                .precondition, "there is no bridge \(name)",
                remedy: links.bridges.isEmpty
                    ? "this network namespace has no bridge"
                    : "the bridges here are \(links.bridges.map(\.name).joined(separator: ", "))")
        }
        let records = try Journal(reading: host.folder)?.records() ?? []
        let devlink = try host.kernel.devlink()
        var views: [Topology.BridgeView] = []
        for bridge in bridges {
            guard let settings = bridge.bridge else { continue }
            let table = try host.kernel.table(of: bridge)
            let open = records.filter { $0.phase == .bracketed }.map {
                $0.guest.renamed { links[$0]?.name } ?? $0.guest
            }
            let guests = records.map { record in
                var guest = record.guest.renamed { links[$0]?.name } ?? record.guest
                guest.side = record.entrySide
                return guest
            }.filter { $0.bridge.index == bridge.index }
            let byPort = Dictionary(grouping: table.entries.values.filter { !$0.isLocal }, by: \.port)
            let remarks = Topology.remarks(bridge, links: links, table: table, guests: guests, open: open)
            let ports = links.ports(of: bridge.index).map { port in
                Topology.PortView(
                    port, devlink: devlink[interface: port.index],
                    entries: (byPort[port.index] ?? []).sorted { $0.address < $1.address }, guests: guests,
                    remarks: remarks)
            }
            views.append(
                Topology.BridgeView(
                    link: bridge, settings: settings, ports: ports, findings: remarks.all[bridge.name] ?? []))
        }
        return Topology(
            bridges: views, eswitches: name == nil ? Topology.eswitches(devlink, links) : [],
            nics: name == nil ? nics(links, devlink, host.folder) : [])
    }

    /// The NICs with VFs, and what is known of their filters.
    private static func nics(_ links: Links, _ devlink: Devlink, _ folder: StateFolder) -> [Topology.NICView] {
        let functions = links.all.filter { !$0.virtualFunctions.isEmpty }.sorted { $0.name < $1.name }
        guard !functions.isEmpty else { return [] }
        // What cannot be read without privilege is no reason to show nothing.
        let verdicts = (try? StoredVerdict.all(in: folder)) ?? []
        return functions.compactMap { link in
            guard let device = link.parentDevice.flatMap({ PCIDevice($0) }) else { return nil }
            let nic = NICIdentity(interface: link.name, device: device, devlink: devlink)
            return Topology.NICView(link: link, nic: nic, verdict: verdicts.first { $0.nic == nic })
        }
    }
}

extension Topology {
    fileprivate static func eswitches(_ devlink: Devlink, _ links: Links) -> [EswitchView] {
        Dictionary(grouping: devlink.ports, by: \.handle).map { handle, ports in
            let netdevs = ports.map { port in port.interface.flatMap { links[$0] } }
            return EswitchView(
                handle: handle, mode: devlink.modes[handle], switchID: netdevs.compactMap { $0?.switchID }.first,
                ports: zip(ports, netdevs).map { port, netdev in
                    (port, netdev?.name, netdev?.master.flatMap { links[$0]?.name })
                })
        }.sorted { $0.handle.description < $1.handle.description }
    }

    /// What is to be said of a bridge and its ports, by their names, and the drivers of those that are a switch's.
    fileprivate struct Remarks {
        var all: [String: [Remark]] = [:]
        var drivers: [Int32: Driver] = [:]
    }

    /// What the rules find on a bridge whoever its guests are, and what its guests have to do with each port.
    fileprivate static func remarks(
        _ bridge: Link, links: Links, table: Table, guests: [GuestInterface], open: [GuestInterface]
    ) -> Remarks {
        var remarks = Remarks()
        var observation = Observation(bridge: bridge, ports: BySide(), entries: table.entries)
        observation.interfaces = links
        observation.table = table
        let ports = links.ports(of: bridge.index)
        for port in ports where port.isEswitchPort { remarks.drivers[port.index] = Driver(interface: port.name) }
        observation.drivers = remarks.drivers
        func add(_ code: String, _ message: String, to name: String) {
            let remark = Remark(code: code, message: message)
            if remarks.all[name]?.contains(remark) != true { remarks.all[name, default: []].append(remark) }
        }
        var subject = Subject(bridge: bridge.name)
        let pinned = Set(guests.flatMap(\.addresses))
        subject.addresses = table.entries.values.filter { $0.isSticky && !pinned.contains($0.address) }.map(\.address)
        var survey = observation
        survey.neighbours = Neighbours()
        for guest in guests { for address in guest.addresses { survey.neighbours?.owners[address] = guest.id.text } }
        for finding in Preflight(subject, survey).judge().findings {
            let port = subject.addresses.first { $0.description == finding.subject }.flatMap { table[$0]?.port }
            if let name = port.flatMap({ links[$0]?.name }) {
                add(finding.code.rawValue, "\(finding.subject): \(finding.message)", to: name)
            } else {
                add(finding.code.rawValue, finding.message, to: finding.subject)
            }
        }
        for guest in guests {
            for side in Side.allCases { observation.ports[side] = guest.port(of: side).flatMap { links[$0.index] } }
            let rule = guest.sharesPorts ? CostRules.sharedPort : PortRules.learningOn
            for finding in Preflight(Subject(guest), observation).judge(by: [rule]).findings {
                add(finding.code.rawValue, finding.message, to: finding.subject)
            }
        }
        for port in ports where port.bridgePort?.flags.contains(.isolated) == true {
            add("isolated", "isolated: cannot reach other isolated ports", to: port.name)
        }
        for guest in open {
            add(
                "bracket-open", "a bracket is open: frames for \(guest.id) are copied to \(guest.firstPort.name)",
                to: guest.standby.name)
        }
        return remarks
    }
}

extension Topology.PortView {
    fileprivate init(
        _ link: Link, devlink: DevlinkPort?, entries: [Entry], guests: [GuestInterface], remarks: Topology.Remarks
    ) {
        var roles: [(guest: String, side: Side)] = []
        var pinned: [Address: String] = [:]
        for guest in guests {
            for (side, port) in guest.ports where port.index == link.index { roles.append((guest.id.text, side)) }
            for address in guest.addresses where guest.port(of: guest.side)?.index == link.index {
                pinned[address] = guest.id.text
            }
        }
        let vf = devlink.flatMap { $0.isExternal ? nil : $0.vf }
        self.init(
            link: link, devlink: devlink,
            functionAddress: vf.flatMap { PCIFunctions().address(ofVF: $0, of: devlink?.handle.device ?? "") },
            driver: remarks.drivers[link.index], roles: roles, entries: entries, pinned: pinned,
            findings: remarks.all[link.name] ?? [])
    }
}
