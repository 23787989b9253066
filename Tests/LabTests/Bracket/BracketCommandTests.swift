import Glibc
import Lab
import Testing

/// Brackets through the command line, under traffic.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct BracketCommandTests {
    @Test(arguments: [("primary", "standby"), ("standby", "primary")])
    func bothWaysWithoutLoss(from: String, to: String) throws {
        let ports = ["primary": "vfrep0", "standby": "tap0"]
        try BracketLab.run(at: from) { lab in
            let old = ports[from] ?? "", new = ports[to] ?? ""
            try lab.expectServed([old])
            // 1,000 frames; the bracket opens at 300 and closes at 700.
            var opened = 0
            var closing = 0
            let counts = try lab.send(1000) { number in
                if number == 300 {
                    let open = try lab.expect("switch vm1 --to \(to) --strategy bracket")
                    #expect(open.output.contains("each frame reaches both ports"))
                    #expect(open.output.contains("--to \(to) --close"))
                    opened = number
                }
                if number == 700 {
                    try lab.expect("switch vm1 --to \(to) --close")
                    closing = number
                }
            }
            for number in 0..<UInt32(1000) {
                #expect(counts["third0"]?[number] == nil && counts["uplink0"]?[number] == nil)
                let isOpen = number >= opened && number < closing
                let inOld = counts[old]?[number] ?? 0, inNew = counts[new]?[number] ?? 0
                // Frames are sent one after another, so no frame is in flight while a bracket opens or closes.
                #expect(inOld == (number < closing ? 1 : 0), "frame \(number) at \(old): \(inOld)")
                #expect(inNew == (number >= opened ? 1 : 0), "frame \(number) at \(new): \(inNew), open \(isOpen)")
            }
            try lab.expectServed([new])
            #expect(try lab.leftovers() == "")
            try lab.expect("verify vm1")
            let history = try lab.expect("history vm1 --report").output
            #expect(history.contains("400 frames copied"), "\(history)")
            let halves = try lab.expect("history vm1 --limit 2").output.split(separator: "\n").dropFirst()
            #expect(halves.first?.contains("switch (closes bracket)  \(from)") == true, "\(halves)")
            #expect(halves.last?.contains("switch (opens bracket)   \(from)") == true, "\(halves)")
        }
    }

    @Test(arguments: ["", "clsact", "handle ffff: ingress"])
    func framesUnderWayWhileItOpensAndClosesAreNotLost(qdisc: String) throws {
        let before: @Sendable () throws -> Void = {
            if !qdisc.isEmpty { try Command.script("tc qdisc add dev tap0 \(qdisc)") }
        }
        try BracketLab.run(before: before) { lab in
            for to in ["standby", "primary"] {
                let sender = try RunningCommand([
                    CommandLineLab.products + "/fdbsteer-bench", "send", "--interface", BridgeLab.far("uplink0"),
                    "--receive", BridgeLab.far("vfrep0"), "--receive", BridgeLab.far("tap0"), "--destination",
                    CommandLineLab.mac, "--rate", "5000", "--seconds", "1",
                ])
                usleep(300_000)
                try lab.expect("switch vm1 --to \(to) --strategy bracket")
                usleep(300_000)
                try lab.expect("switch vm1 --to \(to) --close")
                let sent = sender.wait()
                #expect(sent.exitCode == 0, "\(sent.errors)")
                // Frames that both ports got count as duplicated: the bracket was open.
                #expect(sent.output.contains(" 0 lost, ") && !sent.output.contains(" 0 duplicated"), "\(sent.output)")
            }
        }
    }

    /// nftables binds a chain to a name.
    @Test(arguments: ["", "handle ffff: ingress"]) func aStandbyThatIsRenamedIsCopiedAfterAReconcile(_ qdisc: String)
        throws
    {
        let before: @Sendable () throws -> Void = {
            if !qdisc.isEmpty { try Command.script("tc qdisc add dev tap0 \(qdisc)") }
        }
        try BracketLab.run(before: before) { lab in
            let none = try lab.leftovers()
            try lab.expect("switch vm1 --to standby --strategy bracket")
            try lab.expectServed(["vfrep0", "tap0"])
            try Command.script("ip link set tap0 name tap0new")
            let verify = try lab.lab.fdbsteer("verify vm1")
            if verify.exitCode == 0 {
                try lab.expectServed(["vfrep0", "tap0"])
            } else {
                #expect(
                    verify.exitCode == 3 && verify.output.contains("its copy is missing or wrong"), "\(verify.output)")
            }
            try lab.expect("reconcile")
            try lab.expect("verify vm1")
            try lab.expectServed(["vfrep0", "tap0"])
            try Command.script("ip link set tap0new name tap0")
            try lab.expect("abort vm1")
            #expect(try lab.leftovers() == none)
        }
    }

    @Test func whatItRefuses() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.refused("switch vm1 --to standby --strategy bracket", code: 3, saying: "unknown kind", "--kind")
            try lab.refused("switch vm1 --to remote --strategy bracket", code: 3, saying: "between primary and standby")
            try lab.refused("switch vm1 --to standby --close", code: 3, saying: "no bracket of guest vm1 is open")
            #expect(
                try lab.fdbsteer("switch vm1 --to standby --strategy bracket --allow-duplicates").exitCode == 0)
            try lab.refused("switch vm1 --to standby", code: 3, saying: "is open", "--close")
            try lab.refused("switch vm1 --to primary --strategy bracket", code: 3, saying: "is open")
            try lab.refused("switch vm1 --to remote --close", code: 3, saying: "from primary to standby")
            let again = try lab.fdbsteer("switch vm1 --to standby --strategy bracket")
            #expect(again.exitCode == 0 && again.output.contains("already open"))
            #expect(try lab.fdbsteer("abort vm1").exitCode == 0)
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            try lab.prepare("--kind netvsc")
            try lab.refused("switch vm1 --to standby --strategy bracket", code: 3, saying: "both NICs")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            try lab.prepare("--kind bond")
            try Command.script("ip link set vfrep0 down")
            #expect(try lab.fdbsteer("switch vm1 --to standby --strategy bracket").exitCode == 3)
        }
    }

    @Test func aRateThatIsTooHighIsRefused() throws {
        try BracketLab.run { lab in
            let sender = try RunningCommand([
                CommandLineLab.products + "/fdbsteer-bench", "send", "--interface", BridgeLab.far("uplink0"),
                "--destination", CommandLineLab.mac, "--rate", "2000", "--seconds", "2",
            ])
            usleep(500_000)
            let refused = try lab.lab.fdbsteer("switch vm1 --to standby --strategy bracket --bracket-max-rate 100")
            #expect(refused.exitCode == 3 && refused.errors.contains("frames a second"), "\(refused.errors)")
            #expect(try lab.phase() == "pinned")
            #expect(sender.wait().exitCode == 0)
            try lab.expect("switch vm1 --to standby --strategy bracket --bracket-max-rate 100")
        }
    }

    @Test(arguments: [false, true]) func statusVerifyAndTopologyShowIt(hasClsact: Bool) throws {
        try BracketLab.run(before: { if hasClsact { try Command.script("tc qdisc add dev tap0 clsact") } }) { lab in
            let none = try lab.leftovers()
            try lab.expect("switch vm1 --to standby --strategy bracket")
            _ = try lab.send(30)
            let status = try lab.expect("status").output
            #expect(status.contains("bracket to standby") && status.contains("30 frames copied"), "\(status)")
            #expect(status.contains("closes by"))
            let metrics = try lab.expect("metrics").output
            #expect(
                metrics.contains("fdbsteer_guest_states{state=\"bracket\"} 1")
                    && metrics.contains("fdbsteer_guest_states{state=\"interrupted\"} 0")
                    && metrics.contains("fdbsteer_bracket_opened_time_seconds{guest=\"vm1\"} "), "\(metrics)")
            let json = try lab.expect("status vm1 --json").output
            #expect(json.contains("\"frames_copied\" : 30") && json.contains("\"goal\" : \"standby\""), "\(json)")
            try lab.expect("verify vm1")
            #expect(try lab.expect("topology").output.contains("frames for vm1 are copied to vfrep0"))
            // Another program removes the copy and the entry.
            try Command.script(
                (hasClsact ? "tc qdisc del dev tap0 clsact" : "nft delete table netdev fdbsteer-vm1")
                    + "\nbridge fdb replace \(CommandLineLab.mac) dev third0 master static")
            #expect(try lab.expect("verify vm1", exitCode: 3).output.contains("copy is missing"))
            #expect(try lab.expect("status").output.contains("NO COPY"))
            let planned = try lab.expect("reconcile --dry-run").output
            #expect(planned.contains("would be made anew"), "\(planned)")
            try lab.expect("verify vm1", exitCode: 3)
            let adopted = try lab.expect("reconcile").output
            #expect(adopted.contains("its copy was made anew") && adopted.contains("stays open"), "\(adopted)")
            try lab.expect("verify vm1")
            try lab.expectServed(["vfrep0", "tap0"])
            try lab.expect("abort vm1")
            try lab.expectServed(["vfrep0"])
            // A clsact that others made and removed is not created again.
            #expect(try lab.leftovers() == (hasClsact ? "" : none))
        }
    }

    @Test func anIngressQdiscTakesItToNftables() throws {
        try BracketLab.run(before: { try Command.script("tc qdisc add dev tap0 handle ffff: ingress") }) { lab in
            let opened = try lab.expect("switch vm1 --to standby --strategy bracket").output
            #expect(opened.contains("by nftables"), "\(opened)")
            try lab.expectServed(["vfrep0", "tap0"])
            #expect(try lab.expect("status").output.contains("20 frames copied"))
            try lab.expect("verify vm1")
            try lab.expect("reconcile")
            try lab.expect("switch vm1 --to standby --close")
            try lab.expectServed(["tap0"])
            #expect(try lab.leftovers().contains("ingress"))
        }
    }

    @Test func aBracketOf64AddressesReachesBothPortsWithEach() throws {
        let addresses = (0..<64).map { "52:54:00:00:01:" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        let clsact: @Sendable () throws -> Void = { try Command.script("tc qdisc add dev tap0 clsact") }
        try BracketLab.run(addresses: addresses, before: clsact) { lab in
            let none = try lab.leftovers()
            try lab.expect("switch vm1 --to standby --strategy bracket")
            let filters = try Command.run(["tc", "filter", "show", "dev", "tap0", "egress"]).output
            #expect(filters.split(separator: "\n").count { $0.contains("handle") } == 1)
            for address in addresses {
                let counts = try lab.send(2, to: address)
                #expect(counts["vfrep0"] == FrameTally.once(2) && counts["tap0"] == FrameTally.once(2))
                #expect(counts["third0"] == [:])
            }
            try lab.expect("switch vm1 --to standby --close")
            #expect(try lab.leftovers() == none)
        }
    }

    @Test func aPrimaryThatVanishesLeavesTheStandbyServed() throws {
        try BracketLab.run { lab in
            try lab.expect("switch vm1 --to standby --strategy bracket")
            try Command.script("ip link del vfrep0")
            let tally = try FrameTally(["tap0-far", "third0-far"])
            let counts = try tally.send(
                20, from: "uplink0-far", to: CommandLineLab.mac, source: "52:54:00:fd:b5:fe")
            #expect(counts["tap0-far"] == FrameTally.once(20) && counts["third0-far"] == [:])
            try lab.expect("verify vm1", exitCode: 3)
            try lab.expect("switch vm1 --to primary --close", exitCode: 3)
            #expect(try lab.phase() == "bracketed")
            try lab.expect("switch vm1 --to standby --close")
            #expect(try lab.leftovers() == "")
            #expect(try lab.lab.lab.entry(CommandLineLab.mac)?.contains("tap0") == true)
        }
    }

    @Test func aGuestThatComesFromAnotherHostLearnsNoMoreOnceItIsHere() throws {
        try BracketLab.run(at: "remote") { lab in
            func isLearning() throws -> Bool {
                try Command.run(["bridge", "-d", "link", "show", "dev", "tap0"]).output.contains("learning on")
            }
            #expect(try isLearning())
            try lab.expect("switch vm1 --to primary --strategy bracket")
            try lab.expect("switch vm1 --to primary --close")
            #expect(try !isLearning())
            try lab.expect("verify vm1")
            #expect(try lab.leftovers() == "")
        }
    }

    @Test func aStandbyThatVanishesLetsTheGuestGoBack() throws {
        try BracketLab.run { lab in
            try lab.expect("switch vm1 --to standby --strategy bracket")
            try Command.script("ip link del tap0")
            try lab.expect("switch vm1 --to standby --close", exitCode: 3)
            try lab.expect("abort vm1")
            #expect(try lab.lab.lab.entry(CommandLineLab.mac)?.contains("vfrep0") == true)
            #expect(try lab.phase() == "pinned")
            #expect(try Command.run(["nft", "list", "tables", "netdev"]).output == "")
        }
    }

    @Test(arguments: [false, true]) func whatADryRunSaysCanBeTyped(hasClsact: Bool) throws {
        try BracketLab.run(before: { if hasClsact { try Command.script("tc qdisc add dev tap0 clsact") } }) { lab in
            let before = try lab.leftovers()
            let planned = try lab.expect("switch vm1 --to standby --strategy bracket --dry-run").output
            #expect(try lab.leftovers() == before && lab.phase() == "pinned")
            let commands = planned.split(separator: "\n").compactMap { line in
                line.split(separator: "as a command: ").dropFirst().first.map(String.init)
            }
            #expect(commands.count == 2, "\(planned)")
            for command in commands {
                let typed = try Command.run(["sh", "-c", command])
                #expect(typed.exitCode == 0, "\(command): \(typed.errors)")
            }
            try lab.expectServed(["vfrep0", "tap0"])
        }
    }

    @Test func releaseEndsItAndOthersObjectsSurvive() throws {
        try BracketLab.run(before: {
            try Command.script(
                """
                tc qdisc add dev tap0 clsact
                tc filter add dev tap0 egress protocol all prio 300 u32 match u32 0 0 action mirred egress mirror dev third0
                """)
        }) { lab in
            let before = try lab.leftovers()
            try lab.expect("switch vm1 --to standby --strategy bracket")
            #expect(try lab.leftovers() != before)
            try lab.expect("release vm1")
            let after = try lab.leftovers()
            #expect(!after.contains("bpf") && after.contains("u32") && after.contains("clsact"), "\(after)")
        }
    }

    /// The guest is on the side before: an entry that stayed on the standby would lead its frames away from it.
    @Test(arguments: [("primary", "standby", "vfrep0"), ("remote", "primary", "uplink0")])
    func releaseGivesTheEntriesBackOnTheSideBefore(from: String, to: String, port: String) throws {
        try BracketLab.run(at: from) { lab in
            try lab.expect("switch vm1 --to \(to) --strategy bracket")
            let planned = try lab.expect("release vm1 --dry-run").output
            #expect(
                planned.contains("bridge fdb replace \(CommandLineLab.mac) dev \(port) master dynamic"), "\(planned)")
            let released = try lab.expect("release vm1").output
            #expect(released.contains("released on \(from), 1 address given back to learning"), "\(released)")
            let entry = try Command.run(["bridge", "fdb", "get", CommandLineLab.mac, "br", "br0"]).output
            #expect(entry.contains("dev \(port) master br0") && !entry.contains("static"), "\(entry)")
            #expect(try lab.leftovers() == "")
            if from == "primary" { try lab.expectServed(["vfrep0"]) }
        }
    }

    /// A machine that has ended has no carrier on either port, and must be releasable.
    @Test func releaseEndsABracketWhoseGuestHasGone() throws {
        try BracketLab.run { lab in
            try lab.expect("switch vm1 --to standby --strategy bracket")
            try Command.script("ip link set \(BridgeLab.far("vfrep0")) down\nip link set \(BridgeLab.far("tap0")) down")
            let released = try lab.expect("release vm1").output
            #expect(released.contains("vfrep0 delivers nothing"), "\(released)")
            #expect(try lab.leftovers() == "")
            #expect(try lab.expect("status").output == "no guest is prepared\n")
        }
    }

    /// Who may not look at nftables is told so: a copy that is not seen is not missing.
    @Test func whoMayNotLookSeesNoFault() throws {
        try BracketLab.run { lab in
            // A user of root's group, who may read the records.
            func look(_ verb: String) throws -> Command {
                try Command.run(
                    ["setpriv", "--reuid=65534", "--clear-groups", CommandLineLab.binary]
                        + verb.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.lab.state])
            }
            try Command.script("chmod 0750 \(lab.lab.state)")
            for isOpen in [false, true] {
                if isOpen { try lab.expect("switch vm1 --to standby --strategy bracket") }
                let verify = try look("verify")
                #expect(verify.exitCode == 0, "\(verify.output)\(verify.errors)")
                #expect(verify.output.contains("vm1: as intended"), "\(verify.output)")
                #expect(verify.output.contains("not seen: the nftables table of br0: "), "\(verify.output)")
                #expect(
                    verify.output.contains("not seen: the copy of the open bracket: ") == isOpen, "\(verify.output)")
                let status = try look("status vm1").output
                #expect(status.contains("vm1: \(isOpen ? "under_way" : "ok"), on primary"), "\(status)")
                #expect(status.contains("  not seen: the nftables table of br0: "), "\(status)")
                #expect(!status.contains("NO COPY"), "\(status)")
                #expect(try look("status").output.contains("not all of 1 guest is seen, which takes CAP_NET_ADMIN"))
                let json = try look("status vm1 --json").output
                #expect(!json.contains("is_copy_right"), "\(json)")
            }
            #expect(!(try look("reconcile --dry-run").output.contains("anew")))
            #expect(try lab.expect("status vm1").output.contains("frames copied"))
        }
    }

    @Test func groupsAreServedOnBothPortsWhileItIsOpen() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.lab.makeQuerier()
            let group = "239.1.1.1"
            try lab.prepare("--kind net_failover")
            try Interface.transmit(
                GroupFrame.igmp2Report(group, from: CommandLineLab.mac), from: BridgeLab.far("vfrep0"))
            #expect(try lab.lab.waitForGroups("vfrep0", [group]) == [group])
            let bracket = BracketLab(lab: lab)
            func served() throws -> Set<String> {
                let primary = try Witness(BridgeLab.far("vfrep0"))
                let standby = try Witness(BridgeLab.far("tap0"))
                let frame = GroupFrame.datagram(
                    to: group, number: UInt32.random(in: 1...9999), from: "52:54:00:fd:b5:fe")
                try Interface.transmit(frame, from: BridgeLab.far("uplink0"))
                var ports = Set<String>()
                if standby.hears(frame) { ports.insert("tap0") }
                if primary.hears(frame) { ports.insert("vfrep0") }
                return ports
            }
            try Command.script("bridge link set dev vfrep0 mcast_flood off\nbridge link set dev tap0 mcast_flood off")
            #expect(try served() == ["vfrep0"])
            try bracket.expect("switch vm1 --to standby --strategy bracket")
            #expect(try served() == ["vfrep0", "tap0"])
            try bracket.expect("switch vm1 --to standby --close")
            #expect(try served() == ["tap0"])
            try bracket.expect("switch vm1 --to primary --strategy bracket")
            #expect(try served() == ["vfrep0", "tap0"])
            try bracket.expect("abort vm1")
            #expect(try served() == ["tap0"])
        }
    }
}
