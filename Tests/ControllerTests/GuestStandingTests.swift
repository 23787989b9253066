import Policy
import Switchdev
import TestSupport
import Testing

@testable import Controller
@testable import Records

/// What is said of one guest.
struct GuestStandingTests {
    /// Who has written the record last says nothing of what its bracket waits for: the daemon repairs those of others too.
    @Test(arguments: ["fdbsteerd", "fdbsteer switch"], [true, false])
    func onlyABracketForACarrierIsClosedByIt(by: String, isForCarrier: Bool) throws {
        func port(_ name: String, _ index: Int32) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: false)
        }
        let guest = GuestInterface(
            id: try GuestID("vm1"), bridge: port("br0", 1), primary: port("p", 2), standby: port("s", 3), addresses: [],
            side: .primary, isSticky: false)
        let record = GuestRecord(
            row: 1, guest: guest, phase: .bracketed, goal: .standby, boot: "b", namespace: 1, proof: .missing,
            revision: 1, bracket: Bracket(openedAt: 1, means: .clsact, ownsClsact: false, isForCarrier: isForCarrier),
            by: by)
        let status = GuestStatus(record, running: false, .here)
        func closer(followed: Set<String>) -> String? {
            status.closer(of: record, DaemonKnowledge(process: nil, followed: followed))
        }
        #expect(
            closer(followed: [])
                == (isForCarrier
                    ? "fdbsteerd closes it on the primary when that has carrier again, on the standby when the primary goes"
                    : "nobody closes it by itself: fdbsteerd does not follow this guest"))
        #expect(closer(followed: ["vm1"])?.hasPrefix("fdbsteerd closes it by QEMU's events") == true)
        var daemon = DaemonKnowledge(process: nil, followed: ["vm1"])
        for (row, isHeard) in [(1 as Int64, false), (2, true)] {
            var found = Conditions()
            _ = found.replace(.monitor, by: [Condition(Condition.monitorSilent, .problem, "", "", remedy: "")], at: 1)
            daemon.conditions = found.entries.map { ConditionRecord(guest: "vm1", row: row, $0) }
            #expect(status.closer(of: record, daemon)?.hasPrefix("nobody closes it while QEMU's") == !isHeard)
        }
        daemon.fault = ControllerError(.precondition, "")
        #expect(status.closer(of: record, daemon)?.hasPrefix("perhaps fdbsteerd: ") == true)
        #expect(status.closer(of: record, nil) == "nobody closes it by itself: fdbsteerd does not run")
    }

    /// An attempt is judged by its own end, and one that was not made ends nothing.
    @Test func aFailureIsOverWhereALookFindsSomethingElse() throws {
        let report = try Folder.report()
        let over: [Keeper.Outcome] = [
            .doubtful(nil, again: 1, .stolen), .fought(until: 1, .stolen, by: [], isNews: false), .yielded([], to: []),
            .beyondRepair(""), .unbracketed(""),
        ]
        let others: [Keeper.Outcome] = [
            .fine, .later(at: 1, .stolen), .repaired(report, .stolen, by: [], on: []), .redirected(report, reason: ""),
            .bracketed(report, reason: ""), .renamed(""),
        ]
        #expect(over.allSatisfy(\.replacesFailure) && !others.contains(where: \.replacesFailure))
    }
}
