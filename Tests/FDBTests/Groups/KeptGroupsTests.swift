import Netlink
import TestSupport
import Testing

@testable import FDB

/// The kept groups of a bridge, change by change, without a kernel.
@Suite struct KeptGroupsTests {
    private static func entry(
        _ group: String, on port: Int32 = 5, source: String? = nil, permanent: Bool = false,
        mode: GroupFilterMode? = nil, sources: [String] = [], by maker: GroupProtocol? = .kernel
    ) throws -> GroupEntry {
        let key = GroupKey(try #require(GroupAddress(group)), source: source.flatMap { IPAddress($0) })
        return GroupEntry(
            bridge: 3, port: port, key: key, state: permanent ? .permanent : .temporary, mode: mode,
            sources: sources.compactMap { IPAddress($0) }, protocol: maker)
    }

    private static func groups(_ entries: [GroupEntry] = [], routers: [RouterPort] = []) -> KeptGroups {
        KeptGroups(bridge: 3, entries: entries, routers: routers, readAt: 0)
    }

    private static func change(_ entry: GroupEntry, isRemoval: Bool = false) -> GroupChange {
        GroupChange(bridge: 3, subject: .entry(entry), isRemoval: isRemoval)
    }

    private static func tell(_ groups: inout KeptGroups, _ change: GroupChange, isEnough: Bool = true) {
        let isApplied = groups.apply(change)
        #expect(isApplied == isEnough)
    }

    /// What is known about ports 5 and 6; nil if it must be read.
    private static func known(_ groups: KeptGroups) -> [String]? {
        groups.table(of: [5, 6, 5], at: 0)?.entries.map(\.description).sorted()
    }

    @Test func joinsAndLeaves() throws {
        var groups = KeptGroupsTests.groups([try KeptGroupsTests.entry("239.1.1.1")])
        let other = try KeptGroupsTests.entry("ff02::1:ff00:1", on: 6)
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(other))
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(try KeptGroupsTests.entry("239.1.1.2", on: 7)))
        let words = ["ifindex 5 grp 239.1.1.1 temp", "ifindex 6 grp ff02::1:ff00:1 temp"]
        #expect(KeptGroupsTests.known(groups) == words)
        #expect(groups.table(of: [5], at: 0)?.hasTimers == false)
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(other, isRemoval: true))
        // A membership that a dump no longer showed is notified as removed.
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(other, isRemoval: true))
        #expect(KeptGroupsTests.known(groups) == [words[0]])
        #expect(groups.table(of: [9], at: 0)?.entries.isEmpty == true)
    }

    @Test func theHostsOwnAreNotKept() throws {
        var groups = KeptGroupsTests.groups([try KeptGroupsTests.entry("239.1.1.1", on: 3)])
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(try KeptGroupsTests.entry("239.1.1.2", on: 3)))
        #expect(groups.table(of: [3], at: 0)?.entries.isEmpty == true)
    }

    @Test func requestsChangeWhatIsThereAndReportsMayAddAMember() throws {
        var groups = KeptGroupsTests.groups([try KeptGroupsTests.entry("239.1.1.1")])
        let renewed = try KeptGroupsTests.entry("239.1.1.1", permanent: true, by: .fdbsteer)
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(renewed))
        #expect(KeptGroupsTests.known(groups) == ["ifindex 5 grp 239.1.1.1 permanent"])
        // A report by an existing member is notified only if it is from another member.
        for maker in [GroupProtocol.kernel, nil] {
            var shared = groups
            let again = try KeptGroupsTests.entry("239.1.1.1", by: maker)
            KeptGroupsTests.tell(&shared, KeptGroupsTests.change(again))
            #expect(KeptGroupsTests.known(shared) == nil)
            // Either may have left: only a dump shows which.
            KeptGroupsTests.tell(&shared, KeptGroupsTests.change(again, isRemoval: true))
            #expect(KeptGroupsTests.known(shared) == nil)
            #expect(shared.table(of: [6], at: 0) != nil)
        }
    }

    @Test func twoMembersInADumpAreNotKept() throws {
        let one = try KeptGroupsTests.entry("239.1.1.1")
        #expect(KeptGroupsTests.known(KeptGroupsTests.groups([one, one])) == nil)
    }

    @Test func sourcesAreReadAnewUntilTheyAreGone() throws {
        let list = try KeptGroupsTests.entry("239.1.1.1", mode: .exclude, sources: ["192.0.2.1"])
        let single = try KeptGroupsTests.entry("239.1.1.1", source: "192.0.2.1", mode: .include)
        let fresh = try KeptGroupsTests.entry("239.1.1.1", mode: .include)
        for doubtful in [list, single, fresh] {
            var groups = KeptGroupsTests.groups([doubtful])
            #expect(KeptGroupsTests.known(groups) == nil)
            KeptGroupsTests.tell(&groups, KeptGroupsTests.change(doubtful, isRemoval: true))
            #expect(KeptGroupsTests.known(groups) == [])
        }
        // IGMPv3 notifies a join first without sources, then with its real state.
        var groups = KeptGroupsTests.groups()
        let all = try KeptGroupsTests.entry("239.1.1.1", mode: .exclude)
        for told in [fresh, all] { KeptGroupsTests.tell(&groups, KeptGroupsTests.change(told)) }
        #expect(KeptGroupsTests.known(groups) == ["ifindex 5 grp 239.1.1.1 temp"])
        // Again from the beginning: another member.
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(fresh))
        KeptGroupsTests.tell(&groups, KeptGroupsTests.change(all))
        #expect(KeptGroupsTests.known(groups) == nil)
    }

    @Test func routersAreTrustedForAsLongAsTheirTimersRan() {
        let second: Int64 = 1_000_000_000
        let aging = KeptGroupsTests.groups(routers: [RouterPort(port: 6, lifetime: 500)])
        #expect(aging.table(of: [6], at: 5 * second - 1)?.routers.count == 1)
        #expect(aging.table(of: [6], at: 5 * second) == nil)
        #expect(aging.table(of: [5], at: 5 * second)?.routers.isEmpty == true)
        let permanent = KeptGroupsTests.groups(routers: [RouterPort(port: 6)])
        #expect(permanent.table(of: [6], at: 5000 * second)?.routers.count == 1)
        for isRemoval in [false, true] {
            var groups = permanent
            func told(of port: Int32) -> GroupChange {
                GroupChange(bridge: 3, subject: .router(RouterPort(port: port)), isRemoval: isRemoval)
            }
            KeptGroupsTests.tell(&groups, told(of: 0))
            KeptGroupsTests.tell(&groups, told(of: 6), isEnough: false)
        }
    }

    /// Compared with the simplest model, with more groups than are searched one by one.
    @Test(arguments: [1, 2, 3] as [UInt64]) func anyOrderOfChanges(seed: UInt64) throws {
        var random = Dice(seed)
        var groups = KeptGroupsTests.groups()
        var model: Set<String> = []
        for _ in 0..<5000 {
            let group = "239.1.1.\(Int.random(in: 1...60, using: &random))"
            let entry = try KeptGroupsTests.entry(group, on: Int32.random(in: 5...6, using: &random), by: .static)
            let isRemoval = Bool.random(using: &random)
            KeptGroupsTests.tell(&groups, KeptGroupsTests.change(entry, isRemoval: isRemoval))
            if isRemoval { model.remove(entry.description) } else { model.insert(entry.description) }
        }
        #expect(KeptGroupsTests.known(groups) == model.sorted())
        #expect(groups.table(of: [6], at: 0)?.entries.allSatisfy { $0.port == 6 } == true)
    }

    /// Bytes that no kernel sends, as far as they can be decoded: no trap, whatever is kept.
    @Test func hostileBytesDoNotTrap() throws {
        var random = Dice(7)
        var groups = KeptGroupsTests.groups()
        var applied = 0
        for _ in 0..<20_000 {
            var bytes = GroupWireTests.message
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[bytes.indices.randomElement(using: &random) ?? 0] = UInt8.random(in: 0...255, using: &random)
            }
            let type: MessageType = Bool.random(using: &random) ? .newGroup : .deleteGroup
            let header = MessageHeader(length: 0, type: type, flags: [], sequence: 0, portID: 0)
            bytes.withUnsafeBytes { payload in
                for change in (try? GroupChange.changes(header, payload)) ?? [] where groups.apply(change) {
                    applied += 1
                }
            }
            _ = groups.table(of: [5, 6, -1, .max], at: .max)
        }
        #expect(applied > 10_000)
    }
}
