import FDB
import Glibc
import Lab
import Netlink
import TestSupport
import Testing

/// The kept groups of a bridge, compared with those that the running kernel shows.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"), .serialized)
struct GroupWatchTests {
    private static let mac = "52:54:00:00:00:01"

    /// A bridge that is a querier, its ports, and a watch, in a namespace.
    private struct Ground: ~Copyable {
        let lab: BridgeLab
        let isModern: Bool
        var socket: CommandSocket
        var watch: GroupWatch
        let bridge: Int32
        let ports: [Int32]

        init(isModern: Bool = false, membershipSeconds: Int = 260, receiveBuffer: Int32 = 8 << 20) throws {
            let lab = try BridgeLab()
            try lab.makeQuerier(isModern: isModern, membershipSeconds: membershipSeconds)
            try Command.script("ip link set br0 type bridge mcast_last_member_interval 2")
            let indexes = try [lab.bridge, lab.primary, lab.standby, lab.uplink].map {
                try #require(try Interface.index(of: $0))
            }
            let watch = try GroupWatch(receiveBuffer: receiveBuffer)
            let socket = try CommandSocket()
            self.lab = lab
            self.isModern = isModern
            self.watch = watch
            self.socket = socket
            (bridge, ports) = (indexes[0], Array(indexes.dropFirst()))
        }

        mutating func known() throws -> GroupTable { try watch.groups(of: bridge, on: ports, using: &socket) }

        /// The known memberships, in words, once they match a dump; nil if they never do.
        ///
        /// Timers end memberships between the two reads, so a single comparison says little.
        mutating func agreed() throws -> [String]? {
            for _ in 0..<20 {
                let known = GroupWatchTests.words(try self.known(), ports)
                if known == GroupWatchTests.words(try GroupTable.snapshot(bridge: bridge, using: &socket), ports) {
                    return known
                }
                usleep(30_000)
            }
            return nil
        }

        func report(_ frame: [UInt8], behind port: String) throws {
            try Interface.transmit(frame, from: BridgeLab.far(port))
            usleep(20_000)
        }
    }

    /// Everything known about memberships except their ages, and about routers.
    private static func words(_ table: GroupTable, _ ports: [Int32]) -> [String] {
        let entries = table.entries.filter { ports.contains($0.port) }.map {
            "\($0) \($0.mode?.rawValue ?? 9) \($0.protocol?.rawValue ?? 0)"
        }
        let routers = table.routers.map { "router \($0.port) \($0.servesIPv4) \($0.servesIPv6)" }
        return (entries + routers).sorted()
    }

    @Test func whatIsToldIsKnownWithoutAnotherDump() throws {
        try Namespace.run {
            var ground = try Ground(membershipSeconds: 1)
            #expect(try ground.known().hasTimers)
            try ground.report(GroupFrame.igmp2Report("239.1.1.1", from: GroupWatchTests.mac), behind: "vfrep0")
            try ground.report(GroupFrame.mld1Report("ff02::1:ff12:3456", from: GroupWatchTests.mac), behind: "tap0")
            try Command.script(
                "bridge mdb add dev br0 port tap0 grp 239.1.1.2 permanent\n"
                    + "bridge mdb add dev br0 port tap0 grp 01:80:c2:01:02:03 permanent")
            let words = try #require(try ground.agreed())
            #expect(words.count == 4, "\(words)")
            #expect(try ground.known().hasTimers == false)
            // A leave ends one membership, its age another.
            try ground.report(GroupFrame.igmp2Leave("239.1.1.1", from: GroupWatchTests.mac), behind: "vfrep0")
            usleep(1_200_000)
            #expect(try ground.agreed()?.count == 2)
            // A permanent membership ends when the port leaves the bridge, and not before.
            try Command.script("ip link set tap0 down")
            #expect(try ground.agreed()?.count == 2)
            try Command.script("ip link set tap0 nomaster")
            #expect(try ground.agreed()?.isEmpty == true)
            #expect(ground.watch.dumps == 1)
        }
    }

    @Test func switchingSnoopingAndTheBridgeOffAndOn() throws {
        try Namespace.run {
            var ground = try Ground()
            _ = try ground.known()
            try Command.script("bridge mdb add dev br0 port tap0 grp 239.1.1.2 permanent")
            for (off, on) in [("type bridge mcast_snooping 0", "type bridge mcast_snooping 1"), ("down", "up")] {
                try ground.report(GroupFrame.igmp2Report("239.1.1.1", from: GroupWatchTests.mac), behind: "vfrep0")
                #expect(try ground.agreed()?.count == 2)
                for setting in [off, on] {
                    try Command.script("ip link set br0 \(setting)")
                    usleep(50_000)
                    #expect(try ground.agreed()?.count == 1, "\(setting)")
                }
            }
            #expect(ground.watch.dumps == 1)
        }
    }

    @Test func routersAreReadAnew() throws {
        try Namespace.run {
            var ground = try Ground()
            #expect(try ground.agreed() == [])
            for (step, setting) in [2, 1, 3, 0].enumerated() {
                try Command.script("bridge link set dev vfrep0 mcast_router \(setting)")
                #expect(try ground.agreed()?.count == [1, 0, 1, 0][step], "mcast_router \(setting)")
            }
            #expect(ground.watch.dumps == 5)
            try Interface.transmit(GroupFrame.igmp2Query(from: GroupWatchTests.mac), from: BridgeLab.far("tap0"))
            usleep(50_000)
            #expect(try ground.agreed() == ["router \(ground.ports[1]) true false"])
        }
    }

    @Test func severalMembersBehindOnePort() throws {
        try Namespace.run {
            var ground = try Ground()
            try Command.script("bridge link set dev tap0 mcast_to_unicast on")
            _ = try ground.known()
            let members = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
            for (count, member) in members.enumerated() {
                try ground.report(GroupFrame.igmp2Report("239.1.1.1", from: member), behind: "tap0")
                #expect(try ground.agreed()?.count == count + 1)
            }
            // One member leaves, the other does not.
            try ground.report(GroupFrame.igmp2Leave("239.1.1.1", from: members[0]), behind: "tap0")
            usleep(300_000)
            #expect(try ground.agreed()?.count == 1)
        }
    }

    @Test func whatWasLostIsReadAgain() throws {
        try Namespace.run {
            var ground = try Ground(receiveBuffer: 4096)
            _ = try ground.known()
            let port = ground.ports[1]
            let bridge = ground.bridge
            let keys = try (0..<200).map { GroupKey(try #require(GroupAddress("239.1.1.\($0)"))) }
            let joins = keys.map { GroupRequest.join($0, port: port, bridge: bridge, state: .temporary) }
            #expect(ground.socket.perform(joins).allSatisfy { $0 == nil })
            // The notifications that fitted are received before the loss of the others is reported.
            let isComplete = try ground.watch.hear()
            let isKept = ground.watch.keeps(bridge)
            #expect(!isComplete && !isKept)
            #expect(try ground.agreed()?.count == 200)
            #expect(ground.watch.dumps == 2)
            let leaves = keys.map { GroupRequest.leave($0, port: port, bridge: bridge) }
            #expect(ground.socket.perform(leaves).allSatisfy { $0 == nil })
            #expect(try ground.agreed() == [])
            #expect(ground.watch.dumps == 3)
        }
    }

    /// Sockets that join and leave, requests, ports and settings that change, in any order.
    @Test(arguments: [false, true], [1, 2, 3, 4] as [UInt64]) func anyOrderOfChanges(
        isModern: Bool, seed: UInt64
    ) throws {
        try Namespace.run {
            var random = Dice(seed)
            // Source lists change by themselves as they age.
            var ground = try Ground(isModern: isModern, membershipSeconds: isModern ? 1 : 260)
            for port in ["vfrep0", "tap0"] {
                try Command.script("ip addr add 192.0.2.\(port.count)/24 dev \(BridgeLab.far(port))")
            }
            var members: [Member] = []
            for round in 0..<40 {
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    try GroupWatchTests.change(&ground, &members, &random)
                }
                #expect(try ground.agreed() != nil, "round \(round)")
            }
            // Without a new dump each time. With source lists a new dump is necessary.
            if !isModern { #expect(ground.watch.dumps <= 3, "\(ground.watch.dumps) dumps") }
        }
    }

    private static func change(
        _ ground: inout Ground, _ members: inout [Member], _ random: inout Dice
    ) throws {
        let port = Int.random(in: 0...1, using: &random)
        let name = port == 0 ? "vfrep0" : "tap0"
        let group = "239.1.1.\(Int.random(in: 1...12, using: &random))"
        let key = GroupKey(try #require(GroupAddress(group)))
        let (index, bridge) = (ground.ports[port], ground.bridge)
        switch Int.random(in: 0..<21, using: &random) {
        case 0..<6: members.append(try Member(group, on: BridgeLab.far(name)))
        case 6..<9: members.removeFirst(min(members.count, Int.random(in: 1...3, using: &random)))
        case 9..<14:
            let isRenewing = Bool.random(using: &random)
            let state: GroupState = Bool.random(using: &random) ? .permanent : .temporary
            _ = ground.socket.perform([
                GroupRequest.join(key, port: index, bridge: bridge, state: state, renewing: isRenewing)
            ])
        case 14..<18: _ = ground.socket.perform([GroupRequest.leave(key, port: index, bridge: bridge)])
        case 18...19 where ground.isModern:
            let sources = (1...Int.random(in: 1...3, using: &random)).map { "192.0.2.\(100 + $0)" }
            let kind: GroupFrame.Record = Bool.random(using: &random) ? .toInclude : .toExclude
            try ground.report(GroupFrame.igmp3Report(group, kind, sources: sources, from: mac), behind: name)
        case 18...19: try ground.report(GroupFrame.igmp2Leave(group, from: mac), behind: name)
        default: try Command.script("ip link set \(name) down\nip link set \(name) up")
        }
    }

    /// A socket that is a member of a group.
    private final class Member {
        private let descriptor: Int32

        init(_ group: String, on interface: String) throws {
            descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            var request = ip_mreqn()
            request.imr_ifindex = try #require(try Interface.index(of: interface))
            #expect(inet_pton(AF_INET, group, &request.imr_multiaddr) == 1)
            let size = socklen_t(MemoryLayout<ip_mreqn>.size)
            #expect(setsockopt(descriptor, Int32(IPPROTO_IP), IP_ADD_MEMBERSHIP, &request, size) == 0)
        }

        deinit { close(descriptor) }
    }
}
