import FDB
import Netlink
public import Policy
import Records
import Switchdev
import System

/// What `reconcile` did about one guest.
public struct Reconciliation: Hashable, Sendable, Encodable {
    /// The guest interface's name.
    public let guest: String
    /// What it did, and why.
    public var words: String
    /// The guest's entries are on the side that the journal says.
    public var ok: Bool
}

/// What `reconcile` did.
public struct ReconciliationReport: Hashable, Sendable, Encodable {
    /// One for each guest.
    public var guests: [Reconciliation] = []
    /// One for each probe of a NIC that did not end; its `guest` is the NIC's interface.
    public var probes: [Reconciliation] = []
    /// Sentinels that a dead process left, and that are removed.
    public var sentinelsRemoved: [String] = []

    /// The process's exit code.
    public var exitCode: Int32 {
        (guests + probes).allSatisfy(\.ok) ? 0 : ControllerError.Code.notRolledBack.rawValue
    }
}

extension Host {
    /// Brings every guest of this network namespace to the side that the journal says, ends what a dead process left, and
    /// removes its sentinels. The same call again finds nothing to do.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the journal cannot be read.
    public mutating func reconcile(options: VerbOptions) throws(ControllerError) -> ReconciliationReport {
        var report = ReconciliationReport()
        guard folder.hasJournal else { return report }
        if !options.dryRun { try requirePrivilege() }
        let journal = try Journal(folder: folder)
        report.probes = try endProbes(journal, options: options)
        for record in try journal.records() {
            report.guests.append(reconcile(record, in: journal, options: options))
        }
        report.sentinelsRemoved = try sweepSentinels(journal, options: options)
        return report
    }

    mutating func reconcile(
        _ record: GuestRecord, in journal: borrowing Journal, options: VerbOptions
    ) -> Reconciliation {
        let name = record.guest.id.text
        do throws(ControllerError) {
            if record.boot != journal.boot {
                if !options.dryRun { try journal.remove(row: record.row) }
                return Reconciliation(
                    guest: name, words: "forgotten: the reboot emptied the bridge's table; prepare it anew", ok: true)
            }
            if !options.dryRun { try journal.lock(record) }
            defer { if !options.dryRun { journal.unlock(row: record.row) } }
            if !options.dryRun { try journal.endWait(row: record.row) }
            // What another process did until it let go of the lock is seen.
            guard let record = try journal.record(record.guest.id) else {
                return Reconciliation(guest: name, words: "released meanwhile", ok: true)
            }
            if record.phase == .preparing {
                journal.unlock(row: record.row)
                let result = try release(record.guest.id, options: options)
                return Reconciliation(
                    guest: name, words: "its prepare did not end: released, as before it", ok: result.exitCode == 0)
            }
            if record.phase == .bracketed { return try adopt(record, in: journal, options: options) }
            let result = try settle(record, in: journal, clock: Stopwatch(), options: options)
            let side = record.guest.side.rawValue
            let why =
                switch record.phase {
                case .pinned: ""
                case .opening, .bracketed, .closing: "the \(record.phase.rawValue) of a bracket did not end: "
                default: "a \(record.phase.rawValue) did not end: "
                }
            let what: String
            switch result.outcome {
            case .already: what = "as intended on \(side)"
            case .planned: what = "\(result.messages?.count ?? 0) messages would bring it to \(side)"
            case .done where result.addresses.isEmpty: what = "on \(side) already"
            case .done: what = "\(result.addresses.count) entries brought back to \(side)"
            default: what = "failed: \(result.failures.joined(separator: "; "))"
            }
            let proof = result.proof.map { "; proof: \($0)" } ?? ""
            return Reconciliation(guest: name, words: why + what + proof, ok: result.exitCode == 0)
        } catch {
            return Reconciliation(guest: name, words: "\(error)", ok: error.code == .busy)
        }
    }

    /// Deletes sentinels on the guests' ports, but for those of a guest whose redirection is running.
    private mutating func sweepSentinels(
        _ journal: borrowing Journal, options: VerbOptions
    ) throws(ControllerError) -> [String] {
        let records = try journal.records().filter { $0.boot == journal.boot }
        let busy = records.filter { journal.isLocked($0) }
        let sparedPorts = Set(busy.flatMap { $0.guest.ports.map(\.port.index) })
        var removed: [String] = []
        for bridge in Set(records.filter { $0.guest.eswitchPort != nil }.map(\.guest.bridge.index)) {
            let ports = Set(
                records.filter { $0.guest.bridge.index == bridge }.flatMap { $0.guest.ports.map(\.port.index) }
            )
            .subtracting(sparedPorts)
            guard let table = try? Table.snapshot(bridge: bridge, using: &socket) else { continue }
            let left = table.entries.values.filter {
                Sentinel.isSentinel($0.address.mac) && $0.isStatic && ports.contains($0.port)
            }.sorted { $0.address < $1.address }
            if !options.dryRun { _ = socket.perform(left.map { EntryRequest.delete($0.address, port: $0.port) }) }
            removed += left.map(\.address.description)
        }
        return removed
    }
}
