import Glibc
import Lab
import Testing

/// A guest's multicast against the running kernel: memberships that move with the guest, and the effects if they do not.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct MulticastTests {
    private static let mac = CommandLineLab.mac
    private static let group = "239.1.1.1"

    /// A lab whose bridge snoops, with a guest on the primary that has joined a group of IPv4 and one of IPv6.
    private static func run(
        isModern: Bool = false, _ body: @escaping @Sendable (CommandLineLab) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.lab.makeQuerier(isModern: isModern)
            try Interface.transmit(
                isModern
                    ? GroupFrame.igmp3Report(group, .toInclude, sources: ["10.0.0.1"], from: mac)
                    : GroupFrame.igmp2Report(group, from: mac), from: BridgeLab.far("vfrep0"))
            try Interface.transmit(GroupFrame.mld1Report(solicitedNode, from: mac), from: BridgeLab.far("vfrep0"))
            #expect(try lab.lab.waitForGroups("vfrep0", joined(isModern)) == joined(isModern))
            try body(lab)
        }
    }

    private static let solicitedNode = GroupFrame.solicitedNode("fe80::5054:ff:fe00:1")

    private static func joined(_ isModern: Bool) -> [String] {
        isModern ? [group, "\(group) src 10.0.0.1", solicitedNode] : [group, solicitedNode]
    }

    /// The ports through which a frame from the uplink leaves.
    private static func reached(_ frame: [UInt8]) throws -> Set<String> {
        let primary = try Witness(BridgeLab.far("vfrep0"))
        let standby = try Witness(BridgeLab.far("tap0"))
        try Interface.transmit(frame, from: BridgeLab.far("uplink0"))
        var ports = Set<String>()
        if standby.hears(frame) { ports.insert("tap0") }
        if primary.hears(frame) { ports.insert("vfrep0") }
        return ports
    }

    private static func datagram(_ number: UInt32) -> [UInt8] {
        GroupFrame.datagram(to: group, number: number, from: "52:54:00:fd:b5:fe")
    }

    @Test func releaseLeavesWhatWasThere() throws {
        try MulticastTests.run { lab in
            try BridgeLab.sendFrame(behind: "vfrep0", source: MulticastTests.mac)
            let before = (try lab.table(), try lab.portGroups())
            #expect(before.1.count == 2, "\(before.1)")
            try lab.prepare()
            for side in ["standby", "primary"] {
                #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
            }
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            // Entries are learned again, groups are on their original port, and learning is on.
            #expect(try lab.table() == before.0)
            #expect(try lab.portGroups() == before.1)
        }
    }

    @Test(arguments: [false, true]) func membershipsMoveWithTheGuest(isModern: Bool) throws {
        try MulticastTests.run(isModern: isModern) { lab in
            let joined = MulticastTests.joined(isModern)
            try lab.prepare()
            #expect(try MulticastTests.reached(MulticastTests.datagram(1)) == ["vfrep0"])
            let planned = try lab.fdbsteer("switch vm1 --to standby --dry-run")
            let join = "bridge mdb add dev br0 port tap0 grp \(MulticastTests.solicitedNode) temp"
            #expect(planned.output.contains(join))
            #expect(planned.output.contains("bridge mdb del dev br0 port vfrep0 grp \(MulticastTests.group)"))
            #expect(try lab.lab.groups("tap0").isEmpty, "a dry run joined groups")

            let moved = try lab.fdbsteer("switch vm1 --to standby")
            #expect(moved.exitCode == 0, "\(moved.errors)")
            #expect(moved.output.contains("2 group memberships moved"), "\(moved.output)")
            #expect(try lab.lab.groups("tap0") == joined)
            #expect(try lab.lab.groups("vfrep0").isEmpty)
            #expect(try MulticastTests.reached(MulticastTests.datagram(2)) == ["tap0"])
            // Joined in the same way as before: reports keep it alive, and without them it ends.
            #expect(try Command.run(["bridge", "mdb", "show"]).output.contains("permanent") == false)

            let again = try lab.fdbsteer("switch vm1 --to standby")
            #expect(again.output.contains("already on standby") && !again.output.contains("group"))
            let back = try lab.fdbsteer("switch vm1 --to primary --json")
            #expect(back.output.contains("\"group_memberships_moved\" : 2"), "\(back.output)")
            #expect(try lab.lab.groups("vfrep0") == joined)
            #expect(try lab.lab.groups("tap0").isEmpty)
        }
    }

    @Test func noFrameOfAGroupIsLostOnTheWay() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            let primary = try Witness(BridgeLab.far("vfrep0"))
            let standby = try Witness(BridgeLab.far("tap0"))
            let stop = StopFlag()
            let sent = Counter()
            let sender = try Namespace.thread {
                guard let transmitter = try? Transmitter(BridgeLab.far("uplink0")) else { return }
                // One frame in 0.2 ms, so the witnesses' buffers hold them until they are read.
                while !stop.isSet, (try? transmitter.send(MulticastTests.datagram(sent.value))) != nil {
                    sent.increment()
                    usleep(200)
                }
            }
            for side in ["standby", "primary", "standby", "primary", "standby"] {
                usleep(20_000)
                #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
            }
            usleep(20_000)
            stop.set()
            sender.join()
            usleep(50_000)
            let (left, right) = (primary.numbers(of: MulticastTests.group), standby.numbers(of: MulticastTests.group))
            let missing = Set(0..<sent.value).subtracting(left).subtracting(right)
            #expect(sent.value > 100 && !left.isEmpty && !right.isEmpty)
            #expect(missing.isEmpty, "\(missing.count) of \(sent.value) frames were lost")
        }
    }

    /// The contrast: if only the unicast entry moves, neighbour solicitations go where the guest no longer listens.
    @Test func solicitationsReachTheGuestOnlyIfItsGroupsMove() throws {
        try MulticastTests.run { lab in
            let solicitation = GroupFrame.neighbourSolicitation(
                for: "fe80::5054:ff:fe00:1", from: "52:54:00:fd:b5:fe")
            try lab.prepare()
            #expect(try MulticastTests.reached(solicitation) == ["vfrep0"])
            try Command.script("bridge fdb replace \(MulticastTests.mac) dev tap0 master static")
            #expect(try MulticastTests.reached(solicitation) == ["vfrep0"])
            try Command.script("bridge fdb replace \(MulticastTests.mac) dev vfrep0 master static")
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            #expect(try MulticastTests.reached(solicitation) == ["tap0"])
        }
    }

    @Test func aBridgeThatDoesNotSnoopIsLeftAlone() throws {
        try CommandLineLab.run { lab in
            try Command.script("ip link set br0 type bridge mcast_snooping 0")
            try lab.prepare()
            let moved = try lab.fdbsteer("switch vm1 --to standby --json")
            #expect(moved.exitCode == 0, "\(moved.errors)")
            #expect(!moved.output.contains("group"))
            let trace = lab.state + "/trace"
            let traced = try Command.run(
                [
                    "strace", "-f", "-e", "trace=sendmsg", "-o", trace, CommandLineLab.binary, "switch", "vm1", "--to",
                    "primary",
                ], environment: ["FDBSTEER_STATE": lab.state])
            #expect(traced.exitCode == 0)
            #expect(try Command.run(["grep", "-ci", "MDB", trace]).output == "0\n")
        }
    }

    @Test func onASharedPortMembershipsAreLeftToAge() throws {
        try MulticastTests.run { lab in
            try BridgeLab.sendFrame(behind: "vfrep0", source: "52:54:00:00:00:77")
            try lab.prepare()
            // The write of the intent is refused: what is not done is not told.
            let refused = try Command.run(
                [
                    "strace", "-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e",
                    "inject=pwrite64:error=EDQUOT:when=2", CommandLineLab.binary, "switch", "vm1", "--to", "standby",
                ], environment: ["FDBSTEER_STATE": lab.state])
            #expect(refused.exitCode == 3, "\(refused.output)\(refused.errors)")
            #expect(
                !(refused.output + refused.errors).contains("left there to age"), "\(refused.output)\(refused.errors)")
            let moved = try lab.fdbsteer("switch vm1 --to standby")
            #expect(moved.exitCode == 0, "\(moved.errors)")
            #expect(moved.output.contains("2 group memberships left there to age"), "\(moved.output)")
            #expect(try lab.lab.groups("tap0") == MulticastTests.joined(false))
            #expect(try lab.lab.groups("vfrep0") == MulticastTests.joined(false))
            #expect(try MulticastTests.reached(MulticastTests.datagram(3)) == ["vfrep0", "tap0"])
        }
    }

    @Test func aPortThatASecondGuestSharesSinceIsNotCleared() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            let second = try lab.fdbsteer(
                "prepare vm2 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address 52:54:00:00:00:02")
            #expect(second.exitCode == 0, "\(second.errors)")
            let moved = try lab.fdbsteer("switch vm1 --to standby")
            #expect(moved.output.contains("serves another guest too"), "\(moved.output)\(moved.errors)")
            #expect(try lab.lab.groups("vfrep0") == MulticastTests.joined(false))
        }
    }

    @Test func permanentMembershipsOfOthersStayAndTheirCopiesMoveOn() throws {
        try MulticastTests.run { lab in
            try Command.script("bridge mdb add dev br0 port vfrep0 grp 239.1.1.7 permanent")
            try lab.prepare()
            #expect(try lab.fdbsteer("switch vm1 --to standby").output.contains("3 group memberships moved"))
            #expect(try lab.lab.groups("tap0").contains("239.1.1.7 permanent"))
            #expect(try lab.lab.groups("vfrep0") == ["239.1.1.7 permanent"])
            // The copy, marked as fdbsteer's, is removed when the guest leaves.
            #expect(try lab.fdbsteer("switch vm1 --to primary").exitCode == 0)
            #expect(try lab.lab.groups("tap0").isEmpty)
            #expect(try lab.lab.groups("vfrep0") == ["239.1.1.1", "239.1.1.7 permanent", MulticastTests.solicitedNode])
        }
    }

    @Test func toTheUplinkOnlyWhereNoRouterIsBehindIt() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            try Interface.transmit(
                GroupFrame.igmp2Query(from: "52:54:00:fd:b5:fe"), from: BridgeLab.far("uplink0"))
            usleep(50_000)
            let moved = try lab.fdbsteer("switch vm1 --to remote")
            #expect(moved.exitCode == 0, "\(moved.errors)")
            // The querier is an IGMP one: it gets those groups anyway, and no others.
            #expect(try lab.lab.groups("uplink0") == [MulticastTests.solicitedNode])
            #expect(try lab.lab.groups("vfrep0").isEmpty)
        }
    }

    /// Between the first read of the groups and the end, another group is joined on the old port.
    @Test func whatIsJoinedDuringTheMoveFollows() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            // The sends: probe, ports, entries, groups, counters, joins, move, counters, re-read. strace delays the re-read.
            let running = try RunningCommand(
                MulticastTests.strace(lab, "delay_enter=1500000:when=9"), environment: ["FDBSTEER_STATE": lab.state])
            try MulticastTests.waitForMove(lab)
            try Interface.transmit(
                GroupFrame.igmp2Report("239.1.1.2", from: MulticastTests.mac), from: BridgeLab.far("vfrep0"))
            let command = running.wait()
            #expect(command.exitCode == 0, "\(command.errors)")
            #expect(command.output.contains("3 group memberships moved"), "\(command.output)")
            #expect(try lab.lab.groups("tap0") == ["239.1.1.1", "239.1.1.2", MulticastTests.solicitedNode])
            #expect(try lab.lab.groups("vfrep0").isEmpty)
        }
    }

    @Test func aFailedMoveRestoresTheGroups() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            let before = try lab.table()
            // The standby had joined one of them before: that membership stays.
            try Command.script("bridge mdb add dev br0 port tap0 grp \(MulticastTests.group) temp")
            let running = try RunningCommand(
                MulticastTests.strace(lab, "delay_enter=1500000:when=9"), environment: ["FDBSTEER_STATE": lab.state])
            try MulticastTests.waitForMove(lab)
            #expect(try lab.lab.groups("tap0") == MulticastTests.joined(false))
            try Command.script("bridge fdb replace \(MulticastTests.mac) dev uplink0 master static sticky")
            let command = running.wait()
            #expect(command.exitCode == 4, "\(command.output)\(command.errors)")
            #expect(try lab.lab.groups("tap0") == [MulticastTests.group])
            #expect(try lab.lab.groups("vfrep0") == MulticastTests.joined(false))
            try Command.script("bridge fdb replace \(MulticastTests.mac) dev vfrep0 master static")
            #expect(try lab.table() == before)
        }
    }

    @Test func aGroupThatIsRefusedStopsTheMove() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            let before = try lab.table()
            // Between the read of the groups and the joins the bridge stops snooping.
            let running = try RunningCommand(
                MulticastTests.strace(lab, "delay_enter=1500000:when=6"), environment: ["FDBSTEER_STATE": lab.state])
            usleep(700_000)
            try Command.script("ip link set br0 type bridge mcast_snooping 0")
            let command = running.wait()
            #expect(command.exitCode == 4, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("refused to let the new port join group"), "\(command.errors)")
            #expect(command.errors.contains("multicast processing is disabled"), "\(command.errors)")
            #expect(try lab.table() == before)
        }
    }

    @Test func aKilledMoveIsClearedUpByAbort() throws {
        try MulticastTests.run { lab in
            try lab.prepare()
            // Killed after the joins and before the move: the entries are unmoved.
            _ = try Command.run(
                MulticastTests.strace(lab, "signal=KILL:when=7"), environment: ["FDBSTEER_STATE": lab.state])
            #expect(try lab.lab.groups("tap0") == MulticastTests.joined(false))
            let abort = try lab.fdbsteer("abort vm1")
            #expect(abort.exitCode == 0, "\(abort.errors)")
            #expect(try lab.lab.groups("tap0").isEmpty)
            #expect(try lab.lab.groups("vfrep0") == MulticastTests.joined(false))
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
        }
    }

    /// Waits until the guest's entry is on the standby.
    private static func waitForMove(_ lab: CommandLineLab) throws {
        for _ in 0..<600 {
            if try lab.lab.entry(mac)?.contains("tap0") == true { return }
            usleep(2000)
        }
        Issue.record("the entry did not move")
    }

    private static func strace(_ lab: CommandLineLab, _ injection: String) -> [String] {
        [
            "strace", "-f", "-o", lab.state + "/trace", "-e", "trace=sendmsg", "-e", "inject=sendmsg:\(injection)",
            CommandLineLab.binary, "switch", "vm1", "--to", "standby",
        ]
    }
}
