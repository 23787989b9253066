import FDB
import Glibc
import Lab
import Netlink
import System
import Testing

/// The running kernel's behaviour with group memberships, on which ``GroupMove`` relies.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct GroupTableTests {
    private static let mac = "52:54:00:00:00:01"

    /// A bridge that is a querier, its ports and a socket, in a namespace.
    private struct Ground: ~Copyable {
        let lab: BridgeLab
        var socket: CommandSocket
        let bridge: Int32
        let primary: Int32
        let standby: Int32

        init(isModern: Bool = false, membershipSeconds: Int = 260) throws {
            let lab = try BridgeLab()
            try lab.makeQuerier(isModern: isModern, membershipSeconds: membershipSeconds)
            let indexes = try [lab.bridge, lab.primary, lab.standby].map { try #require(try Interface.index(of: $0)) }
            let socket = try CommandSocket()
            self.lab = lab
            self.socket = socket
            (bridge, primary, standby) = (indexes[0], indexes[1], indexes[2])
        }

        mutating func table() throws -> GroupTable { try GroupTable.snapshot(bridge: bridge, using: &socket) }

        mutating func join(
            _ group: String, state: GroupState = .temporary, renewing: Bool = false, mode: GroupFilterMode? = nil,
            sources: [String] = []
        ) throws -> KernelErrno? {
            let key = GroupKey(try #require(GroupAddress(group)))
            let request = GroupRequest.join(
                key, port: standby, bridge: bridge, state: state, renewing: renewing, mode: mode,
                sources: sources.compactMap { IPAddress($0) })
            return socket.perform([request])[0]?.errno
        }

        mutating func leave(_ group: String) throws -> KernelErrno? {
            let key = GroupKey(try #require(GroupAddress(group)))
            return socket.perform([GroupRequest.leave(key, port: standby, bridge: bridge)])[0]?.errno
        }

        func report(_ frame: [UInt8], behind port: String) throws {
            try Interface.transmit(frame, from: BridgeLab.far(port))
            usleep(30_000)
        }
    }

    @Test func reportsBecomeMembershipsOfTheirPort() throws {
        try Namespace.run {
            var ground = try Ground()
            try ground.report(GroupFrame.igmp2Report("239.1.1.1", from: GroupTableTests.mac), behind: "vfrep0")
            try ground.report(GroupFrame.mld1Report("ff02::1:ff12:3456", from: GroupTableTests.mac), behind: "vfrep0")
            let table = try ground.table()
            #expect(table.isExact)
            let entries = table.entries(on: ground.primary)
            #expect(Set(entries.map(\.key.description)) == ["239.1.1.1", "ff02::1:ff12:3456"])
            #expect(entries.allSatisfy { !$0.isPermanent && $0.protocol == .kernel && $0.timer > 25_000 })
            #expect(table.entries(on: ground.standby).isEmpty)
            // The host's own groups are marked as such.
            #expect(table.entries.contains { $0.isHost })
            // A leave ends it if the query that follows gets no answer.
            try Command.script("ip link set br0 type bridge mcast_last_member_interval 5")
            try ground.report(GroupFrame.igmp2Leave("239.1.1.1", from: GroupTableTests.mac), behind: "vfrep0")
            #expect(try ground.lab.waitForGroups("vfrep0", ["ff02::1:ff12:3456"]) == ["ff02::1:ff12:3456"])
        }
    }

    @Test func aTemporaryCopyAgesAndReportsOnItsPortRefreshIt() throws {
        try Namespace.run {
            var ground = try Ground(membershipSeconds: 1)
            #expect(try ground.join("239.1.1.1") == nil)
            #expect(try ground.join("239.1.1.2") == nil)
            #expect(try ground.join("239.1.1.3", state: .permanent) == nil)
            usleep(600_000)
            try ground.report(GroupFrame.igmp2Report("239.1.1.2", from: GroupTableTests.mac), behind: "tap0")
            // A report on another port does not help.
            try ground.report(GroupFrame.igmp2Report("239.1.1.1", from: GroupTableTests.mac), behind: "vfrep0")
            usleep(600_000)
            let table = try ground.table()
            #expect(Set(table.entries(on: ground.standby).map(\.key.description)) == ["239.1.1.2", "239.1.1.3"])
            usleep(800_000)
            #expect(try ground.lab.groups("tap0") == ["239.1.1.3 permanent"])
            // A leave does not end a permanent membership.
            try Command.script("ip link set br0 type bridge mcast_last_member_interval 5")
            try ground.report(GroupFrame.igmp2Leave("239.1.1.3", from: GroupTableTests.mac), behind: "tap0")
            usleep(200_000)
            #expect(try ground.lab.groups("tap0") == ["239.1.1.3 permanent"])
        }
    }

    @Test func whatReplacesWhat() throws {
        try Namespace.run {
            var ground = try Ground()
            #expect(try ground.join("239.1.1.1", state: .permanent) == nil)
            #expect(try ground.join("239.1.1.1") == .exists)
            // NLM_F_REPLACE makes a permanent membership temporary: never send it for one of another owner.
            #expect(try ground.join("239.1.1.1", renewing: true) == nil)
            #expect(try ground.table().entries(on: ground.standby).map(\.isPermanent) == [false])
            try Command.script("ip link set br0 type bridge mcast_membership_interval 30000")
            #expect(try ground.join("239.1.1.1", renewing: true) == nil)
            #expect(try ground.table().entries(on: ground.standby).first.map { $0.timer > 26_000 } == true)
            #expect(try ground.leave("239.1.1.1") == nil)
            #expect(try ground.leave("239.1.1.1") == .invalid)
            // This group cannot be joined.
            #expect(try ground.join("224.0.0.5") == .invalid)
            #expect(try ground.join("ff02::1") == .invalid)
            #expect(try ground.join("01:80:c2:01:02:03") == .invalid)
            #expect(try ground.join("01:80:c2:01:02:03", state: .permanent) == nil)
            try Command.script("ip link set br0 type bridge mcast_snooping 0")
            #expect(try ground.join("239.1.1.2") == .invalid)
        }
    }

    @Test func sourceListsAreReadAndWritten() throws {
        try Namespace.run {
            var ground = try Ground(isModern: true)
            let wanted = ["192.0.2.1", "192.0.2.2"]
            try ground.report(
                GroupFrame.igmp3Report("239.1.1.1", .toInclude, sources: wanted, from: GroupTableTests.mac),
                behind: "vfrep0")
            try ground.report(
                GroupFrame.igmp3Report("239.1.1.2", .toExclude, sources: ["192.0.2.3"], from: GroupTableTests.mac),
                behind: "vfrep0")
            #expect(try ground.join("239.1.1.1", mode: .include, sources: wanted) == nil)
            #expect(try ground.join("239.1.1.2", mode: .exclude, sources: ["192.0.2.3"]) == nil)
            #expect(try ground.join("239.1.1.3", mode: .include) == .invalid)
            let table = try ground.table()
            func shape(_ port: Int32) -> Set<String> {
                Set(
                    table.entries(on: port).map { entry in
                        let sources = entry.sources.sorted().map(\.description)
                        return "\(entry.key) \(entry.mode?.rawValue ?? 9) \(sources) \(entry.flags.rawValue)"
                    })
            }
            #expect(shape(ground.primary) == shape(ground.standby))
            #expect(shape(ground.primary).count == 5)
            // The (S,G) entries of a (*,G) are removed with it.
            #expect(try ground.leave("239.1.1.1") == nil)
            #expect(try ground.leave("239.1.1.2") == nil)
            #expect(try ground.lab.groups("tap0").isEmpty)
        }
    }

    /// The ports that get the frames of a group: this decides what is worth moving.
    @Test func whoGetsTheFramesOfAGroup() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var number: UInt32 = 0
            func reached() throws -> Set<String> {
                number += 1
                let frame = GroupFrame.datagram(to: "239.1.1.1", number: number, from: lab.peerMAC)
                let primary = try Witness(BridgeLab.far("vfrep0"))
                let standby = try Witness(BridgeLab.far("tap0"))
                try Interface.transmit(frame, from: BridgeLab.far("uplink0"))
                var ports = Set<String>()
                if primary.hears(frame) { ports.insert("vfrep0") }
                if standby.hears(frame) { ports.insert("tap0") }
                return ports
            }
            // Without a querier the bridge does not trust its snooping: it floods, unless the port refuses.
            try Command.script("bridge mdb add dev br0 port vfrep0 grp 239.1.1.1 temp")
            #expect(try reached() == ["vfrep0", "tap0"])
            try Command.script("bridge link set dev vfrep0 mcast_flood off")
            #expect(try reached() == ["tap0"])
            // With a querier, members and router ports get the frames; mcast_flood plays no part.
            try lab.makeQuerier()
            #expect(try reached() == ["vfrep0"])
            try Command.script("bridge mdb del dev br0 port vfrep0 grp 239.1.1.1")
            #expect(try reached() == [])
            try Interface.transmit(
                GroupFrame.igmp2Query(from: lab.guestMAC, tenths: 20), from: BridgeLab.far("tap0"))
            usleep(50_000)
            // A new querier may know members that the bridge does not: the bridge floods while they are queried.
            try Command.script("bridge link set dev vfrep0 mcast_flood on")
            #expect(try reached() == ["vfrep0", "tap0"])
            usleep(2_200_000)
            #expect(try reached() == ["tap0"])
            try Command.script("bridge link set dev vfrep0 mcast_router 2")
            #expect(try reached() == ["vfrep0", "tap0"])
        }
    }

    @Test func routerPorts() throws {
        try Namespace.run {
            var ground = try Ground()
            #expect(try ground.table().routers.isEmpty)
            try Interface.transmit(GroupFrame.igmp2Query(from: GroupTableTests.mac), from: BridgeLab.far("tap0"))
            usleep(50_000)
            try Command.script("bridge link set dev vfrep0 mcast_router 2")
            let table = try ground.table()
            let ipv4 = GroupKey(try #require(GroupAddress("239.1.1.1")))
            let ipv6 = GroupKey(try #require(GroupAddress("ff02::1:ff12:3456")))
            // An IGMP query says nothing about MLD.
            #expect(table.isRouter(ground.standby, for: ipv4) && !table.isRouter(ground.standby, for: ipv6))
            #expect(table.isRouter(ground.primary, for: ipv4) && table.isRouter(ground.primary, for: ipv6))
        }
    }

    @Test func theMonitorHearsChanges() throws {
        try Namespace.run {
            var ground = try Ground()
            let monitor = try MonitorSocket(groups: [.mdb])
            try ground.report(GroupFrame.igmp2Report("239.1.1.1", from: GroupTableTests.mac), behind: "vfrep0")
            #expect(try ground.join("239.1.1.1") == nil)
            #expect(try ground.leave("239.1.1.1") == nil)
            var heard: [String] = []
            while try monitor.receive({ (header, payload) throws(NetlinkError) in
                for change in try GroupChange.changes(header, payload) {
                    guard case .entry(let entry) = change.subject, !entry.isHost else { continue }
                    heard.append("\(change.isRemoval ? "-" : "+")\(entry.port == ground.standby ? "tap0" : "vfrep0")")
                }
            }) {}
            #expect(heard == ["+vfrep0", "+tap0", "-tap0"])
        }
    }

    @Test func aDumpInSeveralPartsMissesNothing() throws {
        try Namespace.run {
            var ground = try Ground()
            func keys(_ first: Int) throws -> [GroupKey] {
                try (0..<1500).map {
                    GroupKey(try #require(GroupAddress("239.\(first).\($0 / 250).\($0 % 250)")))
                }
            }
            let kept = try keys(1)
            let (bridge, port) = (ground.bridge, ground.standby)
            let joins = kept.map { GroupRequest.join($0, port: port, bridge: bridge, state: .temporary) }
            #expect(ground.socket.perform(joins).allSatisfy { $0 == nil })
            #expect(try ground.table().isExact)
            let passing = try keys(2)
            let stop = StopFlag()
            let churn = try Namespace.thread {
                guard var socket = try? CommandSocket() else { return }
                while !stop.isSet {
                    _ = socket.perform(
                        passing.map { GroupRequest.join($0, port: port, bridge: bridge, state: .temporary) })
                    _ = socket.perform(passing.map { GroupRequest.leave($0, port: port, bridge: bridge) })
                }
            }
            for _ in 0..<5 {
                let table = try ground.table()
                let found = Set(table.entries(on: port).map(\.key))
                let missing = kept.filter { !found.contains($0) }
                #expect(missing.isEmpty || !table.isExact, "\(missing.count) missed, and said to be exact")
            }
            stop.set()
            churn.join()
            let table = try ground.table()
            #expect(table.isExact && table.entries(on: port).count { kept.contains($0.key) } == kept.count)
        }
    }
}
