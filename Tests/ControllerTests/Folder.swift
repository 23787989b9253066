@testable import Controller
import Glibc
import Switchdev
import Testing

/// A state folder of one's own.
final class Folder: Sendable {
    let path: String
    let state: StateFolder

    init() throws {
        var template = Array("/tmp/fdbsteer-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        state = StateFolder(path)
    }

    deinit {
        for name in ["state.db", "lock", "history.db", "history.db-wal", "history.db-shm", "history.backlog"] {
            unlink(path + "/" + name)
        }
        rmdir(path)
    }

    func append(
        _ verb: Plan.Verb = .switch, to side: Side = .standby, _ outcome: Report.Result = .done, move: Int64 = 30_000,
        proof: Int64 = 0
    ) throws {
        try History(folder: state).append(Folder.report(verb, to: side, outcome, move: move, proof: proof))
    }

    static func report(
        _ verb: Plan.Verb = .switch, to side: Side = .standby, _ outcome: Report.Result = .done, move: Int64 = 30_000,
        proof: Int64 = 0, startedAt: Int64 = 1
    ) -> Report {
        var report = Report(
            verb: verb, guest: "vm1", bridge: "br0", from: .primary, to: side, strategy: "cut", outcome: outcome,
            proof: nil, proofStatus: nil, proofRequired: false, startedAt: startedAt, timings: Report.Timings(),
            addresses: [],
            notes: [], failures: [], messages: nil)
        report.timings.moveNanoseconds = move
        var evidence = Evidence(ports: [.init(name: "p", side: .primary)], from: .primary, to: side)
        evidence.proofNanoseconds = proof
        report.evidence = evidence
        return report
    }
}
