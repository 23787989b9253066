import FDB
import Switchdev
import TestSupport
import Testing

@testable import Policy

/// What becomes of an entry at a release, by what was found and by the port.
@Suite struct ReleaseTests {
    private let address: Address
    private let guest: GuestInterface
    private let observation: Observation

    init() throws {
        address = try Address("52:54:00:00:00:01")
        func port(_ name: String, _ index: Int32, switched: Bool = false) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: switched)
        }
        guest = GuestInterface(
            id: try GuestID("vm"), bridge: port("br", 3), primary: port("vf", 5, switched: true),
            standby: port("tap", 6), uplink: port("up", 7), addresses: [address], side: .standby, isSticky: false)
        observation = Observation(
            bridge: try link(3, "br", switched: false, master: 0),
            ports: [
                .primary: try link(5, "vf", switched: true), .standby: try link(6, "tap", switched: false),
                .remote: try link(7, "up", switched: false),
            ])
    }

    private func plan(_ entry: Entry?, found: EntrySet?) -> Plan {
        var observation = observation
        observation.entries = EntrySet([entry])
        return Planner().release(guest, observation: observation, found: found)
    }

    private func entry(_ port: Int32, _ state: EntryState = .noARP, _ flags: EntryFlags = []) -> Entry {
        Entry(address: address, port: port, bridge: 3, state: state, flags: flags)
    }

    @Test func aRecordThatKeptNoEntriesGoesBackToLearning() {
        // The fixture's bridge has an ageing time of 0, so nothing is learned; its ports flood.
        #expect(plan(entry(6), found: nil).changes.map(\.change.primitive) == [.makeDynamic])
    }

    @Test func whatADriverHadLearnedIsLearnedAnew() {
        let found = EntrySet([entry(5, .reachable, [.externallyLearned, .offloaded])])
        #expect(plan(entry(5), found: found).changes.map(\.change.primitive) == [.delete])
    }

    @Test func aControlPlanesEntryIsItsAgainOnlyWhereItWas() {
        let found = EntrySet([entry(7, .reachable, .externallyLearned)])
        #expect(plan(entry(7), found: found).changes.map(\.change.primitive) == [.recreateExternal])
        #expect(
            plan(entry(6, .noARP, .externallyLearned), found: found).changes.map(\.change.primitive) == [
                .recreateDynamic
            ])
        #expect(plan(entry(5), found: found).changes.map(\.change.primitive) == [.delete])
    }

    /// The guest's bridge learns nothing, as a VXLAN port under a control plane does not.
    @Test func whatAControlPlaneHasTakenToTheUplinkIsLeftToIt() {
        for found in [nil, EntrySet([]), EntrySet([entry(6, .reachable)])] as [EntrySet?] {
            let plan = plan(entry(7, .noARP, .externallyLearned), found: found)
            #expect(plan.changes.map(\.change) == [EntryChange(address, .makeExternal, port: 7, oldPort: 7)])
        }
        #expect(self.plan(entry(7, .reachable, .externallyLearned), found: nil).isEmpty)
        #expect(plan(entry(7), found: nil).changes.map(\.change.primitive) == [.makeDynamic])
    }

    @Test func staticEntriesStay() {
        #expect(plan(entry(6), found: EntrySet([entry(6)])).isEmpty)
        #expect(plan(entry(6), found: EntrySet([entry(5)])).isEmpty)
        let sticky = plan(entry(6), found: EntrySet([entry(6, .noARP, .sticky)])).changes
        #expect(sticky.map(\.change) == [EntryChange(address, .replace, port: 6, sticky: true)])
        // Made dynamic by somebody else meanwhile.
        #expect(plan(entry(6, .reachable), found: EntrySet([entry(6)])).changes.map(\.change.primitive) == [.replace])
    }

    /// The guest's side is where it was before the bracket: on the standby its entries would lead to a port that it may not read.
    @Test func whatABracketHasOnTheStandbyIsGivenBackOnTheGuestsSide() throws {
        var here = guest
        (here.side, here.primary) = (.primary, PortIdentity(name: "vf", index: 5, isEswitchPort: false))
        var seen = observation
        seen.ports[.primary] = try link(5, "vf", switched: false)
        func plan(_ entry: Entry, _ seen: Observation, isBracketed: Bool = true, found: EntrySet? = nil) -> Plan {
            var seen = seen
            seen.entries = EntrySet([entry])
            return Planner().release(here, observation: seen, found: found, isBracketed: isBracketed)
        }
        let given = try #require(plan(entry(6), seen).changes.first)
        #expect(given.change == EntryChange(address, .makeDynamic, port: 5, oldPort: 6))
        #expect(given.undo == EntryChange(address, .replace, port: 6, oldPort: 5) && given.expected?.port == 5)
        // As it was found on the primary.
        let fixed = plan(entry(6), seen, found: EntrySet([entry(5)])).changes.map(\.change)
        #expect(fixed == [EntryChange(address, .replace, port: 5, oldPort: 6)])
        // Without a bracket an entry on the standby is where somebody else has put it.
        let stray = plan(entry(6), seen, isBracketed: false).changes.map(\.change)
        #expect(stray == [EntryChange(address, .makeDynamic, port: 6, oldPort: 6)])
        // A primary that is gone is no place for it.
        seen.ports[.primary] = nil
        let left = plan(entry(6), seen)
        #expect(left.changes.map(\.change) == [EntryChange(address, .makeDynamic, port: 6, oldPort: 6)])
        #expect(left.notes.contains { $0.contains("vf delivers nothing") }, "\(left.notes)")
    }

    @Test func oneRefusalHoldsNothingElse() throws {
        let other = try Address("52:54:00:00:00:02")
        let guest = GuestInterface(
            id: guest.id, bridge: guest.bridge, primary: guest.primary, standby: guest.standby,
            addresses: [address, other], side: .standby, isSticky: false)
        var observation = observation
        observation.entries = [address: entry(6), other: Entry(address: other, port: 6, bridge: 3, state: .noARP)]
        var redirection = Redirection(Planner().release(guest, observation: observation, found: nil))
        #expect(redirection.start() == .recordIntent)
        _ = redirection.next(.done)
        let refusal = KernelRefusal(.other, errno: "EINVAL", description: "Invalid argument")
        #expect(redirection.next(.answered([0: refusal])) == .reread)
        let given = Entry(address: other, port: 6, bridge: 3, state: .reachable)
        #expect(redirection.next(.read([address: entry(6), other: given])) == .recordCommit(.nothingToProve))
        guard case .finish(.incomplete(_, let left)) = redirection.next(.done) else {
            Issue.record("nothing is told")
            return
        }
        #expect(left.map(\.address) == [address] && left.map(\.cause) == [refusal])
    }
}
