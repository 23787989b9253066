import Switchdev

/// What is shared, costs CPU, or stands in the way of a copy.
package enum CostRules {
    static let all = [sharedPort, noGuard, noAsking, offloadFeatures, ingressQdisc, clsactQdisc]

    package static let sharedPort = Rule(
        "shared-port", .costs, .blocks, refuses: .prepare,
        shown: "here: another MAC behind the port; VM: beside a switch, where it blocks",
        harm: "nothing: entries become sticky, or movable beside a tunnel"
    ) { it, answer in
        for (side, link) in it.ports where side != .remote {
            let sharing = it.sharing(side)
            if sharing == .unknown { answer.cannotTell() }
            guard case .shared(let reason) = sharing else { continue }
            let switched = it.ownPorts.first(where: \.isEswitchPort)
            if let switched {
                answer(
                    link.name,
                    "\(reason), so that its learning must stay on and the entries be sticky, but sticky entries of "
                        + "\(switched.name) cannot be moved so that hardware follows", .blocks,
                    evidence: ["\(link.name) serves": reason],
                    remedy: "give this guest ports of its own")
            } else {
                let flags = link.bridgePort?.flags ?? []
                let isSticky = it.subject.guest?.isSticky ?? !it.hasTunnel
                let entries =
                    isSticky
                    ? "are sticky"
                    : "stay movable, because a tunnel's control plane would advertise sticky ones as fixed for ever: only fdbsteerd puts "
                        + "them back when a frame moves one"
                answer(
                    link.name, "\(reason), so that its learning stays on and the guest's entries \(entries)",
                    evidence: ["\(link.name) serves": reason, "\(link.name) learning": flags.word(.learning)],
                    remedy: "bridge fdb show br \(it.subject.bridge) brport \(link.name)", refuses: [])
            }
        }
    }

    static let noGuard = Rule(
        "no-guard", .costs, needs: .filtering,
        shown: "here: a kernel that refuses nftables' tables of bridges (strace makes it EOPNOTSUPP)",
        harm: "nothing while the daemon runs; without it one frame by a third port takes the address"
    ) { it, answer in
        // Sticky entries do not roam.
        guard let refusal = it.observation.filtering?.guarding, it.subject.guest?.isSticky != true else { return }
        answer(
            it.subject.bridge,
            "this kernel cannot keep other ports from sending from a guest's addresses: any port that learns can take "
                + "them by a frame. Only fdbsteerd puts them back, and makes them sticky for five seconds at a time while they are "
                + "taken again and again",
            evidence: ["nftables, family bridge": refusal],
            remedy: "modprobe nf_tables_bridge, or a kernel with CONFIG_NF_TABLES_BRIDGE; then prepare the guest again")
    }

    static let noAsking = Rule(
        "no-asking", .costs, needs: .filtering,
        shown: "here: a kernel that refuses nftables' tables of netdevs (the same)",
        harm: "nothing: the guest is served by frames, counters and QEMU's events alone"
    ) { it, answer in
        guard let refusal = it.observation.filtering?.asking else { return }
        answer(
            it.subject.bridge,
            "this kernel cannot keep a guest's answers from others, so no guest is asked whether it takes its port's frames: "
                + "`--until answer:` is refused, and fdbsteerd asks nobody",
            evidence: ["nftables, family netdev": refusal],
            remedy:
                "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_INGRESS (Linux 5.12 or later)"
        )
    }

    static let offloadFeatures = Rule(
        "offload-features", .costs, needs: .features, shown: "here: a tap beside a veth", harm: "nothing"
    ) { it, answer in
        guard let (primary, standby) = it.pair, let first = it.observation.features?[primary.index],
            let second = it.observation.features?[standby.index], first != second
        else { return }
        let lost = first.subtracting(second).words
        let gained = second.subtracting(first).words
        var parts: [String] = []
        if !lost.isEmpty { parts.append("\(standby.name) has not \(lost.joined(separator: ", "))") }
        if !gained.isEmpty { parts.append("\(primary.name) has not \(gained.joined(separator: ", "))") }
        let (poor, missing) = lost.isEmpty ? (primary, gained) : (standby, lost)
        answer(
            standby.name, "the ports do not take the same work off the CPU: \(parts.joined(separator: "; "))",
            evidence: [
                "\(primary.name) features": first.words.joined(separator: " "),
                "\(standby.name) features": second.words.joined(separator: " "),
            ],
            remedy: "ethtool -K \(poor.name) \(missing.map { "\($0) on" }.joined(separator: " ")) (a tap's are the "
                + "guest's choice: host_tso4, csum of its virtio NIC)")
    }

    static let ingressQdisc = Rule(
        "ingress-qdisc", .costs, needs: .disciplines, shown: "here: an ingress qdisc",
        harm: "`tc qdisc add ... clsact` fails"
    ) { it, answer in
        for (port, kind) in disciplines(it) where kind != "clsact" {
            answer(
                port, "an \(kind) qdisc stands where a clsact would go: no copy of frames can be made there",
                evidence: ["\(port) qdisc": "\(kind) parent ffff:fff1"],
                remedy:
                    "tc filter show dev \(port) ingress shows what it is for; without it: tc qdisc del dev \(port) ingress"
            )
        }
    }

    static let clsactQdisc = Rule(
        "clsact-qdisc", .note, needs: .disciplines, shown: "here: a clsact", harm: "nothing"
    ) { it, answer in
        for (port, kind) in disciplines(it) where kind == "clsact" {
            answer(
                port, "somebody has a clsact there: a copy of frames by tc would stand beside their filters",
                evidence: ["\(port) qdisc": "\(kind) parent ffff:fff1"], remedy: "tc filter show dev \(port) egress")
        }
    }

    private static func disciplines(_ it: Preflight) -> [(port: String, kind: String)] {
        it.ports.flatMap { _, port in
            (it.observation.disciplines ?? []).filter { $0.interface == port.index && $0.isAtIngress }
                .map { (port.name, $0.kind) }
        }
    }
}
