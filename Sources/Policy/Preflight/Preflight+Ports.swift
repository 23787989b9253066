import Switchdev

/// What primary and standby let through. The primary is the measure: the guest is used to it.
extension Preflight {
    package mutating func checkPorts() {
        checkMTU()
        guard let (primary, standby) = pair, let first = primary.bridgePort?.flags,
            let second = standby.bridgePort?.flags
        else { return }
        for port in [primary, standby] where port.bridgePort?.flags.contains(.locked) == true { addLocked(port) }
        // An uplink's flags are the network's.
        guard !standbyIsUplink else { return }
        checkFlood(primary, standby)
        checkIsolation(primary, standby)
        if first.contains(.locked), !second.contains(.locked) {
            add(
                .sourceCheckMissing, .leaks, standby.name,
                "\(primary.name) is locked, it is not: while the guest is there it may send with the MACs of others",
                evidence: ["\(primary.name) locked": "on", "\(standby.name) locked": "off"],
                remedy: "bridge link set dev \(standby.name) locked on")
        }
        checkSuppression(primary, standby)
        checkHairpin(primary, standby)
        checkGuard(primary, standby)
    }

    private mutating func checkMTU() {
        guard let (primary, standby) = pair else { return }
        if primary.mtu != standby.mtu {
            let (small, large) = standby.mtu < primary.mtu ? (standby, primary) : (primary, standby)
            let side = small.index == standby.index ? "standby" : "primary"
            add(
                .mtuSmaller, .loses, small.name,
                "it takes frames of \(small.mtu) bytes, \(large.name) of \(large.mtu): the guest's larger ones vanish "
                    + "while it is on \(side)",
                evidence: ["\(small.name) mtu": "\(small.mtu)", "\(large.name) mtu": "\(large.mtu)"],
                remedy: "ip link set \(small.name) mtu \(large.mtu)")
        }
        guard let uplink = port(.remote), !standbyIsUplink else { return }
        let largest = max(primary.mtu, standby.mtu)
        if uplink.mtu < largest {
            add(
                .uplinkMTUSmaller, .note, uplink.name,
                "the uplink takes frames of \(uplink.mtu) bytes, the guest's ports of \(largest): guests that talk in "
                    + "larger ones across this host stop doing so once one of them is remote",
                evidence: ["\(uplink.name) mtu": "\(uplink.mtu)", "guest's ports' mtu": "\(largest)"],
                remedy: "ip link set \(uplink.name) mtu \(largest)")
        }
    }

    /// A locked port takes a frame only when its source has an entry on it (`br_handle_frame_finish`), so it drops what the
    /// guest sends before its entry arrives, or from a MAC that was not prepared.
    private mutating func addLocked(_ port: Link) {
        add(
            .locked, .loses, port.name,
            "it is locked: what the guest sends there is dropped until its entry is moved there, and always for MACs that "
                + "are not redirected",
            evidence: ["\(port.name) locked": "on"], remedy: "bridge link set dev \(port.name) locked off")
    }

    private mutating func checkFlood(_ primary: Link, _ standby: Link) {
        let kinds: [(BridgePort.Flags, Finding.Code, String, String, String)] = [
            (
                .flood, .unicastFlood, "flood",
                "frames to MACs without an entry (others of the guest, or one that lost it)",
                "frames to unknown MACs of others"
            ),
            (
                .multicastFlood, .multicastFlood, "mcast_flood",
                "multicast that nobody joined on the port, IPv6 neighbour discovery among it,",
                "multicast that the guest did not join"
            ),
            (
                .broadcastFlood, .broadcastFlood, "bcast_flood", "broadcasts, ARP requests for the guest among them,",
                "broadcasts"
            ),
        ]
        guard let first = primary.bridgePort?.flags, let second = standby.bridgePort?.flags else { return }
        for (flag, code, word, lost, leaked) in kinds where first.contains(flag) != second.contains(flag) {
            let evidence: KeyValuePairs = [
                "\(primary.name) \(word)": first.word(flag), "\(standby.name) \(word)": second.word(flag),
            ]
            let remedy = "bridge link set dev \(standby.name) \(word) \(first.word(flag))"
            if first.contains(flag) {
                add(
                    code, .loses, standby.name,
                    "\(word) is off there, on on \(primary.name): \(lost) do not reach the guest while it is on standby",
                    evidence: evidence, remedy: remedy)
            } else {
                add(
                    code, .leaks, standby.name,
                    "\(word) is on there, off on \(primary.name): \(leaked) reach the guest by its standby, at all times",
                    evidence: evidence, remedy: remedy)
            }
        }
    }

    private mutating func checkIsolation(_ primary: Link, _ standby: Link) {
        guard let first = primary.bridgePort?.flags, let second = standby.bridgePort?.flags,
            first.contains(.isolated) != second.contains(.isolated)
        else { return }
        let evidence: KeyValuePairs = [
            "\(primary.name) isolated": first.word(.isolated), "\(standby.name) isolated": second.word(.isolated),
        ]
        let remedy = "bridge link set dev \(standby.name) isolated \(first.word(.isolated))"
        if second.contains(.isolated) {
            add(
                .isolated, .loses, standby.name,
                "it is isolated, \(primary.name) is not: while the guest is on standby it and the other isolated ports "
                    + "cannot reach each other", evidence: evidence, remedy: remedy)
        } else {
            add(
                .isolated, .leaks, standby.name,
                "\(primary.name) is isolated, it is not: while the guest is on standby it reaches the isolated ports",
                evidence: evidence, remedy: remedy)
        }
    }

    /// Gratuitous ARP and unsolicited ND, among others, are not flooded to such a port (`br_do_proxy_suppress_arp`).
    private mutating func checkSuppression(_ primary: Link, _ standby: Link) {
        guard let first = primary.bridgePort?.flags, let second = standby.bridgePort?.flags,
            first.contains(.neighbourSuppression) != second.contains(.neighbourSuppression)
        else { return }
        let isStandby = second.contains(.neighbourSuppression)
        let (port, other) = isStandby ? (standby, primary) : (primary, standby)
        add(
            .neighbourSuppression, isStandby ? .loses : .note, port.name,
            "neigh_suppress is on there, off on \(other.name): gratuitous ARP does not reach the guest by it, so that it "
                + "goes on sending to where a peer was before",
            evidence: ["\(port.name) neigh_suppress": "on", "\(other.name) neigh_suppress": "off"],
            remedy: "bridge link set dev \(standby.name) neigh_suppress \(first.word(.neighbourSuppression))")
    }

    private mutating func checkHairpin(_ primary: Link, _ standby: Link) {
        guard let first = primary.bridgePort?.flags, let second = standby.bridgePort?.flags,
            first.contains(.hairpin) != second.contains(.hairpin)
        else { return }
        let evidence: KeyValuePairs = [
            "\(primary.name) hairpin": first.word(.hairpin), "\(standby.name) hairpin": second.word(.hairpin),
        ]
        let remedy = "bridge link set dev \(standby.name) hairpin \(first.word(.hairpin))"
        if second.contains(.hairpin) {
            add(
                .hairpin, .leaks, standby.name,
                "hairpin is on there: the guest's own broadcasts come back to it while it sends by its standby, which "
                    + "IPv6 takes for a duplicate address", evidence: evidence, remedy: remedy)
        } else {
            add(
                .hairpin, .loses, standby.name,
                "hairpin is on on \(primary.name), off there: two MACs behind the guest's port (nested guests) no longer "
                    + "reach each other", evidence: evidence, remedy: remedy)
        }
    }

    /// Only the kernel's own spanning tree looks at the guard (`br_stp_rcv`).
    private mutating func checkGuard(_ primary: Link, _ standby: Link) {
        guard let first = primary.bridgePort?.flags, let second = standby.bridgePort?.flags,
            first.contains(.bpduGuard) != second.contains(.bpduGuard), let bridge = input.bridge
        else { return }
        let tree = bridge.bridge?.spanningTree ?? 0
        let (port, other) = second.contains(.bpduGuard) ? (standby, primary) : (primary, standby)
        add(
            .bpduGuard, tree == 1 ? .loses : .note, port.name,
            "the BPDU guard is on there, off on \(other.name): one BPDU from the guest disables the port"
                + (tree == 1 ? "" : ", once \(bridge.name) runs the kernel's spanning tree"),
            evidence: [
                "\(port.name) guard": "on", "\(other.name) guard": "off", "\(bridge.name) stp_state": "\(tree)",
            ],
            remedy: "bridge link set dev \(standby.name) guard \(first.word(.bpduGuard))")
    }

    /// What costs CPU or stands in the way of a copy.
    package mutating func checkCosts() {
        if let (primary, standby) = pair, let first = input.features[primary.index],
            let second = input.features[standby.index], first != second
        {
            let lost = first.subtracting(second).words
            let gained = second.subtracting(first).words
            var parts: [String] = []
            if !lost.isEmpty { parts.append("\(standby.name) has not \(lost.joined(separator: ", "))") }
            if !gained.isEmpty { parts.append("\(primary.name) has not \(gained.joined(separator: ", "))") }
            let (poor, missing) = lost.isEmpty ? (primary, gained) : (standby, lost)
            add(
                .offloadFeatures, .costs, standby.name,
                "the ports do not take the same work off the CPU: \(parts.joined(separator: "; "))",
                evidence: [
                    "\(primary.name) features": first.words.joined(separator: " "),
                    "\(standby.name) features": second.words.joined(separator: " "),
                ],
                remedy: "ethtool -K \(poor.name) \(missing.map { "\($0) on" }.joined(separator: " ")) (a tap's are the "
                    + "guest's choice: host_tso4, csum of its virtio NIC)")
        }
        for (_, port) in ports {
            for discipline in input.disciplines where discipline.interface == port.index && discipline.isAtIngress {
                let isClsact = discipline.kind == "clsact"
                add(
                    isClsact ? .clsactQdisc : .ingressQdisc, isClsact ? .note : .costs, port.name,
                    isClsact
                        ? "somebody has a clsact there: a copy of frames by tc would stand beside their filters"
                        : "an \(discipline.kind) qdisc stands where a clsact would go: no copy of frames can be made there",
                    evidence: ["\(port.name) qdisc": "\(discipline.kind) parent ffff:fff1"],
                    remedy: isClsact
                        ? "tc filter show dev \(port.name) egress"
                        : "find its owner, then: tc qdisc del dev \(port.name) ingress")
            }
        }
    }
}
