import CNetlink
import FDB
import Netlink
import Switchdev
import System
import TestSupport
import Testing

@testable import Policy

/// The state machine without a kernel: each path of a redirection.
@Suite struct RedirectionTests {
    private let one: Address
    private let two: Address
    private let primary = PortIdentity(name: "vf", index: 5, isEswitchPort: false)
    private let standby = PortIdentity(name: "tap", index: 6, isEswitchPort: false)
    private let plan: Plan
    private let changes: [PlannedChange]

    init() throws {
        one = try Address("52:54:00:00:00:01")
        two = try Address("52:54:00:00:00:02")
        let guest = GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br", index: 3, isEswitchPort: false), primary: primary,
            standby: standby, uplink: nil, addresses: [one, two], side: .standby, isSticky: false)
        changes = [one, two].map { address in
            PlannedChange(
                change: EntryChange(address, .replace, port: 6, oldPort: 5),
                before: Entry(address: address, port: 5, bridge: 3, state: .noARP),
                undo: EntryChange(address, .replace, port: 5, oldPort: 6),
                expected: .init(port: 6, isStatic: true, isSticky: false))
        }
        plan = Plan(
            verb: .switch, guest: guest, from: .primary, to: .standby,
            steps: [.setting(standby, .learning(isOn: false)), .entries(changes)], notes: [])
    }

    private func entry(_ address: Address, on port: Int32, flags: EntryFlags = []) -> Entry {
        Entry(address: address, port: port, bridge: 3, state: .noARP, flags: flags)
    }

    /// Advances a redirection to the point after its entries were sent.
    private func sent() -> Redirection {
        var redirection = Redirection(plan)
        #expect(redirection.start() == .recordIntent)
        #expect(redirection.next(.done) == .run(plan.steps[0]))
        #expect(redirection.next(.done) == .run(plan.steps[1]))
        return redirection
    }

    @Test func success() {
        var redirection = sent()
        #expect(redirection.next(.answered([nil, nil])) == .reread)
        #expect(
            redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 6)])) == .recordCommit(.nothingToProve))
        #expect(redirection.next(.done) == .finish(.committed(.nothingToProve)))
    }

    @Test func nothingIsChangedWithoutARecordOfTheIntent() {
        var redirection = Redirection(plan)
        _ = redirection.start()
        let failure = Redirection.Failure("disk full")
        #expect(redirection.next(.failed(failure)) == .finish(.refused([failure])))
    }

    @Test func aRefusedChangePutsTheOthersBack() {
        var redirection = sent()
        let refusal = KernelRefusal(.gone, "no")
        #expect(redirection.next(.answered([nil, refusal])) == .reread)
        // The first was moved, the second was not: only the first is restored.
        #expect(
            redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 5)])) == .restore([changes[0].undo]))
        #expect(redirection.next(.answered([nil])) == .reread)
        #expect(
            redirection.next(.read([one: entry(one, on: 5), two: entry(two, on: 5)]))
                == .restoreSetting(standby, .learning(isOn: true)))
        #expect(redirection.next(.done) == .recordRollback)
        guard case .finish(.rolledBack(let failures)) = redirection.next(.done) else {
            Issue.record("not rolled back")
            return
        }
        #expect(failures.map(\.address) == [two])
        #expect(failures[0].cause == refusal)
    }

    @Test func aChangeThatDidNotHoldIsAFailure() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, nil]))
        // Another program took the second, sticky on a third port: it is not ours to restore.
        let stolen = entry(two, on: 9, flags: .sticky)
        #expect(redirection.next(.read([one: entry(one, on: 6), two: stolen])) == .restore([changes[0].undo]))
        _ = redirection.next(.answered([nil]))
        #expect(
            redirection.next(.read([one: entry(one, on: 5), two: stolen]))
                == .restoreSetting(standby, .learning(isOn: true)))
        _ = redirection.next(.done)
        guard case .finish(.rolledBack(let failures)) = redirection.next(.done) else {
            Issue.record("not rolled back")
            return
        }
        #expect(failures.map(\.address) == [two])
    }

    @Test func anEntryThatIsGoneIsMadeAnew() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, KernelRefusal(.other, "no")]))
        #expect(
            redirection.next(.read([one: entry(one, on: 6), two: nil]))
                == .restore([changes[0].undo, EntryChange(two, .replace, port: 5)]))
    }

    @Test func whatCannotBePutBackIsSaid() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, KernelRefusal(.gone, "no")]))
        _ = redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 5)]))
        _ = redirection.next(.answered([KernelRefusal(.gone, "no")]))
        // The first is still where the failed move put it.
        _ = redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 5)]))
        _ = redirection.next(.done)
        guard case .finish(.notRolledBack) = redirection.next(.done) else {
            Issue.record("claimed to be rolled back")
            return
        }
    }

    @Test func aFailedLearningStepStopsBeforeAnyEntry() {
        var redirection = Redirection(plan)
        _ = redirection.start()
        _ = redirection.next(.done)
        #expect(redirection.next(.failed(.init("no such port"))) == .reread)
        #expect(redirection.next(.read([one: entry(one, on: 5), two: entry(two, on: 5)])) == .recordRollback)
        guard case .finish(.rolledBack) = redirection.next(.done) else {
            Issue.record("not rolled back")
            return
        }
    }

    @Test func aCommitThatCannotBeRecordedIsNotSuccess() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, nil]))
        _ = redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 6)]))
        // What has moved stays moved, and nobody says that it was put back.
        guard case .finish(.unrecorded(_, let failures)) = redirection.next(.failed(.init("disk full"))) else {
            Issue.record("claimed success")
            return
        }
        #expect(failures.map(\.message) == ["disk full"])
    }

    @Test func failingReadsEndIt() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, nil]))
        guard case .finish(.notRolledBack) = redirection.next(.failed(.init("overrun"))) else {
            Issue.record("went on without knowing the table")
            return
        }
    }

    // MARK: - With hardware

    /// The guest's VF is a switch port, so a move away from it must be proven in hardware.
    private func switchedPlan() throws -> Plan {
        let vf = PortIdentity(name: "vf", index: 5, isEswitchPort: true)
        let guest = GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br", index: 3, isEswitchPort: false), primary: vf,
            standby: standby, uplink: nil, addresses: [one], side: .standby, isSticky: false)
        let before = Entry(address: one, port: 5, bridge: 3, state: .noARP, flags: .offloaded)
        let links = Links([try link(5, "vf", switched: true), try link(6, "tap", switched: false)])
        let change = try #require(Plan.pin(one, before: before, on: standby, of: guest, links: links))
        return Plan(
            verb: .switch, guest: guest, from: .primary, to: .standby, steps: [.entries([change])], notes: [],
            links: links)
    }

    @Test func hardwareIsAskedBeforeTheTableIsTrusted() throws {
        let plan = try switchedPlan()
        #expect(plan.changes[0].change.primitive == .use)
        guard case .hardware(let task) = plan.proof else {
            Issue.record("hardware is not asked")
            return
        }
        #expect(task.barriers == [.init(port: 5, name: "vf", vlan: nil)])
        #expect(task.fresh.isEmpty && task.flagged.isEmpty)
        var redirection = Redirection(plan)
        _ = redirection.start()
        _ = redirection.next(.done)
        #expect(redirection.next(.answered([nil])) == .prove(plan.proof))
        let proof = OffloadProof.proven(evidence: "so")
        #expect(redirection.next(.proved(proof)) == .reread)
        #expect(redirection.next(.read([one: entry(one, on: 6, flags: .offloaded)])) == .recordCommit(proof))
        #expect(redirection.next(.done) == .finish(.committed(proof)))
    }

    @Test func whatADriverTookBackIsMadeAnew() throws {
        let plan = try switchedPlan()
        var redirection = Redirection(plan)
        _ = redirection.start()
        _ = redirection.next(.done)
        _ = redirection.next(.answered([nil]))
        _ = redirection.next(.proved(.proven(evidence: "so")))
        #expect(redirection.next(.read([one: nil])) == .repair([EntryChange(one, .replace, port: 6)]))
        #expect(redirection.next(.answered([nil])) == .prove(plan.proof))
        _ = redirection.next(.proved(.proven(evidence: "so")))
        // A refresh learned the entry on the VF again: it is the driver's own, which is deleted first.
        let learned = Entry(address: one, port: 5, bridge: 3, state: .reachable, flags: .externallyLearned)
        #expect(
            redirection.next(.read([one: learned])) == .repair([EntryChange(one, .deleteCreate, port: 6, oldPort: 5)]))
        _ = redirection.next(.answered([nil]))
        _ = redirection.next(.proved(.proven(evidence: "so")))
        // A third time is not a race.
        guard case .restore = redirection.next(.read([one: nil])) else {
            Issue.record("went on repairing")
            return
        }
    }

    @Test func aMissingProofIsCommittedAsSuch() throws {
        var redirection = Redirection(try switchedPlan())
        _ = redirection.start()
        _ = redirection.next(.done)
        _ = redirection.next(.answered([nil]))
        let proof = OffloadProof.missing(reason: "slow")
        _ = redirection.next(.proved(proof))
        #expect(redirection.next(.read([one: entry(one, on: 6)])) == .recordCommit(proof))
    }
}
