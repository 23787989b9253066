import Switchdev

/// Everything that the history knows of one redirection: what one would attach to a change ticket.
public struct HistoryReport: Hashable, Sendable, Encodable {
    /// Its line.
    public let entry: HistoryEntry
    /// The addresses, with how each was changed.
    public let addresses: [Report.AddressResult]
    /// What the operator was told, findings that were waived among it.
    public let notes: [String]
    /// What the ports' counters say; nil for redirections of earlier versions.
    public let evidence: Evidence?
    /// How long proof took, in nanoseconds.
    public let proofNanoseconds: Int64?
}

extension History {
    /// One redirection with all that is known of it; nil when there is none of that number.
    func report(_ id: Int64) throws(DatabaseError) -> HistoryReport? {
        guard let entry = try entry(id: id) else { return nil }
        let results = try database.run(
            "SELECT address, primitive, port, error FROM result WHERE redirection = ? ORDER BY rowid", .integer(id))
        let version = try database.run("PRAGMA user_version").first?.integer(0) ?? 0
        var notes: [String] = []
        var evidence: Evidence?
        var proof: Int64?
        if version >= 2 {
            notes = try database.run("SELECT text FROM note WHERE redirection = ? ORDER BY rowid", .integer(id))
                .compactMap { $0.text(0) }
            if let row = try database.run(
                "SELECT observed_ns, quiet, proof_ns FROM evidence WHERE redirection = ?", .integer(id)
            ).first {
                var found = Evidence(
                    ports: try counters(id), from: Side(rawValue: entry.from) ?? .primary,
                    to: Side(rawValue: entry.to) ?? .primary)
                found.observedNanoseconds = row.integer(0) ?? 0
                found.becameQuiet = row.integer(1) == 1
                evidence = found
                proof = row.integer(2)
            }
        }
        return HistoryReport(
            entry: entry,
            addresses: results.map {
                .init(
                    address: $0.text(0) ?? "", primitive: $0.text(1) ?? "", port: $0.text(2) ?? "", error: $0.text(3))
            }, notes: notes, evidence: evidence, proofNanoseconds: proof)
    }

    private func counters(_ id: Int64) throws(DatabaseError) -> [Evidence.Port] {
        var ports: [Evidence.Port] = []
        for row in try database.run(
            "SELECT port, side, moment, rx, tx, rx_dropped, tx_dropped FROM counter WHERE redirection = ?", .integer(id)
        ) {
            guard let name = row.text(0), let side = row.text(1).flatMap(Side.init),
                let moment = row.text(2).flatMap(Evidence.Moment.init)
            else { continue }
            func number(_ column: Int) -> UInt64 { UInt64(bitPattern: row.integer(column) ?? 0) }
            let index = ports.firstIndex { $0.name == name } ?? ports.endIndex
            if index == ports.endIndex { ports.append(.init(name: name, side: side)) }
            ports[index].counters[moment] = .init(
                rxPackets: number(3), txPackets: number(4), rxDropped: number(5), txDropped: number(6))
        }
        let order = Side.allCases
        return ports.sorted { (order.firstIndex(of: $0.side) ?? 0) < (order.firstIndex(of: $1.side) ?? 0) }
    }
}
