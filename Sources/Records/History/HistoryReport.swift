package import Policy
import Switchdev

/// Everything that the history has about one redirection, for example to attach to a change ticket.
package struct HistoryReport: Hashable, Sendable, Encodable {
    /// The line in the history.
    package let entry: HistoryEntry
    /// The addresses, and how each was changed.
    package let addresses: [Report.AddressResult]
    /// The notes for the operator, including waived findings.
    package let notes: [String]
    /// What the ports' counters show; nil for redirections by earlier versions.
    package let evidence: Evidence?
}

extension History {
    /// One redirection with all its details; nil if there is none with that number.
    package func report(_ id: Int64) throws(DatabaseError) -> HistoryReport? {
        guard let entry = try entry(id: id) else { return nil }
        let results = try database.run(
            "SELECT address, primitive, port, error FROM result WHERE redirection = ? ORDER BY rowid", .integer(id))
        let notes = try database.run("SELECT text FROM note WHERE redirection = ? ORDER BY rowid", .integer(id))
        let evidence = try database.run("SELECT evidence FROM redirection WHERE id = ?", .integer(id)).first?.text(0)
        return HistoryReport(
            entry: entry,
            addresses: results.map {
                .init(
                    address: $0.text(0) ?? "", primitive: $0.text(1) ?? "", port: $0.text(2) ?? "", error: $0.text(3))
            }, notes: notes.compactMap { $0.text(0) },
            evidence: evidence.flatMap {
                Evidence(
                    record: $0, from: Side(rawValue: entry.from) ?? .primary, to: Side(rawValue: entry.to) ?? .primary)
            })
    }
}
