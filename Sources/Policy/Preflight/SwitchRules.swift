import FDB
import Switchdev

/// What drivers with a bridge offload do and refuse, from their source (docs/preflight.md).
package enum SwitchRules {
    static let all = [
        ageingZero, floodOnMiss, slowPath, unknownMiss, namespaceNotInitial, flagsRefused, flagsWithoutEffect,
        severalBridges, noOffloadReport, floodRuleShared, legacyEswitch,
    ]

    /// For drivers whose hardware is not here.
    private static let fromSource = "from the driver's source, not reproduced here"

    private static func basis(_ driver: Driver) -> String {
        driver.name == "rocker" || driver.name == "model_eswitch" ? "measured in the lab VM" : fromSource
    }

    /// NTF_USE, the move that drivers hear of, is silently ignored while nothing ages (`br_fdb_update`).
    static let ageingZero = Rule(
        "ageing-zero", .blocks, refuses: [.prepare, .anySide], shown: "VM, model_eswitch: ageing_time 0",
        harm: "the move is acknowledged, and nothing moves"
    ) { it, answer in
        guard let bridge = it.bridge, bridge.bridge?.ageingTime == 0, let switched = it.switchPort else { return }
        answer(
            bridge.name,
            "ageing_time 0: the kernel ignores the move that tells hardware (NTF_USE), so that it goes on as before",
            evidence: ["\(bridge.name) ageing_time": "0", "port of a switch": switched.name],
            remedy: "ip link set \(bridge.name) type bridge ageing_time 30000")
    }

    // MARK: - A software standby beside a port of a switch

    private struct SoftwareStandby {
        let primary: Link
        let standby: Link
        let driver: Driver
        var words: String { driver.standbyCost(port: primary.name, standby: standby.name) }
    }

    /// Who forwards while the guest is on a software standby; of a whole bridge its first port that floods.
    private static func softwareStandby(_ it: Preflight) -> SoftwareStandby? {
        if it.isSurvey {
            guard let (port, driver) = it.driven.first(where: { $0.driver.miss == .floods }),
                let software = it.allPorts.first(where: { !$0.isEswitchPort })
            else { return nil }
            return SoftwareStandby(primary: port, standby: software, driver: driver)
        }
        guard let (primary, standby) = it.pair, primary.isEswitchPort, !standby.isEswitchPort else { return nil }
        let driver = it.observation.drivers?[primary.index] ?? Driver(name: "unknown")
        return SoftwareStandby(primary: primary, standby: standby, driver: driver)
    }

    static let floodOnMiss = Rule(
        "flood-on-miss", .leaks, refuses: .prepare, needs: .drivers,
        shown: "VM, rocker: a veth as standby; other drivers: source",
        harm: "the guest's frames also reach a third port"
    ) { it, answer in
        guard let pair = softwareStandby(it), pair.driver.miss == .floods else { return }
        answer(
            pair.standby.name, pair.words,
            evidence: [
                "\(pair.primary.name) driver": pair.driver.name, "miss": pair.driver.miss.rawValue,
                "basis": basis(pair.driver),
            ],
            remedy: "use a port of the same switch as standby, or accept it: prepare --leak allow, or "
                + "FDBSTEER_LEAK=allow",
            refuses: it.subject.allowsLeak ? [] : nil)
    }

    static let slowPath = Rule(
        "slow-path", .costs, needs: .drivers, shown: "VM, model_eswitch; mlx5, ice: source", harm: "nothing"
    ) { it, answer in
        guard let pair = softwareStandby(it), pair.driver.miss == .slowPath else { return }
        answer(
            pair.standby.name, pair.words,
            evidence: [
                "\(pair.primary.name) driver": pair.driver.name, "miss": pair.driver.miss.rawValue,
                "basis": basis(pair.driver),
            ],
            remedy: "keep the time on standby short")
    }

    static let unknownMiss = Rule(
        "unknown-miss", .note, needs: .drivers, shown: "unit test: a driver that is not in the table", harm: "-"
    ) { it, answer in
        guard let pair = softwareStandby(it), pair.driver.miss == .unknown else { return }
        answer(
            pair.standby.name, pair.words, evidence: ["\(pair.primary.name) driver": pair.driver.name],
            remedy: "send a frame to the guest while it is on standby, and watch the other ports: tcpdump -eni PORT")
    }

    // MARK: - Drivers

    /// mlx5, and the driver of the lab that behaves like it.
    private static func mlx5(_ it: Preflight) -> [(port: Link, driver: Driver)] {
        it.driven.filter { $0.driver.name.hasPrefix("mlx5") || $0.driver.name == "model_eswitch" }
    }

    /// The notifiers of en/rep/bridge.c.
    static let namespaceNotInitial = Rule(
        "namespace-not-initial", .costs, needs: [.drivers, .namespace], shown: "source (mlx5)", harm: "-"
    ) { it, answer in
        guard it.observation.isInitialNamespace == false else { return }
        for (port, driver) in mlx5(it) {
            answer(
                port.name,
                "\(driver.name) hears only of bridges of the initial network namespace: nothing here is offloaded, every "
                    + "frame takes the slow path, and no proof can be had",
                evidence: [
                    "\(port.name) driver": driver.name, "initial network namespace": "no", "basis": basis(driver),
                ],
                remedy: "keep \(it.subject.bridge) and \(port.name) in the initial network namespace")
        }
    }

    /// `mlx5_esw_bridge_port_obj_attr_set`.
    static let flagsRefused = Rule(
        "flags-refused", .note, needs: .drivers, shown: "VM, model_eswitch: hairpin on on the standby; mlx5: source",
        harm: "the representor refuses `hairpin on`"
    ) { it, answer in
        guard let (primary, standby) = it.pair, let first = primary.bridgePort?.flags,
            let second = standby.bridgePort?.flags,
            let (_, driver) = mlx5(it).first(where: { $0.port.index == primary.index })
        else { return }
        let refused: [(BridgePort.Flags, String)] = [
            (.broadcastFlood, "bcast_flood"), (.isolated, "isolated"), (.locked, "locked"), (.hairpin, "hairpin"),
        ]
        let differing = refused.filter { first.contains($0.0) != second.contains($0.0) }.map(\.1)
        guard !differing.isEmpty else { return }
        answer(
            primary.name,
            "\(driver.name) refuses to set \(differing.joined(separator: ", ")): only \(standby.name) can be changed so "
                + "that the two agree",
            evidence: ["\(primary.name) driver": driver.name, "basis": basis(driver)],
            remedy: "bridge link set dev \(standby.name) \(differing[0]) ...")
    }

    /// `ice_eswitch_br_is_dev_valid` and its neighbours in ice_eswitch_br.c.
    static let flagsWithoutEffect = Rule(
        "flags-without-effect", .note, needs: .drivers, shown: "source (ice)", harm: "-"
    ) { it, answer in
        for (port, driver) in it.driven where driver.name == "ice" {
            let flags = port.bridgePort?.flags ?? []
            var idle: [String] = []
            if flags.contains(.isolated) { idle.append("isolated on") }
            if flags.contains(.locked) { idle.append("locked on") }
            if !flags.contains(.flood) { idle.append("flood off") }
            if !flags.contains(.learning) { idle.append("learning off") }
            guard !idle.isEmpty else { continue }
            answer(
                port.name, "\(driver.name) accepts \(idle.joined(separator: ", ")), but its hardware goes on without",
                evidence: ["\(port.name) driver": driver.name, "basis": fromSource],
                remedy: "rely on none of them for what hardware forwards")
        }
    }

    static let severalBridges = Rule(
        "several-bridges", .costs, needs: [.drivers, .interfaces], shown: "source (ice)", harm: "-"
    ) { it, answer in
        for (port, driver) in it.driven where driver.name == "ice" {
            guard
                let other = it.links.all.first(where: {
                    $0.switchID == port.switchID && $0.portKind == "bridge" && $0.master != port.master
                })
            else { continue }
            let bridge = other.master.map(it.name) ?? ""
            answer(
                port.name,
                "\(driver.name) offloads one bridge for each eswitch, and \(other.name) of the same eswitch is in "
                    + "\(bridge): one of the two is not offloaded",
                evidence: [
                    "\(other.name) master": bridge, "\(port.name) driver": driver.name, "basis": fromSource,
                ],
                remedy: "ip link set \(other.name) nomaster")
        }
    }

    static let noOffloadReport = Rule(
        "no-offload-report", .costs, needs: .drivers, shown: "source (sparx5)", harm: "-"
    ) { it, answer in
        for (port, driver) in it.driven where driver.name.hasPrefix("sparx5") {
            answer(
                port.name,
                "\(driver.name) never reports that an entry reached hardware: no redirection can be proven",
                evidence: ["\(port.name) driver": driver.name, "basis": fromSource],
                remedy: "do not ask for --require-proof here")
        }
    }

    static let floodRuleShared = Rule(
        "flood-rule-shared", .note, needs: .drivers,
        shown: "measured under QEMU (rocker) when the hardware was studied", harm: "-"
    ) { it, answer in
        for (port, driver) in it.driven where driver.name == "rocker" {
            answer(
                port.name,
                "when one port of the switch goes down, \(driver.name) removes the rule by which all ports of the VLAN "
                    + "get broadcasts",
                evidence: ["\(port.name) driver": driver.name, "basis": "measured under QEMU (kernel.md section 6)"],
                remedy: "ip link set \(port.name) up, and leave it up during a redirection")
        }
    }

    /// A physical function that is a bridge port and has VFs, but no switch id: entries steer nothing in its NIC. Where its
    /// filters are moved along they are not meant to.
    static let legacyEswitch = Rule(
        "legacy-eswitch", .loses, shown: "source: a PF with VFs and no phys_switch_id", harm: "-"
    ) { it, answer in
        guard !it.subject.movesFilters, let primary = it.port(.primary), !primary.isEswitchPort,
            let vf = primary.virtualFunctions.first
        else { return }
        let count = primary.virtualFunctions.count
        answer(
            primary.name,
            "it is a physical function in legacy mode with \(count == 1 ? "a VF" : "\(count) VFs"): these are reached by the "
                + "MAC filters of the NIC, not by entries, so that frames go to the VF whatever the bridge says",
            evidence: [
                "\(primary.name) VFs": "\(count)", "VF \(vf.index) MAC": vf.mac.description,
                "\(primary.name) phys_switch_id": "none", "basis": fromSource,
            ],
            remedy:
                "devlink dev eswitch set pci/\(primary.parentDevice ?? "ADDRESS") mode switchdev, and name the VF's "
                + "representor as primary")
    }
}
