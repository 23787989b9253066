import FDB
import Netlink
import Switchdev
import System
import Testing

@testable import Policy

/// Brackets without a kernel: a model of the actions' effects, and every failure of every action.
@Suite struct BracketTests {
    private static let primary: Int32 = 5
    private static let standby: Int32 = 6

    /// The state of the kernel.
    private struct World: Equatable {
        var entry: Int32
        var isCopied: Bool

        /// Whether frames for the guest reach a port.
        func serves(_ port: Int32) -> Bool {
            entry == port || (port == BracketTests.primary && entry == BracketTests.standby && isCopied)
        }
    }

    /// The result of a run.
    private struct Run {
        var world: World
        var actions = 0
        var outcome: Redirection.Outcome?
        /// The ports that were served the whole time.
        var alwaysServed: Set<Int32> = [BracketTests.primary, BracketTests.standby]
    }

    private let address: Address
    private let guest: GuestInterface
    private let bracket = Bracket(openedAt: 1, means: .clsact, ownsClsact: true)

    init() throws {
        address = try Address("52:54:00:00:00:01")
        guest = GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br", index: 3, isEswitchPort: false),
            primary: PortIdentity(name: "vf", index: Self.primary, isEswitchPort: false),
            standby: PortIdentity(name: "tap", index: Self.standby, isEswitchPort: false), uplink: nil,
            addresses: [address], side: .primary, isSticky: false)
    }

    private func entry(on port: Int32) -> Entry { Entry(address: address, port: port, bridge: 3, state: .noARP) }

    private func copy(_ isOn: Bool) -> Step {
        .copy(
            CopyChange(
                specification: CopySpecification(
                    source: Self.standby, target: Self.primary, matches: [.init(mac: address.mac, tag: .any)],
                    number: 1, label: "vm"), bracket: bracket, portName: "tap", targetName: "vf", isOn: isOn))
    }

    private func move(from old: Int32, to port: Int32) -> Step {
        .entries([
            PlannedChange(
                change: EntryChange(address, .replace, port: port, oldPort: old), before: entry(on: old),
                undo: EntryChange(address, .replace, port: old, oldPort: port),
                expected: .init(port: port, isStatic: true, isSticky: false))
        ])
    }

    private func plan(_ steps: [Step], to: Side) -> Plan {
        Plan(verb: .switch, guest: guest, from: .primary, to: to, steps: steps, notes: [], strategy: .bracket)
    }

    /// The four ways in and out: the plan, the world before and after it, and the port of the guest in between.
    private var cases: [(name: String, plan: Plan, before: World, after: World, guestAt: Int32)] {
        let onPrimary = World(entry: Self.primary, isCopied: false)
        let onStandby = World(entry: Self.standby, isCopied: false)
        let open = World(entry: Self.standby, isCopied: true)
        let leave = move(from: Self.primary, to: Self.standby)
        let arrive = move(from: Self.standby, to: Self.primary)
        return [
            (
                "open, leaving", plan([copy(true), leave], to: .standby), onPrimary, open,
                Self.primary
            ),
            (
                "open, coming", plan([copy(true)], to: .primary), onStandby, open,
                Self.standby
            ),
            ("close on standby", plan([copy(false)], to: .standby), open, onStandby, Self.standby),
            (
                "close on primary", plan([arrive, copy(false)], to: .primary), open, onPrimary,
                Self.primary
            ),
        ]
    }

    /// Runs a plan in its own world, in which the actions with the given numbers fail.
    private func run(_ plan: Plan, in world: World, failing: Set<Int>) -> Run {
        var run = Run(world: world)
        var redirection = Redirection(plan)
        var action = redirection.start()
        let failure = Redirection.Failure("it fails")
        let refusal = KernelRefusal(.other, "no")
        while run.actions < 100 {
            let fails = failing.contains(run.actions)
            run.actions += 1
            let event: Redirection.Event
            switch action {
            case .recordIntent, .recordCommit, .recordRollback:
                event = fails ? .failed(failure) : .done
            case .run(.copy(let change)), .restoreCopy(let change):
                // A failed removal may have removed the copy nevertheless.
                if !fails || !change.isOn { run.world.isCopied = change.isOn }
                event = fails ? .failed(failure) : .done
            case .run(.entries(let changes)):
                if !fails { run.world.entry = changes[0].change.port }
                event = .answered([fails ? refusal : nil])
            case .restore(let changes):
                if !fails { run.world.entry = changes[0].port }
                event = .answered([fails ? refusal : nil])
            case .reread:
                event = fails ? .failed(failure) : .read([address: entry(on: run.world.entry)])
            case .finish(let outcome):
                run.outcome = outcome
                return run
            default:
                Issue.record("unexpected \(action)")
                return run
            }
            run.alwaysServed = run.alwaysServed.filter { run.world.serves($0) }
            action = redirection.next(event)
        }
        Issue.record("it does not end")
        return run
    }

    @Test func withoutFailuresEachEndsAsPlannedAndTheGuestIsAlwaysServed() {
        for (name, plan, before, after, guestAt) in cases {
            let run = run(plan, in: before, failing: [])
            #expect(run.outcome == .committed(.nothingToProve), "\(name)")
            #expect(run.world == after, "\(name)")
            #expect(run.alwaysServed.contains(guestAt), "\(name)")
        }
    }

    @Test func whateverFailsOnceItIsAsBeforeOrSaysThatItIsNot() {
        for (name, plan, before, after, guestAt) in cases {
            let length = run(plan, in: before, failing: []).actions
            for number in 0..<length {
                let run = run(plan, in: before, failing: [number])
                #expect(run.outcome != nil)
                switch run.outcome {
                case .refused, .rolledBack: #expect(run.world == before, "\(name), action \(number)")
                case .committed: #expect(run.world == after, "\(name), action \(number)")
                default: break
                }
                // The guest loses nothing, except between a half-done removal and its undo.
                if name != "close on primary" || run.world != before {
                    #expect(run.alwaysServed.contains(guestAt), "\(name), action \(number)")
                }
            }
        }
    }

    @Test func whateverFailsTwiceIsNotCalledRolledBackWhenItIsNot() {
        for (name, plan, before, after, _) in cases {
            for first in 0..<12 {
                for second in (first + 1)..<14 {
                    let run = run(plan, in: before, failing: [first, second])
                    switch run.outcome {
                    case .refused, .rolledBack: #expect(run.world == before, "\(name), \(first) and \(second)")
                    case .committed: #expect(run.world == after, "\(name), \(first) and \(second)")
                    default: break
                    }
                }
            }
        }
    }

    @Test func theCopyIsThereBeforeTheEntriesMoveAndUntilTheyAreBack() throws {
        var redirection = Redirection(cases[0].plan)
        #expect(redirection.start() == .recordIntent)
        #expect(redirection.next(.done) == .run(copy(true)))
        guard case .run(.entries(let changes)) = redirection.next(.done) else {
            Issue.record("the entries do not follow the copy")
            return
        }
        let refusal = KernelRefusal(.other, "no")
        #expect(redirection.next(.answered([refusal])) == .reread)
        // The entry is on the standby nevertheless. It is ours, so it is restored first, and then the copy ends.
        #expect(redirection.next(.read([address: entry(on: Self.standby)])) == .restore([changes[0].undo]))
        #expect(redirection.next(.answered([nil])) == .reread)
        guard case .copy(let change) = copy(true) else { return }
        #expect(redirection.next(.read([address: entry(on: Self.primary)])) == .restoreCopy(change.undo))
        #expect(redirection.next(.done) == .recordRollback)
    }

    @Test func halfARemovalIsMadeGood() {
        guard case .copy(let change) = copy(false) else { return }
        var redirection = Redirection(cases[2].plan)
        _ = redirection.start()
        #expect(redirection.next(.done) == .run(copy(false)))
        #expect(redirection.next(.failed(.init("no"))) == .reread)
        #expect(redirection.next(.read([:])) == .restoreCopy(change.undo))
    }

    @Test func theWordsAreCommands() {
        guard case .copy(let on) = copy(true), case .copy(let off) = copy(false) else { return }
        #expect(on.messages.map(\.bridgeCommand).first == "tc qdisc add dev tap clsact")
        #expect(on.messages.last?.bridgeCommand?.hasSuffix("action mirred egress mirror dev vf continue") == true)
        #expect(off.messages.last?.bridgeCommand == "tc qdisc del dev tap clsact")
        let foreign = CopyChange(
            specification: on.specification,
            bracket: Bracket(openedAt: 1, means: .clsact, ownsClsact: false), portName: "tap", targetName: "vf",
            isOn: false)
        #expect(foreign.messages.count == 1, "a clsact of others would be removed")
    }

    @Test func groupsAreCopiedWhereTheBridgeFloodsThemToTheStandbyOnly() throws {
        var situation = Situation()
        func groups() throws -> CopySpecification.Groups {
            Planner.groups(try observation(situation, entryOn: Self.primary))
        }
        #expect(try groups() == [])
        situation.primary.portFlags.remove(.broadcastFlood)
        #expect(try groups() == .broadcast)
        situation.standby.portFlags.remove(.broadcastFlood)
        #expect(try groups() == [])
    }

    private func observation(_ situation: Situation, entryOn port: Int32) throws -> Observation {
        let links = Links(try [situation.bridge, situation.primary, situation.standby].map { try $0.link() })
        return Observation(
            bridge: links["br0"], ports: [.primary: links["vf0"], .standby: links["tap0"]].compactMapValues { $0 },
            entries: [address: entry(on: port)])
    }

    @Test func theCopyFramesTheMove() throws {
        guard case .copy(let on) = copy(true), case .copy(let off) = copy(false) else { return }
        let situation = Situation()
        func record(_ guest: GuestInterface, _ phase: GuestPhase = .pinned) -> GuestRecord {
            GuestRecord(
                row: 1, guest: guest, phase: phase, goal: nil, boot: "", namespace: 1, proof: .proven, revision: 1,
                bracket: phase == .pinned ? nil : bracket)
        }
        let leaving = try Planner().openBracket(
            record(guest), to: .standby, copy: on, observation: try observation(situation, entryOn: Self.primary))
        #expect(leaving.strategy == .bracket && leaving.servesBothPorts)
        #expect(leaving.steps.count == 2 && leaving.steps[0] == copy(true))
        #expect(leaving.changes.map(\.change.port) == [Self.standby])
        #expect(leaving.guest.side == .primary, "an open bracket does not say that the guest has moved")
        var onStandby = guest
        onStandby.side = .standby
        let coming = try Planner().openBracket(
            record(onStandby), to: .primary, copy: on, observation: try observation(situation, entryOn: Self.standby))
        #expect(coming.steps == [copy(true)])
        for (side, port) in [(Side.primary, Self.primary), (.standby, Self.standby)] {
            let closing = try Planner().closeBracket(
                record(guest, .bracketed), at: side, copy: off,
                observation: try observation(situation, entryOn: Self.standby), verb: .switch)
            #expect(closing.strategy == .bracket && !closing.servesBothPorts)
            #expect(closing.steps.last == copy(false))
            #expect(closing.changes.allSatisfy { $0.change.port == port })
            #expect(closing.changes.isEmpty == (side == .standby))
            #expect(closing.guest.side == side)
        }
    }

    @Test func whereABracketWouldCopyNothingItIsRefused() throws {
        var harmless = guest
        harmless.kind = .netFailover
        func refusal(_ guest: GuestInterface, _ situation: Situation, to goal: Side = .standby) throws -> String? {
            let record = GuestRecord(
                row: 1, guest: guest, phase: .pinned, goal: nil, boot: "b", namespace: 1, proof: .missing, revision: 1)
            let observation = try observation(situation, entryOn: Self.primary)
            do throws(ControllerError) {
                try Planner.requireBracket(
                    record, to: goal, observation: observation,
                    options: VerbOptions())
                return nil
            } catch {
                #expect(error.code == .precondition)
                return error.message
            }
        }
        #expect(try refusal(harmless, Situation()) == nil)
        #expect(try refusal(guest, Situation())?.contains("unknown kind") == true)
        #expect(try refusal(harmless, Situation(), to: .remote)?.contains("between primary and standby") == true)
        var switched = Situation()
        switched.standby.switchID = 7
        #expect(try refusal(harmless, switched)?.contains("port of a switch") == true)
        var down = Situation()
        down.primary.isUp = false
        #expect(try refusal(harmless, down)?.contains("is down") == true)
        var shared = harmless
        shared.uplink = shared.standby
        #expect(try refusal(shared, Situation())?.contains("its uplink too") == true)
    }

    @Test func aTagThatDiffersIsRefused() throws {
        var tagged = guest
        tagged = GuestInterface(
            id: tagged.id, bridge: tagged.bridge, primary: tagged.primary, standby: tagged.standby, uplink: nil,
            addresses: [try Address("52:54:00:00:00:01/10"), try Address("52:54:00:00:00:01/20")], side: .primary,
            isSticky: false)
        let same = Situation.vlans([10, 20], pvid: 10)
        let vlan = try #require(VLANID(rawValue: 20))
        #expect(
            try Planner.matches(tagged, vlans: (standby: same, primary: same)) == [
                .init(mac: address.mac, tag: .untagged), .init(mac: address.mac, tag: .vlan(vlan)),
            ])
        let other = Situation.vlans([10, 20], pvid: 10, untagged: [10, 20])
        #expect(throws: ControllerError.self) {
            try Planner.matches(tagged, vlans: (standby: same, primary: other))
        }
    }
}
