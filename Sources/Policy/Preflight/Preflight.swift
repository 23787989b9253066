import FDB
package import Switchdev

/// Finds what would go wrong, from what was read; no I/O.
package struct Preflight {
    package let input: PreflightInput
    package private(set) var findings: [Finding] = []

    /// Everything that is found, the worst first, and in the order of the checks among equals.
    package static func findings(_ input: PreflightInput) -> [Finding] {
        var preflight = Preflight(input: input)
        preflight.checkPresence()
        preflight.checkPorts()
        preflight.checkSharing()
        preflight.checkAddresses()
        preflight.checkVLANs()
        preflight.checkCosts()
        preflight.checkDrivers()
        return Finding.Severity.allCases.flatMap { severity in
            preflight.findings.filter { $0.severity == severity }
        }
    }

    private init(input: PreflightInput) { self.input = input }

    package mutating func add(
        _ code: Finding.Code, _ severity: Finding.Severity, _ subject: String, _ message: String,
        evidence: KeyValuePairs<String, String> = [:], remedy: String? = nil
    ) {
        findings.append(Finding(code, severity, subject, message, evidence: evidence, remedy: remedy))
    }

    // MARK: - What was read

    /// The sides that were given, with their roles and names.
    package var roles: [(side: Side, role: String, name: String)] {
        [(Side.primary, "primary"), (.standby, "standby"), (.remote, "uplink")].compactMap { side, role in
            input.names[side].map { (side, role, $0) }
        }
    }

    /// The interface of a side, when it is a port of the bridge.
    package func port(_ side: Side) -> Link? {
        guard let link = input.ports[side], let bridge = input.bridge, link.master == bridge.index,
            link.bridgePort != nil
        else { return nil }
        return link
    }

    /// Ports of the bridge that this guest has, each once.
    package var ports: [(side: Side, link: Link)] {
        var seen = Set<Int32>()
        return roles.compactMap { side, _, _ in port(side).map { (side, $0) } }.filter {
            seen.insert($0.1.index).inserted
        }
    }

    /// Primary and standby, when both are ports of the bridge and two.
    package var pair: (primary: Link, standby: Link)? {
        guard let primary = port(.primary), let standby = port(.standby), primary.index != standby.index else {
            return nil
        }
        return (primary, standby)
    }

    /// The standby is the uplink too: its settings are the network's, not the guest's.
    package var standbyIsUplink: Bool { port(.standby)?.index == port(.remote)?.index }

    package func name(_ index: Int32) -> String { input.links[index]?.name ?? "ifindex \(index)" }
}

extension BridgePort.Flags {
    package func word(_ flag: BridgePort.Flags) -> String { contains(flag) ? "on" : "off" }
}

extension Preflight {
    /// The bridge and the ports must be there, be ports, and forward.
    package mutating func checkPresence() {
        if input.names[.primary] == input.names[.standby], let name = input.names[.primary] {
            add(
                .samePort, .blocks, name, "it is primary and standby: there is nothing to redirect between",
                remedy: "name the VF's representor as --primary and the tap as --standby")
        }
        guard let bridge = input.bridge, bridge.kind == "bridge" else {
            let found =
                input.bridge.map { "it is \($0.kind ?? "a hardware interface")" } ?? "there is no such interface"
            let bridges = input.links.bridges.map(\.name).joined(separator: ", ")
            add(
                .noBridge, .blocks, input.bridgeName, "it is no Linux bridge: \(found)",
                remedy: bridges.isEmpty
                    ? "ip link add \(input.bridgeName) type bridge" : "the bridges here are \(bridges)")
            return
        }
        if !bridge.isUp {
            add(
                .bridgeDown, .blocks, bridge.name, "the bridge is down: nothing is forwarded",
                evidence: ["\(bridge.name) link": "down"], remedy: "ip link set \(bridge.name) up")
        }
        for (side, role, name) in roles {
            guard let link = input.ports[side] else {
                add(
                    .noInterface, .blocks, name, "\(role): there is no such interface in this network namespace",
                    remedy: "name a port of \(bridge.name): "
                        + input.links.ports(of: bridge.index).prefix(8).map(\.name).joined(separator: ", "))
                continue
            }
            if port(side) != nil { checkForwarding(link, side, role, bridge) } else { checkForeign(link, role, bridge) }
        }
    }

    /// An interface that is no port of the bridge.
    private mutating func checkForeign(_ link: Link, _ role: String, _ bridge: Link) {
        if let master = link.master {
            let kind = link.portKind ?? "unknown"
            let switching =
                kind == "openvswitch" ? ": Open vSwitch forwards its frames, by flows that fdbsteer knows not" : ""
            add(
                .otherMaster, .blocks, link.name,
                "\(role): it belongs to \(input.links[master]?.name ?? "ifindex \(master)") (\(kind)), not to "
                    + "\(bridge.name)\(switching)",
                evidence: ["\(link.name) master": name(master), "\(link.name) master's kind": kind],
                remedy: kind == "bond" || kind == "team"
                    ? "name \(name(master)) itself, when it is a port of \(bridge.name)"
                    : "ip link set \(link.name) nomaster; ip link set \(link.name) master \(bridge.name)")
        } else if link.kind == "macvtap" || link.kind == "macvlan" {
            add(
                .macvlan, .blocks, link.name,
                "\(role): a \(link.kind ?? "") hands its frames straight to \(link.lower.map(name) ?? "its NIC"), past "
                    + "every bridge: no entry can redirect to it",
                evidence: ["\(link.name) kind": link.kind ?? "", "\(link.name) link": link.lower.map(name) ?? "none"],
                remedy:
                    "use a tap that is a port of \(bridge.name): ip tuntap add NAME mode tap; ip link set NAME master "
                    + bridge.name)
        } else {
            add(
                .notAPort, .blocks, link.name, "\(role): it is no port of \(bridge.name), or of anything",
                evidence: ["\(link.name) master": "none"],
                remedy: "ip link set \(link.name) master \(bridge.name)")
        }
    }

    /// A port that cannot deliver: `switch` refuses to go there (``Link.obstacle``).
    private mutating func checkForwarding(_ link: Link, _ side: Side, _ role: String, _ bridge: Link) {
        let refused = "\(role): a switch to \(side.rawValue) is refused, and frames sent there are lost"
        if !link.isUp {
            let held = side == .standby ? ", held down until the migration perhaps: bring it up before the switch" : ""
            add(
                .portDown, .blocks, link.name, "it is down\(held); \(refused)", evidence: ["\(link.name) link": "down"],
                remedy: "ip link set \(link.name) up")
        } else if !link.hasCarrier, link.kind == "tun" {
            add(
                .tapWithoutReader, .blocks, link.name, "no process has this tap open; \(refused)",
                evidence: ["\(link.name) kind": "tun", "\(link.name) carrier": "off"],
                remedy: "start the machine, or plug its virtio NIC in; then: ip link show dev \(link.name)")
        } else if !link.hasCarrier {
            add(
                .noCarrier, .blocks, link.name, "it has no carrier; \(refused)",
                evidence: ["\(link.name) carrier": "off"],
                remedy: "bring the other end up, then: ip link show dev \(link.name)")
        } else if let state = link.bridgePort?.state, state != .forwarding {
            let tree = bridge.bridge?.spanningTree ?? 0
            add(
                .notForwarding, .blocks, link.name, "its state is \(state); \(refused)",
                evidence: [
                    "\(link.name) state": "\(state)", "\(bridge.name) stp_state": "\(tree)",
                ],
                remedy: tree == 0
                    ? "bridge link set dev \(link.name) state 3"
                    : "wait for spanning tree, or find the loop that it broke: bridge link show dev \(link.name)")
        }
    }
}

/// What other verbs ask.
extension Preflight {
    /// Findings for the report of `switch`, from the links that it has read, and nothing else: its time counts.
    package static func findings(_ guest: GuestInterface, _ observation: Observation) -> [Finding] {
        if observation.isPlain(for: guest) { return [] }
        var input = PreflightInput(
            bridgeName: guest.bridge.name, bridge: observation.bridge, names: [:], ports: observation.ports.dictionary,
            addresses: guest.addresses, links: observation.links)
        for side in Side.allCases { input.names[side] = guest.port(of: side)?.name }
        input.prepared = guest
        return Preflight.findings(input).filter {
            $0.severity != .note && (guest.nic == nil || $0.code != .legacyEswitch)
        }
    }

    /// What `prepare` refuses unless it is waived: a standby that takes smaller frames than the primary.
    package static func refuse(
        _ plan: Plan, waiving waived: Set<Finding.Code>
    ) throws(ControllerError) {
        guard !waived.contains(.mtuSmaller),
            let finding = plan.findings.first(where: {
                $0.code == .mtuSmaller && $0.subject == plan.guest.standby.name
            })
        else { return }
        throw ControllerError(
            .precondition, "standby \(finding.subject): \(finding.message)",
            remedy: "\(finding.remedy ?? ""), or accept it: --waive \(finding.code.rawValue)")
    }
}
