import ArgumentParser
import Controller
import FDB
import Policy
import Records
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
        for finding in bridge.findings { Output.line("  ! \(finding.message)") }
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
            for finding in port.findings { Output.line("\(indent)! \(finding.message)") }
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
