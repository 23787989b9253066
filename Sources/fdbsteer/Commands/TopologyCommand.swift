import ArgumentParser
import Controller
import FDB
import Policy
import Switchdev

/// `fdbsteer topology`.
struct TopologyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topology", abstract: "Show bridges, ports, entries, guests, and what would block a redirection.")

    @Argument(help: "One bridge.", completion: Completions.bridges)
    var bridge: String?
    @Flag(help: "Show every entry, not only those of guests and the first few others.")
    var all = false
    @OptionGroup var common: CommonOptions

    func run() {
        common.call.run(reading: true) { host throws(ControllerError) in
            let topology = try Topology.read(bridge: bridge, on: &host)
            if common.json {
                Output.json(TopologyView(topology))
            } else if topology.bridges.isEmpty {
                Output.line("no bridge in this network namespace")
            } else {
                for bridge in topology.bridges { show(bridge) }
            }
            if !common.json {
                for eswitch in topology.eswitches { show(eswitch) }
                for nic in topology.nics { show(nic) }
            }
            return 0
        }
    }

    private static let entriesShown = 4

    private func show(_ eswitch: Topology.EswitchView) {
        Output.line(
            "eswitch \(eswitch.handle)  \(eswitch.mode.map { "mode \($0)" } ?? "mode not told")"
                + (eswitch.switchID.map { "  phys_switch_id \($0)" } ?? ""))
        for (index, (port, netdev, master)) in eswitch.ports.enumerated() {
            let place = master.map { "in \($0)" } ?? "in no bridge"
            Output.line(
                (index == eswitch.ports.count - 1 ? "└─ " : "├─ ")
                    + "\(netdev.map { "\($0)  \(place)" } ?? "no netdev here")  \(port.functionWords)")
        }
    }

    private func show(_ bridge: Topology.BridgeView) {
        let settings = bridge.settings
        Output.line(
            "\(bridge.link.title)  ifindex \(bridge.link.index)  \(bridge.link.isUp ? "up" : "DOWN")  "
                + "vlan_filtering \(settings.filtersVLANs ? "on, default_pvid \(settings.defaultPVID)" : "off")  "
                + "ageing \(settings.ageingTime / 100) s  stp \(settings.spanningTree == 0 ? "off" : "on")")
        for finding in bridge.findings { Output.line("  ! \(finding)") }
        for (index, port) in bridge.ports.enumerated() {
            let isLast = index == bridge.ports.count - 1
            Output.line((isLast ? "└─ " : "├─ ") + port.headline)
            let indent = isLast ? "     " : "│    "
            let shown = port.entries.enumerated().filter {
                all || port.pinned[$0.element.address] != nil || $0.offset < TopologyCommand.entriesShown
            }
            for (_, entry) in shown {
                let owner = port.pinned[entry.address].map { "  pinned for \($0)" } ?? ""
                Output.line("\(indent)\(entry.address)  \(entry.words.joined(separator: " "))\(owner)")
            }
            if shown.count < port.entries.count {
                Output.line("\(indent)and \(port.entries.count - shown.count) more entries (--all shows them)")
            }
            for finding in port.findings { Output.line("\(indent)! \(finding)") }
        }
        if bridge.ports.isEmpty { Output.line("   (no ports)") }
    }
}

extension Link {
    /// Its name, and its alternative names after it.
    fileprivate var title: String { ([name] + alternativeNames.map { "altname \($0)" }).joined(separator: "  ") }
}

extension Topology.PortView {
    /// One line for people.
    var headline: String {
        let flags = link.bridgePort?.flags ?? []
        var words = ["\(link.title)  ifindex \(link.index)", link.kind ?? "hardware"]
        words.append(link.switchID.map { "eswitch \($0)" } ?? "software port")
        if let name = link.portName { words.append(name) }
        if let devlink { words.append(devlink.functionWords + (functionAddress.map { " pci/\($0)" } ?? "")) }
        if let driver { words.append("\(driver.name), miss: \(driver.miss.rawValue)") }
        words.append(link.isUp ? (link.bridgePort?.state.description ?? "") : "DOWN")
        if link.isUp, !link.hasCarrier { words.append("NO CARRIER") }
        words.append("learning \(flags.contains(.learning) ? "on" : "off")")
        words.append("flood \(flags.contains(.flood) ? "on" : "off")")
        for (flag, word) in TopologyView.rareFlags where flags.contains(flag) { words.append(word) }
        for role in roles {
            words.append("[\(role.side.rawValue == "remote" ? "uplink" : role.side.rawValue) of \(role.guest)]")
        }
        return words.joined(separator: "  ")
    }
}

/// The topology in JSON.
struct TopologyView: Encodable {
    /// Flags that are named only when they are on.
    static let rareFlags: [(BridgePort.Flags, String)] = [
        (.hairpin, "hairpin"), (.isolated, "isolated"), (.locked, "locked"),
        (.neighbourSuppression, "neigh_suppress"), (.bpduGuard, "guard"),
    ]

    struct BridgeObject: Encodable {
        let name: String
        let alternativeNames: [String]
        let ifindex: Int32
        let up: Bool
        let vlanFiltering: Bool
        let defaultPvid: UInt16
        let ageingTimeCentiseconds: UInt32
        let ports: [Port]
        let findings: [String]
    }

    struct Port: Encodable {
        let name: String
        let alternativeNames: [String]
        let ifindex: Int32
        let kind: String?
        let physSwitchId: String?
        let physPortName: String?
        let devlinkPort: DevlinkObject?
        let functionAddress: String?
        let driver: String?
        let hardwareMiss: String?
        let up: Bool
        let carrier: Bool
        let state: String?
        let learning: Bool
        let flood: Bool
        let flags: [String]
        let mtu: UInt32
        let virtualFunctions: [Function]
        let roles: [Role]
        let entries: [EntryObject]
        let findings: [String]
    }

    struct Function: Encodable {
        let vf: UInt32
        let mac: String
    }

    struct Role: Encodable {
        let guest: String
        let side: Side
    }

    struct EntryObject: Encodable {
        let address: String
        let words: [String]
        let guest: String?
    }

    struct DevlinkObject: Encodable {
        let device: String
        let index: UInt32
        let flavour: String
        let controller: UInt32?
        let pf: UInt16?
        let vf: UInt16?
        let sf: UInt32?
        let external: Bool
        let netdev: String?
        let master: String?
    }

    struct EswitchObject: Encodable {
        let device: String
        let mode: String?
        let physSwitchId: String?
        let ports: [DevlinkObject]
    }

    let bridges: [BridgeObject]
    let eswitches: [EswitchObject]
    let nics: [NICObject]

    init(_ topology: Topology) {
        nics = topology.nics.map(NICObject.init)
        eswitches = topology.eswitches.map { eswitch in
            EswitchObject(
                device: eswitch.handle.description, mode: eswitch.mode?.description,
                physSwitchId: eswitch.switchID?.description,
                ports: eswitch.ports.map { DevlinkObject($0.port, netdev: $0.netdev, master: $0.master) })
        }
        bridges = topology.bridges.map { bridge in
            BridgeObject(
                name: bridge.link.name, alternativeNames: bridge.link.alternativeNames, ifindex: bridge.link.index,
                up: bridge.link.isUp,
                vlanFiltering: bridge.settings.filtersVLANs, defaultPvid: bridge.settings.defaultPVID,
                ageingTimeCentiseconds: bridge.settings.ageingTime, ports: bridge.ports.map(Port.init),
                findings: bridge.findings)
        }
    }
}

extension DevlinkPort {
    /// The function in words: `pcivf pf 0 vf 3`.
    var functionWords: String {
        var words = ["\(flavour)"]
        if isExternal, let controller { words.append("controller \(controller)") }
        if let number, flavour == .physical { words.append("port \(number)") }
        if let pf { words.append("pf \(pf)") }
        if let vf { words.append("vf \(vf)") }
        if let sf { words.append("sf \(sf)") }
        if isExternal { words.append("of another host") }
        return words.joined(separator: " ")
    }
}

extension TopologyView.DevlinkObject {
    init(_ port: DevlinkPort, netdev: String?, master: String?) {
        self.init(
            device: port.handle.description, index: port.index, flavour: port.flavour.description,
            controller: port.controller, pf: port.pf, vf: port.vf, sf: port.sf, external: port.isExternal,
            netdev: netdev, master: master)
    }
}

extension TopologyView.Port {
    init(_ port: Topology.PortView) {
        let link = port.link
        let on = link.bridgePort?.flags ?? []
        self.init(
            name: link.name, alternativeNames: link.alternativeNames, ifindex: link.index, kind: link.kind,
            physSwitchId: link.switchID?.description,
            physPortName: link.portName,
            devlinkPort: port.devlink.map { .init($0, netdev: link.name, master: nil) },
            functionAddress: port.functionAddress, driver: port.driver?.name, hardwareMiss: port.driver?.miss.rawValue,
            up: link.isUp, carrier: link.hasCarrier,
            state: link.bridgePort?.state.description, learning: on.contains(.learning), flood: on.contains(.flood),
            flags: TopologyView.rareFlags.filter { on.contains($0.0) }.map(\.1), mtu: link.mtu,
            virtualFunctions: link.virtualFunctions.map { .init(vf: $0.index, mac: $0.mac.description) },
            roles: port.roles.map { .init(guest: $0.guest, side: $0.side) },
            entries: port.entries.map {
                .init(address: $0.address.description, words: $0.words, guest: port.pinned[$0.address])
            },
            findings: port.findings)
    }
}
