import Switchdev

/// The bridge and the ports must be there, be ports, and forward.
package enum PresenceRules {
    static let all = [
        samePort, swappedPorts, noBridge, bridgeDown, noInterface, macvlan, otherMaster, notAPort, portDown,
        tapWithoutReader,
        noCarrier, notForwarding,
    ]

    static let samePort = Rule(
        "same-port", .blocks, shown: "here: one port named twice", harm: "-"
    ) { it, answer in
        for (index, (side, role, name)) in it.roles.enumerated() {
            guard let first = it.roles[..<index].first(where: { $0.name == name }) else { continue }
            answer(
                name, "it is \(first.role) and \(role): there is nothing to redirect between",
                remedy: side == .standby
                    ? "name the VF's representor as --primary and the tap as --standby"
                    : "name the port towards the physical network as --uplink")
        }
    }

    static let swappedPorts = Rule(
        "swapped-ports", .blocks, refuses: .prepare, shown: "unit test: a tap as primary, a switch port as standby",
        harm: "prepare is refused"
    ) { it, answer in
        // A tap has no hardware behind it; what a record says was prepared on purpose.
        guard it.subject.guest == nil, let primary = it.port(.primary), let standby = it.port(.standby),
            primary.kind == "tun", standby.isEswitchPort
        else { return }
        answer(
            primary.name,
            "primary: it is a tap, and the standby \(standby.name) is a port of a switch in hardware: they are swapped",
            evidence: ["\(primary.name) kind": "tun", "\(standby.name)": "has a switch id"],
            remedy: "--primary \(standby.name) --standby \(primary.name)")
    }

    static let noBridge = Rule(
        "no-bridge", .blocks, refuses: [.prepare, .anySide, .intent],
        shown: "here: no such interface; an interface that is no bridge", harm: "-"
    ) { it, answer in
        guard it.bridge == nil else { return }
        let name = it.subject.bridge
        if let guest = it.subject.guest {
            return answer(
                name, "the bridge of guest \(guest.id) no longer exists",
                remedy: "when it is there again, with the ports: \(guest.preparation)")
        }
        let found = it.links[name].map { "it is \($0.kind ?? "a hardware interface")" }
        let bridges = it.links.bridges.map(\.name).joined(separator: ", ")
        answer(
            name, "it is no Linux bridge: \(found ?? "there is no such interface")",
            remedy: bridges.isEmpty ? "ip link add \(name) type bridge" : "the bridges here are \(bridges)")
    }

    static let bridgeDown = Rule(
        "bridge-down", .blocks, refuses: [.anySide, .intent, .bracket], shown: "here: `ip link set br0 down`",
        harm: "everything"
    ) { it, answer in
        guard let bridge = it.bridge, !bridge.isUp else { return }
        answer(
            bridge.name, "the bridge is down: nothing is forwarded", evidence: ["\(bridge.name) link": "down"],
            remedy: "ip link set \(bridge.name) up")
    }

    /// An interface that is no port of the bridge stands in the way of every verb that needs one.
    private static let ofPorts: Refusal = [.prepare, .anySide, .intent, .bracket]

    private static func lacking(_ it: Preflight, _ side: Side) -> Refusal {
        [.prepare, .intent, it.redirections(to: side)]
    }

    static let noInterface = Rule(
        "no-interface", .blocks, refuses: ofPorts, shown: "here: no such interface", harm: "-"
    ) { it, answer in
        guard let bridge = it.bridge else { return }
        for (side, role, name) in it.roles where it.observation.ports[side] == nil {
            var refuses = lacking(it, side)
            if side == .primary { refuses.insert(.bracket) }
            guard let guest = it.subject.guest, let port = guest.port(of: side) else {
                let ports = it.links.ports(of: bridge.index).prefix(8).map(\.name).joined(separator: ", ")
                answer(
                    name, "\(role): there is no such interface in this network namespace",
                    remedy: "name a port of \(bridge.name): \(ports)", refuses: refuses)
                continue
            }
            answer(
                name, "\(role): this port of guest \(guest.id) (ifindex \(port.index)) no longer exists",
                remedy: "when it is there again: \(guest.preparation)", refuses: refuses)
        }
    }

    static let macvlan = Rule(
        "macvlan", .blocks, refuses: ofPorts, shown: "here: a macvtap on the NIC",
        harm: "the kernel takes no entry for it"
    ) { it, answer in
        for (side, role, link, bridge) in it.strangers where link.master == nil && isMacvlan(link) {
            let lower = link.lower.map(it.name)
            answer(
                link.name,
                "\(role): a \(link.kind ?? "") hands its frames straight to \(lower ?? "its NIC"), past every bridge: no "
                    + "entry can redirect to it",
                evidence: ["\(link.name) kind": link.kind ?? "", "\(link.name) link": lower ?? "none"],
                remedy: "use a tap that is a port of \(bridge.name): ip tuntap add NAME mode tap; "
                    + "ip link set NAME master \(bridge.name)",
                refuses: lacking(it, side))
        }
    }

    static let otherMaster = Rule(
        "other-master", .blocks, refuses: ofPorts,
        shown: "here: another bridge's port; unit test: Open vSwitch, bond, team, VRF (this kernel has none of them)",
        harm: "the switch is refused"
    ) { it, answer in
        // All of the ports are in one other bridge: that one is meant, and they serve there.
        let masters = Set(it.roles.map { it.observation.ports[$0.side]?.master })
        let meant = masters.count == 1 ? masters.first.flatMap { $0 }.map(it.name) : nil
        for (side, role, link, bridge) in it.strangers {
            guard let master = link.master else { continue }
            let kind = link.portKind ?? "unknown"
            let switching =
                kind == "openvswitch" ? ": Open vSwitch forwards its frames, by flows that fdbsteer does not know" : ""
            answer(
                link.name,
                "\(role): it belongs to \(it.name(master)) (\(kind)), not to \(bridge.name)\(switching)",
                evidence: ["\(link.name) master": it.name(master), "\(link.name) master's kind": kind],
                remedy: kind == "bond" || kind == "team"
                    ? "name \(it.name(master)) itself, when it is a port of \(bridge.name)"
                    : kind == "bridge" && it.subject.guest == nil && meant != nil
                        ? "did you mean --bridge \(meant ?? "")?"
                        : it.subject.guest == nil
                            ? "name a port of \(bridge.name); or, if nobody needs it where it is: ip link set \(link.name) master "
                                + bridge.name
                            : "ip link set \(link.name) nomaster; ip link set \(link.name) master \(bridge.name)",
                refuses: lacking(it, side))
        }
    }

    static let notAPort = Rule(
        "not-a-port", .blocks, refuses: ofPorts, shown: "here: `ip link set tap0 nomaster`",
        harm: "the switch is refused"
    ) { it, answer in
        for (side, role, link, bridge) in it.strangers where link.master == nil && !isMacvlan(link) {
            answer(
                link.name,
                it.subject.guest == nil
                    ? "\(role): it is no port of \(bridge.name), or of anything"
                    : "\(role): it was taken out of \(bridge.name), and is no port of anything",
                evidence: ["\(link.name) master": "none"],
                remedy: "ip link set \(link.name) master \(bridge.name)", refuses: lacking(it, side))
        }
    }

    private static func isMacvlan(_ link: Link) -> Bool { link.kind == "macvtap" || link.kind == "macvlan" }

    // MARK: - Ports that cannot deliver

    static let portDown = Rule(
        "port-down", .blocks, refuses: [.anySide, .intent, .bracket], shown: "here: `ip link set tap0 down`",
        harm: "everything"
    ) { it, answer in
        for port in obstructed(it) where port.obstacle == .down {
            let held =
                port.side == .standby ? ", held down until the migration perhaps: bring it up before the switch" : ""
            // A copy to a primary without carrier waits there for its guest; one that is down drops it.
            answer(
                port.link.name, "it is down\(held); \(port.refused)", evidence: ["\(port.link.name) link": "down"],
                remedy: "ip link set \(port.link.name) up",
                refuses: port.side == .primary ? port.refuses.union(.bracket) : port.refuses)
        }
    }

    static let tapWithoutReader = Rule(
        "tap-without-reader", .blocks, refuses: [.anySide, .intent], shown: "here: a tap that no process has open",
        harm: "the switch is refused; with a reader the frame arrives"
    ) { it, answer in
        for port in obstructed(it) where port.obstacle == .noCarrier && port.link.kind == "tun" {
            let name = port.link.name
            answer(
                name, "no process has this tap open; \(port.refused)",
                evidence: ["\(name) kind": "tun", "\(name) carrier": "off"],
                remedy: "start the machine, or plug its virtio NIC in; then: ip link show dev \(name)",
                refuses: port.refuses)
        }
    }

    static let noCarrier = Rule(
        "no-carrier", .blocks, refuses: [.anySide, .intent], shown: "here: the other end down", harm: "everything"
    ) { it, answer in
        for port in obstructed(it) where port.obstacle == .noCarrier && port.link.kind != "tun" {
            answer(
                port.link.name, "it has no carrier; \(port.refused)", evidence: ["\(port.link.name) carrier": "off"],
                remedy: "bring the other end up, then: ip link show dev \(port.link.name)", refuses: port.refuses)
        }
    }

    static let notForwarding = Rule(
        "not-forwarding", .blocks, refuses: [.anySide, .intent], shown: "here: state disabled; and by the BPDU guard",
        harm: "everything"
    ) { it, answer in
        for port in obstructed(it) {
            guard case .state(let state) = port.obstacle, let bridge = it.bridge else { continue }
            let tree = bridge.bridge?.spanningTree ?? 0
            answer(
                port.link.name, "its state is \(state); \(port.refused)",
                evidence: ["\(port.link.name) state": "\(state)", "\(bridge.name) stp_state": "\(tree)"],
                remedy: tree == 0
                    ? "bridge link set dev \(port.link.name) state 3"
                    : "wait for spanning tree, or find the loop that it broke: bridge link show dev \(port.link.name)",
                refuses: port.refuses)
        }
    }

    private struct Obstructed {
        let side: Side?
        let link: Link
        let obstacle: Obstacle
        /// What follows, in words.
        let refused: String
        let refuses: Refusal
    }

    /// Ports of the bridge that cannot deliver (``Link/obstacle``), for each role that they have. A bridge that is down has disabled all
    /// of its ports, and enables them when it is up (`br_stp_disable_bridge`): that is no fault of theirs.
    private static func obstructed(_ it: Preflight) -> [Obstructed] {
        func obstacle(_ link: Link) -> Obstacle? {
            guard let obstacle = link.obstacle else { return nil }
            return it.bridge?.isUp == false && obstacle == .state(.disabled) ? nil : obstacle
        }
        if it.isSurvey {
            return it.allPorts.compactMap { link in
                obstacle(link).map {
                    Obstructed(
                        side: nil, link: link, obstacle: $0,
                        refused: "a switch to it is refused, and frames sent there are lost", refuses: [])
                }
            }
        }
        return it.roles.compactMap { side, role, _ in
            guard let link = it.port(side), let obstacle = obstacle(link) else { return nil }
            let refuses = it.redirections(to: side)
            // Where the guest is frames must be delivered; elsewhere a port may wait for its time.
            let isNeeded = it.subject.guest.map { refuses.contains(.to($0.side)) } ?? false
            return Obstructed(
                side: side, link: link, obstacle: obstacle,
                refused: "\(role): a switch to \(side.rawValue) is refused, and frames sent there are lost",
                refuses: isNeeded ? refuses.union(.intent) : refuses)
        }
    }
}
