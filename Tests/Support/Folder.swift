import FDB
import Lab
package import Policy
package import Records
import Switchdev

/// A private state folder.
package final class Folder: Sendable {
    private let folder: TemporaryFolder
    package let path: String
    package let state: StateFolder

    package init() throws {
        folder = try TemporaryFolder()
        path = folder.path
        state = StateFolder(path)
    }

    deinit { folder.remove() }

    package func append(
        _ verb: Plan.Verb = .switch, to side: Side = .standby, _ outcome: Report.Result = .done, move: Int64 = 30_000,
        proof: Int64 = 0
    ) throws {
        try EventLog(state).append(
            Folder.report(verb, to: side, outcome, move: move, proof: proof).eventLine(by: Doer()))
    }

    package static func report(
        _ verb: Plan.Verb = .switch, to side: Side = .standby, _ outcome: Report.Result = .done, move: Int64 = 30_000,
        proof: Int64 = 0, startedAt: Int64 = 1
    ) throws -> Report {
        func port(_ name: String, _ index: Int32) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: false)
        }
        let guest = GuestInterface(
            id: try GuestID("vm1"), bridge: port("br0", 1), primary: port("p", 2), standby: port("s", 3),
            addresses: [], side: side, isSticky: false)
        let plan = Plan(verb: verb, guest: guest, from: .primary, to: side, steps: [], notes: [])
        var report = Report(plan, startedAt: startedAt, options: VerbOptions())
        report.outcome = outcome
        report.timings.moveNanoseconds = move
        var evidence = Evidence(ports: [.init(name: "p", side: .primary)], from: .primary, to: side)
        evidence.proofNanoseconds = proof
        report.evidence = evidence
        return report
    }
}
