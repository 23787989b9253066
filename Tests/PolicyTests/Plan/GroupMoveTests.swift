import FDB
import Netlink
import Switchdev
import System
import TestSupport
import Testing

@testable import Policy

/// The moves of group memberships, without a kernel. Port 5 is the primary, 6 the standby, 7 the uplink.
@Suite struct GroupMoveTests {
    private static func guest(
        at side: Side = .primary, isSticky: Bool = false, uplink: Int32? = 7
    ) throws -> GuestInterface {
        func port(_ index: Int32, _ name: String) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: false)
        }
        return GuestInterface(
            id: try GuestID("vm"), bridge: port(3, "br"), primary: port(5, "vf"), standby: port(6, "tap"),
            uplink: uplink.map { port($0, "up") }, addresses: [try Address("52:54:00:00:00:01")], side: side,
            isSticky: isSticky)
    }

    private static func key(_ group: String, source: String? = nil) throws -> GroupKey {
        GroupKey(try #require(GroupAddress(group)), source: source.flatMap { IPAddress($0) })
    }

    private static func entry(
        _ port: Int32, _ group: String, source: String? = nil, permanent: Bool = false, flags: GroupFlags = [],
        mode: GroupFilterMode? = nil, sources: [String] = [], by maker: GroupProtocol = .kernel, timer: UInt32 = 20_000
    ) throws -> GroupEntry {
        GroupEntry(
            bridge: 3, port: port, key: try key(group, source: source), state: permanent ? .permanent : .temporary,
            flags: flags, mode: mode, sources: sources.compactMap { IPAddress($0) }, protocol: maker,
            timer: permanent ? 0 : timer)
    }

    private static func words(_ requests: [GroupRequest]) -> [String] {
        let names: [Int32: String] = [3: "br", 5: "vf", 6: "tap", 7: "up"]
        return requests.compactMap { $0.words { names[$0] ?? "?" }.bridgeCommand }
    }

    private func move(_ guest: GuestInterface, to side: Side, from ports: Set<Int32> = []) throws -> GroupMove {
        try #require(GroupMove(of: guest, to: side, from: ports))
    }

    @Test func whatTheGuestJoinedGoesWithIt() throws {
        let table = GroupTable(
            bridge: 3,
            entries: [
                try GroupMoveTests.entry(5, "239.1.1.1"), try GroupMoveTests.entry(5, "ff02::1:ff00:1"),
                // Memberships of others: the host's and the uplink's.
                try GroupMoveTests.entry(3, "ff02::6a"), try GroupMoveTests.entry(7, "239.2.2.2"),
            ])
        let move = try move(try GroupMoveTests.guest(), to: .standby)
        let additions = move.additions(table)
        #expect(
            GroupMoveTests.words(additions) == [
                "bridge mdb add dev br port tap grp 239.1.1.1 temp",
                "bridge mdb add dev br port tap grp ff02::1:ff00:1 temp",
            ])
        #expect(additions.allSatisfy { $0.simplified == nil })
        // Nothing is removed before the new port has the membership.
        #expect(move.removals(table).isEmpty)
        #expect(
            GroupMoveTests.words(move.removals(table, copied: Set(additions.map(\.key)))) == [
                "bridge mdb del dev br port vf grp 239.1.1.1", "bridge mdb del dev br port vf grp ff02::1:ff00:1",
            ])
        #expect(move.moved(table, copied: Set(additions.map(\.key))) == 2)
        #expect(move.notes(table).isEmpty)
    }

    /// A guest can join many groups, which must not delay its move.
    @Test func thousandsOfGroupsAreNoMatter() throws {
        let entries = try (0..<2000).map { try GroupMoveTests.entry(5, "239.1.\($0 / 250).\($0 % 250)") }
        let table = GroupTable(bridge: 3, entries: entries)
        let move = try move(try GroupMoveTests.guest(), to: .standby)
        var additions: [GroupRequest] = []
        let begin = processorTime()
        additions = move.additions(table)
        _ = move.removals(table, copied: Set(additions.map(\.key)))
        let time = processorTime() - begin
        #expect(additions.count == 2000)
        #expect(time < 2, "\(time)")
    }

    @Test func onASharedPortNothingIsRemoved() throws {
        let guest = try GroupMoveTests.guest(isSticky: true)
        let table = GroupTable(
            bridge: 3, entries: [try GroupMoveTests.entry(5, "239.1.1.1"), try GroupMoveTests.entry(6, "239.1.1.2")])
        let away = try move(guest, to: .standby)
        #expect(away.additions(table).map(\.key.description) == ["239.1.1.1"])
        #expect(away.removals(table, copied: Set(table.entries.map(\.key))).isEmpty)
        #expect(away.notes(table) == ["vf serves others too: 1 group membership left there to age"])
        // None of the groups on a shared port belong to a guest that is elsewhere.
        #expect(GroupMove(of: try GroupMoveTests.guest(at: .remote, isSticky: true), to: .standby, from: []) == nil)
    }

    @Test func permanentMembershipsOfOthersStay() throws {
        let table = GroupTable(
            bridge: 3,
            entries: [
                try GroupMoveTests.entry(5, "239.1.1.1", permanent: true, by: .static),
                try GroupMoveTests.entry(5, "239.1.1.2", permanent: true, by: .fdbsteer),
                try GroupMoveTests.entry(5, "01:80:c2:01:02:03", permanent: true, by: .static),
            ])
        let move = try move(try GroupMoveTests.guest(), to: .standby)
        let additions = move.additions(table)
        #expect(
            GroupMoveTests.words(additions) == [
                "bridge mdb add dev br port tap grp 239.1.1.1 permanent proto 253",
                "bridge mdb add dev br port tap grp 239.1.1.2 permanent proto 253",
                "bridge mdb add dev br port tap grp 01:80:c2:01:02:03 permanent proto 253",
            ])
        #expect(
            move.removals(table, copied: Set(additions.map(\.key))).map(\.key.description) == ["239.1.1.2"])
        #expect(move.notes(table) == ["2 permanent of the group memberships of vf stay there beside their copies"])
    }

    @Test func whatTheNewPortHasIsNotTouchedButForItsAge() throws {
        let table = GroupTable(
            bridge: 3,
            entries: [
                try GroupMoveTests.entry(5, "239.1.1.1"),
                try GroupMoveTests.entry(6, "239.1.1.1", permanent: true, by: .static),
                try GroupMoveTests.entry(5, "239.1.1.2"), try GroupMoveTests.entry(6, "239.1.1.2", timer: 500),
                try GroupMoveTests.entry(5, "239.1.1.3"), try GroupMoveTests.entry(6, "239.1.1.3", timer: 25_000),
            ])
        let move = try move(try GroupMoveTests.guest(), to: .standby)
        #expect(
            GroupMoveTests.words(move.additions(table)) == ["bridge mdb replace dev br port tap grp 239.1.1.2 temp"])
        #expect(move.removals(table).count == 3)
    }

    @Test func sourceListsGoAlongAndWhatFollowsFromThemDoesNot() throws {
        let sources = ["192.0.2.1", "192.0.2.2"]
        let table = GroupTable(
            bridge: 3,
            entries: [
                try GroupMoveTests.entry(5, "239.1.1.1", mode: .include, sources: sources, timer: 0),
                try GroupMoveTests.entry(5, "239.1.1.1", source: "192.0.2.1", mode: .include, timer: 0),
                try GroupMoveTests.entry(5, "239.1.1.1", source: "192.0.2.2", mode: .include, timer: 0),
                try GroupMoveTests.entry(5, "239.1.1.2", mode: .exclude, sources: ["192.0.2.3"]),
                try GroupMoveTests.entry(5, "239.1.1.2", source: "192.0.2.3", flags: .blocked, mode: .include),
                try GroupMoveTests.entry(5, "239.1.1.3", source: "192.0.2.4", flags: .starExclude, mode: .include),
                try GroupMoveTests.entry(5, "239.1.1.3", mode: .exclude),
                // Made by an administrator for one source, without a (*,G).
                try GroupMoveTests.entry(5, "239.1.1.4", source: "192.0.2.5", mode: .include, by: .static),
                // An expired membership.
                try GroupMoveTests.entry(5, "239.1.1.5", mode: .include, timer: 0),
            ])
        let move = try move(try GroupMoveTests.guest(), to: .standby)
        let additions = move.additions(table)
        #expect(
            GroupMoveTests.words(additions) == [
                "bridge mdb add dev br port tap grp 239.1.1.1 temp filter_mode include source_list 192.0.2.1,192.0.2.2",
                "bridge mdb add dev br port tap grp 239.1.1.2 temp filter_mode exclude source_list 192.0.2.3",
                "bridge mdb add dev br port tap grp 239.1.1.3 temp",
                "bridge mdb add dev br port tap grp 239.1.1.4 src 192.0.2.5 temp",
            ])
        #expect(move.removals(table, copied: Set(additions.map(\.key))).count == 4)
    }

    @Test func sourcesOfTwoMembersBehindOnePortAreJoined() throws {
        func additions(_ old: GroupEntry, _ there: GroupEntry) throws -> [String] {
            let move = try move(try GroupMoveTests.guest(), to: .standby)
            return GroupMoveTests.words(move.additions(GroupTable(bridge: 3, entries: [there, old])))
        }
        func member(_ port: Int32, _ mode: GroupFilterMode, _ sources: [String]) throws -> GroupEntry {
            try GroupMoveTests.entry(port, "239.1.1.1", mode: mode, sources: sources)
        }
        let prefix = "bridge mdb replace dev br port tap grp 239.1.1.1 temp"
        let (one, two) = ("192.0.2.1", "192.0.2.2")
        #expect(
            try additions(member(5, .include, [one]), member(6, .include, [two]))
                == [prefix + " filter_mode include source_list \(one),\(two)"])
        #expect(
            try additions(member(5, .exclude, [one, two]), member(6, .include, [two]))
                == [prefix + " filter_mode exclude source_list \(one)"])
        #expect(try additions(member(5, .exclude, [one]), member(6, .exclude, [two])) == [prefix])
        #expect(try additions(member(5, .include, [one]), member(6, .exclude, [two])) == [])
    }

    @Test func aRouterBehindTheUplinkGetsEverythingAnyway() throws {
        let entries = [
            try GroupMoveTests.entry(5, "239.1.1.1"), try GroupMoveTests.entry(5, "ff02::1:ff00:1"),
            try GroupMoveTests.entry(5, "239.1.1.9", permanent: true, by: .static),
        ]
        let move = try move(try GroupMoveTests.guest(), to: .remote)
        let both = GroupTable(bridge: 3, entries: entries, routers: [RouterPort(port: 7)])
        #expect(move.additions(both).isEmpty)
        #expect(move.removals(both).map(\.key.description) == ["239.1.1.1", "ff02::1:ff00:1"])
        #expect(move.notes(both) == ["1 permanent of the group memberships of vf stay there"])
        // An IGMP querier only.
        let one = GroupTable(bridge: 3, entries: entries, routers: [RouterPort(port: 7, servesIPv6: false)])
        #expect(
            GroupMoveTests.words(move.additions(one)) == ["bridge mdb add dev br port up grp ff02::1:ff00:1 temp"])
    }

    @Test func aGuestThatArrivesBringsItsOwnReports() throws {
        let table = GroupTable(
            bridge: 3, entries: [try GroupMoveTests.entry(7, "239.1.1.1"), try GroupMoveTests.entry(6, "239.1.1.2")])
        let move = try move(try GroupMoveTests.guest(at: .remote), to: .primary)
        // Groups on the guest's own port belong to the guest; groups on the uplink are shared.
        #expect(move.additions(table).map(\.key.description) == ["239.1.1.2"])
    }

    @Test func theUplinkAsStandbyIsNeverCleared() throws {
        let move = try move(try GroupMoveTests.guest(at: .standby, uplink: 6), to: .primary)
        let table = GroupTable(bridge: 3, entries: [try GroupMoveTests.entry(6, "239.1.1.1")])
        let additions = move.additions(table)
        #expect(additions.count == 1)
        #expect(move.removals(table, copied: Set(additions.map(\.key))).isEmpty)
    }

    @Test func aPlanWithoutEntriesOnlyClearsUp() throws {
        let guest = try GroupMoveTests.guest()
        let left = GroupTable(
            bridge: 3, entries: [try GroupMoveTests.entry(5, "239.1.1.1"), try GroupMoveTests.entry(6, "239.1.1.1")])
        let plan = try #require(GroupPlan(of: guest, to: .primary, pins: [], table: left))
        #expect(plan.steps == [.groups([])])
        #expect(GroupMoveTests.words(plan.removals) == ["bridge mdb del dev br port tap grp 239.1.1.1"])
        #expect(GroupPlan(of: guest, to: .primary, pins: [], table: GroupTable(bridge: 3, entries: [])) == nil)
        #expect(GroupPlan(of: guest, to: .primary, pins: [], table: nil) == nil)
    }

    // MARK: - The state machine

    private struct Course {
        let plan: Plan
        let address: Address
        let undo: EntryChange
        let requests: [GroupRequest]
    }

    private func course() throws -> Course {
        let guest = try GroupMoveTests.guest()
        let address = guest.addresses[0]
        let change = PlannedChange(
            change: EntryChange(address, .replace, port: 6, oldPort: 5),
            before: Entry(address: address, port: 5, bridge: 3, state: .noARP),
            undo: EntryChange(address, .replace, port: 5, oldPort: 6),
            expected: .init(port: 6, isStatic: true, isSticky: false))
        let table = GroupTable(
            bridge: 3, entries: [try GroupMoveTests.entry(5, "239.1.1.1"), try GroupMoveTests.entry(5, "239.1.1.2")])
        let groups = try #require(GroupPlan(of: guest, to: .standby, pins: [change], table: table))
        let plan = Plan(
            verb: .switch, guest: guest, from: .primary, to: .standby, steps: groups.steps + [.entries([change])],
            notes: [], groups: groups)
        return Course(plan: plan, address: address, undo: change.undo, requests: groups.additions)
    }

    private func entry(_ course: Course, on port: Int32) -> EntrySet {
        [course.address: Entry(address: course.address, port: port, bridge: 3, state: .noARP)]
    }

    @Test func groupsGoFirstAndAreFollowedBeforeTheCommit() throws {
        let course = try course()
        var redirection = Redirection(course.plan)
        _ = redirection.start()
        #expect(redirection.next(.done) == .run(.groups(course.requests)))
        #expect(redirection.next(.answered([nil, nil])) == .run(course.plan.steps[1]))
        #expect(redirection.next(.answered([nil])) == .reread)
        #expect(redirection.next(.read(entry(course, on: 6))) == .followGroups(try #require(course.plan.groups).move))
        #expect(redirection.next(.done) == .recordCommit(.nothingToProve))
        #expect(redirection.next(.done) == .finish(.committed(.nothingToProve)))
        let messages = course.plan.messages { "\($0)" }.compactMap(\.bridgeCommand)
        #expect(messages.count == 5 && messages[2].contains("fdb replace") && messages[4].contains("mdb del"))
    }

    @Test func aRefusedGroupRollsBackWhatWasJoined() throws {
        let course = try course()
        var redirection = Redirection(course.plan)
        _ = redirection.start()
        _ = redirection.next(.done)
        let refusal = KernelRefusal(.other, "no")
        #expect(redirection.next(.answered([nil, refusal])) == .reread)
        // No entry was changed; the one joined group is left again.
        #expect(redirection.next(.read(entry(course, on: 5))) == .restoreGroups(course.requests[0].undo))
        #expect(redirection.next(.answered([nil])) == .recordRollback)
        guard case .finish(.rolledBack(let failures)) = redirection.next(.done) else {
            Issue.record("not rolled back")
            return
        }
        #expect(failures.count == 1 && failures[0].description.contains("239.1.1.2"))
    }

    @Test func aFailedMoveLeavesTheGroupsThatItJoinedAndNoOthers() throws {
        let course = try course()
        var redirection = Redirection(course.plan)
        _ = redirection.start()
        _ = redirection.next(.done)
        // The guest itself joined the second in the meantime: this counts as success, but is not ours to remove.
        let exists = KernelRefusal(.exists, "there")
        #expect(redirection.next(.answered([nil, exists])) == .run(course.plan.steps[1]))
        _ = redirection.next(.answered([KernelRefusal(.gone, "no")]))
        #expect(redirection.next(.read(entry(course, on: 5))) == .restoreGroups(course.requests[0].undo))
        // A membership that went with its port is not reported; "not permitted" is.
        #expect(
            redirection.next(.answered([KernelRefusal(.gone, "gone")])) == .recordRollback)
        guard case .finish(.rolledBack) = redirection.next(.done) else {
            Issue.record("not rolled back")
            return
        }
        var other = Redirection(course.plan)
        _ = other.start()
        _ = other.next(.done)
        _ = other.next(.answered([nil, exists]))
        _ = other.next(.answered([KernelRefusal(.gone, "no")]))
        _ = other.next(.read(entry(course, on: 5)))
        _ = other.next(.answered([KernelRefusal(.notPermitted, "no")]))
        guard case .finish(.notRolledBack) = other.next(.done) else {
            Issue.record("claimed to be rolled back")
            return
        }
    }
}
