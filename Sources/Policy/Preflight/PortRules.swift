import Switchdev

/// What primary and standby let through. The primary is the measure: the guest is used to it.
package enum PortRules {
    static let all = [
        mtuSmaller, uplinkMTUSmaller, unicastFlood, multicastFlood, broadcastFlood, isolated, locked, gateOpen,
        sourceCheckMissing, neighbourSuppression, hairpin, bpduGuard, learningOn,
    ]

    static let mtuSmaller = Rule(
        "mtu-smaller", .loses, refuses: [.prepare, .unlessWaived],
        shown: "here: primary and uplink 9000, standby 1500; and the reverse",
        harm: "frames of 3000 bytes to the guest, all; of 1400, none"
    ) { it, answer in
        guard let (primary, standby) = it.pair, primary.mtu != standby.mtu else { return }
        let isStandby = standby.mtu < primary.mtu
        let (small, large) = isStandby ? (standby, primary) : (primary, standby)
        answer(
            small.name,
            "it takes frames of \(small.mtu) bytes, \(large.name) of \(large.mtu): the guest's larger ones vanish "
                + "while it is on \(isStandby ? "standby" : "primary")",
            evidence: ["\(small.name) mtu": "\(small.mtu)", "\(large.name) mtu": "\(large.mtu)"],
            remedy: "ip link set \(small.name) mtu \(large.mtu)", refuses: isStandby ? nil : [])
    }

    static let uplinkMTUSmaller = Rule(
        "uplink-mtu-smaller", .note, shown: "here: uplink 1500", harm: "frames of 3000 bytes that the guest sends out"
    ) { it, answer in
        guard let (primary, standby) = it.pair, let uplink = it.port(.remote), !it.standbyIsUplink else { return }
        let largest = max(primary.mtu, standby.mtu)
        guard uplink.mtu < largest else { return }
        answer(
            uplink.name,
            "the uplink takes frames of \(uplink.mtu) bytes, the guest's ports of \(largest): guests that talk in "
                + "larger ones across this host stop doing so once one of them is remote",
            evidence: ["\(uplink.name) mtu": "\(uplink.mtu)", "guest's ports' mtu": "\(largest)"],
            remedy: "ip link set \(uplink.name) mtu \(largest)")
    }

    static let unicastFlood = flood(
        .flood, "unicast-flood", "flood",
        losing: "frames to MACs without an entry (others of the guest, or one that lost it)",
        leaking: "frames to unknown MACs of others", shown: "here: flood off on one port",
        harm: "frames to a MAC without an entry / the same, reaching the guest")
    static let multicastFlood = flood(
        .multicastFlood, "multicast-flood", "mcast_flood",
        losing: "multicast that nobody joined on the port, IPv6 neighbour discovery among it,",
        leaking: "multicast that the guest did not join", shown: "here: mcast_flood off on one port",
        harm: "multicast / the same")
    static let broadcastFlood = flood(
        .broadcastFlood, "broadcast-flood", "bcast_flood",
        losing: "broadcasts, ARP requests for the guest among them,", leaking: "broadcasts",
        shown: "here: bcast_flood off on one port", harm: "broadcasts / the same")

    private static func flood(
        _ flag: BridgePort.Flags, _ code: String, _ word: String, losing lost: String, leaking leaked: String,
        shown: String, harm: String
    ) -> Rule {
        Rule(code, .loses, .leaks, shown: shown, harm: harm) { it, answer in
            guard let (primary, standby, first, second) = it.compared, first.contains(flag) != second.contains(flag)
            else { return }
            let isLost = first.contains(flag)
            answer(
                standby.name,
                isLost
                    ? "\(word) is off there, on on \(primary.name): \(lost) do not reach the guest while it is on standby"
                    : "\(word) is on there, off on \(primary.name): \(leaked) reach the guest by its standby, at all times",
                isLost ? .loses : .leaks,
                evidence: [
                    "\(primary.name) \(word)": first.word(flag), "\(standby.name) \(word)": second.word(flag),
                ], remedy: "bridge link set dev \(standby.name) \(word) \(first.word(flag))")
        }
    }

    static let isolated = Rule(
        "isolated", .loses, .leaks, shown: "here: isolated standby / primary, a third port isolated",
        harm: "frames between the two / reached, not before"
    ) { it, answer in
        guard let (primary, standby, first, second) = it.compared,
            first.contains(.isolated) != second.contains(.isolated)
        else { return }
        let isLost = second.contains(.isolated)
        answer(
            standby.name,
            isLost
                ? "it is isolated, \(primary.name) is not: while the guest is on standby it and the other isolated ports "
                    + "cannot reach each other"
                : "\(primary.name) is isolated, it is not: while the guest is on standby it reaches the isolated ports",
            isLost ? .loses : .leaks,
            evidence: [
                "\(primary.name) isolated": first.word(.isolated), "\(standby.name) isolated": second.word(.isolated),
            ], remedy: "bridge link set dev \(standby.name) isolated \(first.word(.isolated))")
    }

    /// A locked port takes a frame only when its source has an entry on it (`br_handle_frame_finish`), so it drops what the
    /// guest sends before its entry arrives, or from a MAC that was not prepared.
    static let locked = Rule(
        "locked", .loses, refuses: .intent, shown: "here: locked standby",
        harm: "the guest's frames before its entry is moved; of other MACs also after"
    ) { it, answer in
        for port in it.ownPorts where port.bridgePort?.flags.contains(.locked) == true {
            let gate = it.subject.guest?.own.first { $0.port.index == port.index && $0.port.gates }
            if let gate, gate.port.gate == .lock, it.subject.guest?.isClosed(gate.side) == true { continue }
            answer(
                port.name,
                "it is locked: what the guest sends there is dropped until its entry is moved there, and always for MACs "
                    + "that are not redirected",
                evidence: ["\(port.name) locked": "on"], remedy: "bridge link set dev \(port.name) locked off",
                refuses: gate == nil ? [] : nil)
        }
    }

    static let gateOpen = Rule(
        "gate-open", .leaks, refuses: .intent, shown: "here: `locked off` while the guest is remote",
        harm: "the fabric learns the guest's MAC here, before it is"
    ) { it, answer in
        guard let guest = it.subject.guest, guest.isGated else { return }
        for (side, port) in guest.own where guest.isClosed(side) {
            guard let link = it.port(side), it.observation.isShut(port, of: guest) == false else { continue }
            answer(
                link.name,
                "its gate is open while guest \(guest.id) is on another host: what speaks there with the guest's MAC draws its "
                    + "frames here",
                evidence: port.gate == .lock ? ["\(link.name) locked": "off"] : ["\(link.name) in nftables": "open"],
                remedy: port.gate == .lock
                    ? "bridge link set dev \(port.name) locked on" : "run \"fdbsteer reconcile\"")
        }
    }

    static let sourceCheckMissing = Rule(
        "source-check-missing", .leaks, shown: "here: locked primary, standby not",
        harm: "frames with a stranger's MAC pass by the standby"
    ) { it, answer in
        guard let (primary, standby, first, second) = it.compared, first.contains(.locked), !second.contains(.locked)
        else { return }
        answer(
            standby.name,
            "\(primary.name) is locked, it is not: while the guest is there it may send with the MACs of others",
            evidence: ["\(primary.name) locked": "on", "\(standby.name) locked": "off"],
            remedy: "bridge link set dev \(standby.name) locked on")
    }

    /// Gratuitous ARP and unsolicited ND, among others, are not flooded to such a port (`br_do_proxy_suppress_arp`).
    static let neighbourSuppression = Rule(
        "neigh-suppress", .loses, .note, shown: "here: neigh_suppress on on standby / primary",
        harm: "a gratuitous ARP of a peer"
    ) { it, answer in
        guard let (primary, standby, first, second) = it.compared,
            first.contains(.neighbourSuppression) != second.contains(.neighbourSuppression)
        else { return }
        let isStandby = second.contains(.neighbourSuppression)
        let (port, other) = isStandby ? (standby, primary) : (primary, standby)
        answer(
            port.name,
            "neigh_suppress is on there, off on \(other.name): gratuitous ARP does not reach the guest by it, so that it "
                + "goes on sending to where a peer was before", isStandby ? .loses : .note,
            evidence: ["\(port.name) neigh_suppress": "on", "\(other.name) neigh_suppress": "off"],
            remedy: "bridge link set dev \(standby.name) neigh_suppress \(first.word(.neighbourSuppression))")
    }

    static let hairpin = Rule(
        "hairpin", .leaks, .loses, shown: "here: on on standby / primary",
        harm: "the guest's broadcast comes back / frames between two MACs of the guest"
    ) { it, answer in
        guard let (primary, standby, first, second) = it.compared,
            first.contains(.hairpin) != second.contains(.hairpin)
        else { return }
        let isLeaked = second.contains(.hairpin)
        answer(
            standby.name,
            isLeaked
                ? "hairpin is on there: the guest's own broadcasts come back to it while it sends by its standby, which "
                    + "IPv6 takes for a duplicate address"
                : "hairpin is on on \(primary.name), off there: two MACs behind the guest's port (nested guests) no longer "
                    + "reach each other", isLeaked ? .leaks : .loses,
            evidence: [
                "\(primary.name) hairpin": first.word(.hairpin), "\(standby.name) hairpin": second.word(.hairpin),
            ], remedy: "bridge link set dev \(standby.name) hairpin \(first.word(.hairpin))")
    }

    /// Only the kernel's own spanning tree looks at the guard (`br_stp_rcv`).
    static let bpduGuard = Rule(
        "bpdu-guard", .loses, .note,
        shown: "here: stp_state 1, a BPDU from the guest; a note without the kernel's spanning tree",
        harm: "the port goes to `disabled`: everything"
    ) { it, answer in
        guard let (primary, standby, first, second) = it.compared,
            first.contains(.bpduGuard) != second.contains(.bpduGuard), let bridge = it.bridge
        else { return }
        let tree = bridge.bridge?.spanningTree ?? 0
        let (port, other) = second.contains(.bpduGuard) ? (standby, primary) : (primary, standby)
        answer(
            port.name,
            "the BPDU guard is on there, off on \(other.name): one BPDU from the guest disables the port"
                + (tree == 1 ? "" : ", once \(bridge.name) runs the kernel's spanning tree"),
            tree == 1 ? .loses : .note,
            evidence: [
                "\(port.name) guard": "on", "\(other.name) guard": "off", "\(bridge.name) stp_state": "\(tree)",
            ],
            remedy: "bridge link set dev \(standby.name) guard \(first.word(.bpduGuard))")
    }

    package static let learningOn = Rule(
        "learning-on", .loses, refuses: .intent, shown: "here: learning switched on after prepare",
        harm: "after one late frame on the old port, everything"
    ) { it, answer in
        guard let guest = it.subject.guest, !guest.sharesPorts, !it.standbyIsUplink else { return }
        for (side, link) in it.ports where side != .remote && !guest.learns(side) {
            guard link.bridgePort?.flags.contains(.learning) == true else { continue }
            answer(
                link.name,
                "learning is on: a late frame of the guest there moves its entries, and its frames go after it",
                evidence: ["\(link.name) learning": "on"], remedy: "bridge link set dev \(link.name) learning off")
        }
    }
}
