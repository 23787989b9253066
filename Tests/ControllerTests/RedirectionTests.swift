@testable import Controller
import FDB
import Netlink
import Testing

/// The state machine alone, without a kernel: each path that a redirection can take.
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
            steps: [.learning(standby, isOn: false), .entries(changes)], notes: [])
    }

    private func entry(_ address: Address, on port: Int32, flags: EntryFlags = []) -> Entry {
        Entry(address: address, port: port, bridge: 3, state: .noARP, flags: flags)
    }

    /// Brings a redirection to the moment after its entries were sent.
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
        #expect(redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 6)])) == .recordCommit)
        #expect(redirection.next(.done) == .finish(.committed))
    }

    @Test func nothingIsChangedWithoutARecordOfTheIntent() {
        var redirection = Redirection(plan)
        _ = redirection.start()
        let failure = Redirection.Failure("disk full")
        #expect(redirection.next(.failed(failure)) == .finish(.refused([failure])))
    }

    @Test func aRefusedChangePutsTheOthersBack() {
        var redirection = sent()
        let refusal = NetlinkError(.refused, "no", errno: .invalid)
        #expect(redirection.next(.answered([nil, refusal])) == .reread)
        // One was moved, two was not: only one goes back.
        #expect(
            redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 5)])) == .restore([changes[0].undo]))
        #expect(redirection.next(.answered([nil])) == .reread)
        #expect(
            redirection.next(.read([one: entry(one, on: 5), two: entry(two, on: 5)]))
                == .restoreLearning(standby, isOn: true))
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
        // Two was taken by somebody else, sticky on a third port: that is not ours to put back.
        let stolen = entry(two, on: 9, flags: .sticky)
        #expect(redirection.next(.read([one: entry(one, on: 6), two: stolen])) == .restore([changes[0].undo]))
        _ = redirection.next(.answered([nil]))
        #expect(
            redirection.next(.read([one: entry(one, on: 5), two: stolen])) == .restoreLearning(standby, isOn: true))
        _ = redirection.next(.done)
        guard case .finish(.rolledBack(let failures)) = redirection.next(.done) else {
            Issue.record("not rolled back")
            return
        }
        #expect(failures.map(\.address) == [two])
    }

    @Test func anEntryThatIsGoneIsMadeAnew() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, NetlinkError(.refused, "no", errno: .noMemory)]))
        #expect(
            redirection.next(.read([one: entry(one, on: 6), two: nil]))
                == .restore([changes[0].undo, EntryChange(two, .replace, port: 5)]))
    }

    @Test func whatCannotBePutBackIsSaid() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, NetlinkError(.refused, "no", errno: .invalid)]))
        _ = redirection.next(.read([one: entry(one, on: 6), two: entry(two, on: 5)]))
        _ = redirection.next(.answered([NetlinkError(.refused, "no", errno: .noDevice)]))
        // One is still where the failed move put it.
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
        guard case .finish(.notRolledBack) = redirection.next(.failed(.init("disk full"))) else {
            Issue.record("claimed success")
            return
        }
    }

    @Test func failingReadsEndIt() {
        var redirection = sent()
        _ = redirection.next(.answered([nil, nil]))
        guard case .finish(.notRolledBack) = redirection.next(.failed(.init("overrun"))) else {
            Issue.record("went on without knowing the table")
            return
        }
    }
}
