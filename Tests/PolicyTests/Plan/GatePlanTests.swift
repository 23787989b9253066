import FDB
import Switchdev
import Testing

@testable import Policy

/// By what means a guest's ports are shut, and whose a lock is.
struct GatePlanTests {
    private func prepare(_ situation: Situation) throws -> Plan {
        var request = try PreparationRequest(
            id: GuestID("vm"), bridge: "br0", primary: "vf0", standby: "tap0", uplink: "up0",
            addresses: situation.addresses, side: .remote)
        request.isGated = true
        return try Planner().prepare(request, situation.observation())
    }

    /// A kernel before 5.18 acknowledges a lock and makes none, and tells of none.
    @Test(arguments: [[], ["vf0"], ["tap0"], ["vf0", "tap0"]])
    func portsThatTellOfNoLockAreShutByNftables(_ silent: [String]) throws {
        var situation = Situation()
        situation.primary.tellsLock = !silent.contains("vf0")
        situation.standby.tellsLock = !silent.contains("tap0")
        let plan = try prepare(situation)
        let gate = silent.isEmpty ? Gate.lock : .table
        #expect(plan.guest.own.map(\.port.gate) == [gate, gate] && plan.guest.uplink?.gate == nil)
        #expect(
            plan.steps.contains(.setting(plan.guest.standby, .gate(isShut: true, by: gate))), "\(plan.steps)")
    }

    @Test func withoutTheLockAndWithoutNftablesThereIsNoGate() throws {
        var situation = Situation()
        situation.filtering.guarding = "EOPNOTSUPP"
        #expect(try prepare(situation).guest.standby.gate == .lock)
        situation.standby.tellsLock = false
        let lacking = situation
        let error = #expect(throws: ControllerError.self) { try prepare(lacking) }
        #expect(error?.code == .precondition && error?.description.contains("leave --gate out") == true)
    }

    @Test func aLockIsOthersOnlyIfItWasThereWhenTheGuestLeft() throws {
        var situation = Situation()
        (situation.hasOnePort, situation.isGated, situation.side) = (true, true, .local)
        situation.standby.portFlags.remove(.learning)
        let open = try situation.observation()
        situation.standby.portFlags.insert(.locked)
        let locked = try situation.observation()
        func after(
            _ from: Side, _ seen: Observation, isAtRest: Bool = true, before: Bool = false
        ) throws -> Bool {
            var guest = try situation.guest()
            (guest.side, guest.standby.isLockedByOthers) = (.remote, before)
            guest.noteLocks(from: from, seen, isAtRest: isAtRest)
            return guest.standby.isLockedByOthers
        }
        #expect(try after(.local, locked) && !after(.local, open))
        #expect(try !after(.local, open, before: true), "what was so the last time says nothing")
        #expect(try !after(.local, locked, isAtRest: false), "the verb that was interrupted locked it")
        #expect(try after(.local, locked, isAtRest: false, before: true))
        #expect(try after(.remote, locked, before: true) && !after(.remote, locked))
        #expect(try !after(.remote, open, before: true), "the repair makes one of its own")
    }
}
