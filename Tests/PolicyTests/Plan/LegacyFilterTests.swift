import FDB
import Switchdev
import Testing

@testable import Policy

/// Redirections on a NIC in legacy mode, with a model of its two filters.
struct LegacyFilterTests {
    private let address: Address
    private let pf = PortIdentity(name: "nic0", index: 5, isEswitchPort: false)
    private let tap = PortIdentity(name: "tap0", index: 6, isEswitchPort: false)
    private let zero = MACAddress(value: 0)

    init() throws { address = try Address("52:54:00:00:00:01") }

    /// The filters of the NIC.
    private struct Filters: Hashable {
        var vf: MACAddress
        var hasEntry: Bool

        mutating func apply(_ change: FilterChange) {
            switch change {
            case .functionMAC(let mac, _, _): vf = mac
            case .entry(_, _, let isOn): hasEntry = isOn
            }
        }

        var read: NICFilters { NICFilters(function: VirtualFunction(index: 0, mac: vf), hasEntry: hasEntry) }
    }

    private func guest(
        on side: Side, order: FilterOrder = .makeBeforeBreak, hadEntry: Bool = false
    ) throws -> GuestInterface {
        GuestInterface(
            id: try GuestID("vm"), bridge: PortIdentity(name: "br", index: 3, isEswitchPort: false), primary: pf,
            standby: tap, uplink: nil, addresses: [address], side: side, isSticky: true,
            nic: LegacyNIC(pf: pf, vf: 0, hadEntry: hadEntry, hadMAC: MACAddress(value: 0), order: order))
    }

    private func filters(on side: Side) -> Filters {
        Filters(vf: side == .primary ? address.mac : zero, hasEntry: side == .standby)
    }

    /// A plan with the entry change between its filter changes.
    private func plan(from: Side, to side: Side, order: FilterOrder) throws -> Plan {
        let guest = try guest(on: from, order: order)
        let target = side == .standby ? tap : pf
        let change = PlannedChange(
            change: EntryChange(address, .replace, port: target.index, sticky: true), before: nil,
            undo: EntryChange(address, .delete, port: target.index),
            expected: .init(port: target.index, isStatic: true, isSticky: true))
        let steps = try FilterPlan(guest, to: side, filters: filters(on: from).read).around([.entries([change])])
        var moved = guest
        moved.side = side
        return Plan(verb: .switch, guest: moved, from: from, to: side, steps: steps, notes: [])
    }

    @Test func theMACIsMadeAtItsNewPlaceBeforeItIsTakenFromItsOldOne() throws {
        for (from, to) in [(Side.primary, Side.standby), (.standby, .primary)] {
            let filters = try plan(from: from, to: to, order: .makeBeforeBreak).steps.map { $0.filter?.change.makes }
            #expect(filters == (to == .standby ? [true, nil, false] : [true, false, nil]))
            let other = try plan(from: from, to: to, order: .breakBeforeMake).steps.map { $0.filter?.change.makes }
            #expect(other == (to == .standby ? [false, nil, true] : [false, true, nil]))
        }
        #expect(try plan(from: .standby, to: .remote, order: .makeBeforeBreak).steps.count == 2)
    }

    @Test func whatIsSoAlreadyIsLeftAlone() throws {
        let sides: [Side] = [.primary, .standby, .remote]
        for side in sides {
            let plan = try FilterPlan(guest(on: side), to: side, filters: filters(on: side).read)
            #expect(plan.around([]).isEmpty)
            #expect(FilterPlan.problems(try guest(on: side), filters(on: side).read).isEmpty)
            for other in sides where other != side {
                #expect(!FilterPlan.problems(try guest(on: side), filters(on: other).read).isEmpty)
            }
        }
    }

    @Test func aVFOfSomebodyElseIsNotTouched() throws {
        let other = Filters(vf: MACAddress(value: 0x0200_0000_0099), hasEntry: false)
        #expect(throws: ControllerError.self) { try FilterPlan(guest(on: .standby), to: .primary, filters: other.read) }
        let plan = try FilterPlan(guest(on: .primary), to: .standby, filters: other.read)
        #expect(plan.breaks.isEmpty)
    }

    /// Fails each step in turn: the filters end as before, and at every moment one of them has the MAC.
    @Test func aFailureAtEachStepPutsTheFiltersBack() throws {
        for (from, to) in [(Side.primary, Side.standby), (.standby, .primary)] {
            let plan = try plan(from: from, to: to, order: .makeBeforeBreak)
            for failing in plan.steps.indices {
                var now = filters(on: from)
                var redirection = Redirection(plan)
                var action = redirection.start()
                var isOver = false
                while !isOver {
                    var event = Redirection.Event.done
                    switch action {
                    case .run(let step):
                        if step == plan.steps[failing] {
                            event = .failed(.init("no"))
                        } else if let filter = step.filter {
                            now.apply(filter.change)
                        } else {
                            event = .answered([nil])
                        }
                    case .restoreFilter(let change): now.apply(change)
                    case .restore(let changes): event = .answered(changes.map { _ in nil })
                    case .reread: event = .read([:])
                    case .finish(let outcome):
                        guard case .rolledBack = outcome else {
                            Issue.record("\(outcome)")
                            return
                        }
                        isOver = true
                        continue
                    default: break
                    }
                    #expect(now.hasEntry || now.vf == address.mac)
                    action = redirection.next(event)
                }
                #expect(now == filters(on: from), "step \(failing) to \(to)")
            }
        }
    }

    @Test func releaseTakesBackWhatWasNotThere() throws {
        let standby = filters(on: .standby).read
        #expect(FilterPlan.release(try guest(on: .standby), standby, isUnfinished: false).count == 1)
        #expect(FilterPlan.release(try guest(on: .standby, hadEntry: true), standby, isUnfinished: false).isEmpty)
        // The VF's MAC belongs to the guest, which is on it, unless prepare did not finish.
        let primary = filters(on: .primary).read
        #expect(FilterPlan.release(try guest(on: .primary), primary, isUnfinished: false).isEmpty)
        let undone = FilterPlan.release(try guest(on: .primary), primary, isUnfinished: true)
        #expect(undone.map(\.change) == [.functionMAC(zero, vf: 0, pf: pf)])
    }
}
