import FDB
import Switchdev

/// What drivers with a bridge offload do and refuse, from their source (docs/preflight.md).
extension Preflight {
    package mutating func checkDrivers() {
        checkLegacy()
        guard let bridge = input.bridge, let switched = ports.first(where: \.link.isEswitchPort)?.link else { return }
        if bridge.bridge?.ageingTime == 0 {
            add(
                .ageingZero, .blocks, bridge.name,
                "ageing_time 0: the kernel ignores the move that tells hardware (NTF_USE), so that it goes on as before",
                evidence: ["\(bridge.name) ageing_time": "0", "port of a switch": switched.name],
                remedy: "ip link set \(bridge.name) type bridge ageing_time 30000")
        }
        checkStandby()
        for (side, port) in ports where port.isEswitchPort {
            guard let driver = input.drivers[port.index] else { continue }
            if driver.name.hasPrefix("mlx5") || driver.name == "model_eswitch" { checkMlx5(port, driver, side) }
            if driver.name == "ice" { checkIce(port, driver) }
            if driver.name.hasPrefix("sparx5") {
                add(
                    .noOffloadReport, .costs, port.name,
                    "\(driver.name) never reports that an entry reached hardware: no redirection can be proven",
                    evidence: ["\(port.name) driver": driver.name, "basis": Finding.fromSource],
                    remedy: "do not ask for --require-proof here")
            }
            if driver.name == "rocker" {
                add(
                    .floodRuleShared, .note, port.name,
                    "when one port of the switch goes down, \(driver.name) removes the rule by which all ports of the VLAN "
                        + "get broadcasts",
                    evidence: [
                        "\(port.name) driver": driver.name, "basis": "measured under QEMU (kernel.md section 6)",
                    ],
                    remedy: "ip link set \(port.name) up, and leave it up during a redirection")
            }
        }
    }

    /// A software standby beside a port of a switch: who forwards while the guest is there.
    private mutating func checkStandby() {
        guard let (primary, standby) = pair, primary.isEswitchPort, !standby.isEswitchPort else { return }
        let driver = input.drivers[primary.index] ?? Driver(name: "unknown")
        let words = driver.standbyCost(port: primary.name, standby: standby.name)
        switch driver.miss {
        case .floods:
            add(
                .floodOnMiss, .leaks, standby.name, words,
                evidence: [
                    "\(primary.name) driver": driver.name, "miss": driver.miss.rawValue, "basis": basis(driver),
                ],
                remedy: "use a port of the same switch as standby, or accept it: prepare --leak allow")
        case .slowPath:
            add(
                .slowPath, .costs, standby.name, words,
                evidence: [
                    "\(primary.name) driver": driver.name, "miss": driver.miss.rawValue, "basis": basis(driver),
                ],
                remedy: "keep the time on standby short")
        case .unknown:
            add(
                .unknownMiss, .note, standby.name, words, evidence: ["\(primary.name) driver": driver.name],
                remedy: "send a frame to the guest while it is on standby, and watch the other ports: tcpdump -eni PORT"
            )
        }
    }

    private func basis(_ driver: Driver) -> String {
        driver.name == "rocker" || driver.name == "model_eswitch" ? "measured in the lab VM" : Finding.fromSource
    }

    /// `mlx5_esw_bridge_port_obj_attr_set` and the notifiers of en/rep/bridge.c.
    private mutating func checkMlx5(_ port: Link, _ driver: Driver, _ side: Side) {
        let basis = basis(driver)
        if input.isInitialNamespace == false {
            add(
                .namespaceNotInitial, .costs, port.name,
                "\(driver.name) hears only of bridges of the initial network namespace: nothing here is offloaded, every "
                    + "frame takes the slow path, and no proof can be had",
                evidence: ["\(port.name) driver": driver.name, "initial network namespace": "no", "basis": basis],
                remedy: "keep \(input.bridgeName) and \(port.name) in the initial network namespace")
        }
        guard side == .primary, let standby = self.port(.standby), standby.index != port.index,
            let first = port.bridgePort?.flags, let second = standby.bridgePort?.flags
        else { return }
        let refused: [(BridgePort.Flags, String)] = [
            (.broadcastFlood, "bcast_flood"), (.isolated, "isolated"), (.locked, "locked"), (.hairpin, "hairpin"),
        ]
        let differing = refused.filter { first.contains($0.0) != second.contains($0.0) }.map(\.1)
        if !differing.isEmpty {
            add(
                .flagsRefused, .note, port.name,
                "\(driver.name) refuses to set \(differing.joined(separator: ", ")): only \(standby.name) can be changed so "
                    + "that the two agree",
                evidence: ["\(port.name) driver": driver.name, "basis": basis],
                remedy: "bridge link set dev \(standby.name) \(differing[0]) ...")
        }
    }

    /// `ice_eswitch_br_is_dev_valid` and its neighbours in ice_eswitch_br.c.
    private mutating func checkIce(_ port: Link, _ driver: Driver) {
        let flags = port.bridgePort?.flags ?? []
        var idle: [String] = []
        if flags.contains(.isolated) { idle.append("isolated on") }
        if flags.contains(.locked) { idle.append("locked on") }
        if !flags.contains(.flood) { idle.append("flood off") }
        if !flags.contains(.learning) { idle.append("learning off") }
        if !idle.isEmpty {
            add(
                .flagsWithoutEffect, .note, port.name,
                "\(driver.name) accepts \(idle.joined(separator: ", ")), but its hardware goes on without",
                evidence: ["\(port.name) driver": driver.name, "basis": Finding.fromSource],
                remedy: "rely on none of them for what hardware forwards")
        }
        if let other = input.links.all.first(where: {
            $0.switchID == port.switchID && $0.portKind == "bridge" && $0.master != port.master
        }) {
            let bridge = other.master.map(name) ?? ""
            add(
                .severalBridges, .costs, port.name,
                "\(driver.name) offloads one bridge for each eswitch, and \(other.name) of the same eswitch is in \(bridge): "
                    + "one of the two is not offloaded",
                evidence: [
                    "\(other.name) master": bridge, "\(port.name) driver": driver.name, "basis": Finding.fromSource,
                ],
                remedy: "ip link set \(other.name) nomaster")
        }
    }

    /// A physical function that is a bridge port and has VFs, but no switch id: entries steer nothing in its NIC.
    private mutating func checkLegacy() {
        guard let primary = port(.primary), !primary.isEswitchPort, let vf = primary.virtualFunctions.first else {
            return
        }
        let count = primary.virtualFunctions.count
        add(
            .legacyEswitch, .loses, primary.name,
            "it is a physical function in legacy mode with \(count == 1 ? "a VF" : "\(count) VFs"): these are reached by the "
                + "MAC filters of the NIC, not by entries, so that frames go to the VF whatever the bridge says",
            evidence: [
                "\(primary.name) VFs": "\(count)", "VF \(vf.index) MAC": vf.mac.description,
                "\(primary.name) phys_switch_id": "none", "basis": Finding.fromSource,
            ],
            remedy:
                "devlink dev eswitch set pci/\(primary.parentDevice ?? "ADDRESS") mode switchdev, and name the VF's "
                + "representor as primary")
    }
}
