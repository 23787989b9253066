import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// What `reconcile` did about one guest.
package struct Reconciliation: Hashable, Sendable, Encodable {
    /// The guest interface's name.
    package let guest: String
    /// What it did, and why.
    package var message: String
    /// The guest's entries are on the side that the journal says.
    package var ok: Bool
    /// Something was done, or tried.
    package var changed = false
    /// What is wrong with its bridge, ports and filters afterwards, as `verify` says it.
    package var problems: [Problem] = []
}

/// What `reconcile` did.
package struct ReconciliationReport: Hashable, Sendable, Encodable {
    /// One for each guest.
    package var guests: [Reconciliation] = []
    /// One for each probe of a NIC that did not end; its `guest` is the NIC's interface.
    package var probes: [Reconciliation] = []
    /// Sentinels that a dead process left, and that are removed.
    package var sentinelsRemoved: [String] = []

    /// The process's exit code.
    package var exitCode: Int32 {
        (guests + probes).allSatisfy(\.ok) ? 0 : ControllerError.Code.notRolledBack.rawValue
    }
}

/// Brings every guest of this network namespace to the side that the journal says, ends what dead processes left, and removes
/// their sentinels. The same call again finds nothing to do.
package struct Reconcile {
    let options: VerbOptions
    /// Guests of which it only says what it would do.
    private let observed: Observed

    package init(options: VerbOptions = VerbOptions(), observed: Observed = Observed()) {
        self.options = options
        self.observed = observed
    }

    /// - Throws: ``ControllerError`` of code `precondition` when the journal cannot be read.
    package func run(on host: inout Host) throws(ControllerError) -> ReconciliationReport {
        var report = ReconciliationReport()
        guard let reading = try Journal(reading: host.folder) else { return report }
        if !options.dryRun { try host.kernel.requirePrivilege() }
        let journal = options.dryRun ? reading : try Journal(folder: host.folder)
        report.probes = try ProbeRestore(options: options).run(journal, on: &host.kernel)
        let (records, faults) = try journal.recordsAndFaults()
        if !options.dryRun { refreshGuards(records.filter { journal.place(of: $0) == .here }, on: &host.kernel) }
        for record in records {
            let options = observed.contains(record.guest.id) ? options.onlyPlanning : options
            report.guests.append(Reconcile(options: options).run(record, in: journal, on: &host))
        }
        report.guests += faults.map { Reconciliation(guest: "?", message: "\($0)", ok: false) }
        // What others prepare or release at the moment keeps it from sweeping: the next one does.
        if !options.dryRun { try? journal.sweepMarks() }
        report.sentinelsRemoved = try sweepSentinels(journal, on: &host.kernel)
        return report
    }

    /// Takes over into guards what ports have come since, and their VLANs; what is missing of a guard is made with its guest.
    private func refreshGuards(_ records: [GuestRecord], on kernel: inout Kernel) {
        let guarded = records.filter { $0.guest.needsTable && !observed.contains($0.guest.id) }
        guard !guarded.isEmpty, let links = try? kernel.links() else { return }
        for tenants in Dictionary(grouping: guarded, by: \.guest.bridge.index).values {
            if let first = tenants.first { _ = try? kernel.refreshGuard(first.guest, links) }
        }
    }

    /// Reconciles one guest of a journal.
    private func run(_ record: GuestRecord, in journal: Journal, on host: inout Host) -> Reconciliation {
        let name = record.guest.id.text
        if journal.place(of: record) == .otherNamespace {
            return Reconciliation(
                guest: name,
                message:
                    "prepared in another network namespace (inode \(record.namespace)), left alone; if that is gone: "
                    + "fdbsteer release \(name) --forget", ok: true)
        }
        do throws(ControllerError) {
            // What another process did until it let go of the lock is seen.
            if options.dryRun {
                var claim = try journal.claim(record.guest.id, onlyReads: true, .void)
                return try run(&claim, on: &host)
            }
            if var claim = try journal.claim(record.guest.id, row: record.row) { return try run(&claim, on: &host) }
            guard try journal.record(record) != nil else {
                return Reconciliation(guest: name, message: "released meanwhile", ok: true)
            }
            return Reconciliation(guest: name, message: "\(Claim.busy(record))", ok: true)
        } catch {
            return Reconciliation(guest: name, message: "\(error)", ok: error.code == .busy)
        }
    }

    /// Reconciles a guest that is held.
    func run(_ claim: inout Claim, on host: inout Host) throws(ControllerError) -> Reconciliation {
        var record = claim.record
        let name = record.guest.id.text
        if let words = claim.journal.place(of: record).words {
            if !options.dryRun { try claim.write(.removed) }
            return Reconciliation(
                guest: name, message: "forgotten: it \(words); prepare it anew", ok: true, changed: !options.dryRun)
        }
        switch record.phase {
        case .preparing:
            let released = host.book(
                try Release(options: options).run(under: claim, on: &host.kernel, since: Stopwatch()))
            return Reconciliation(
                guest: name, message: "its prepare did not end: released, as before it", ok: released.exitCode == 0,
                changed: released.isEvent)
        case .bracketed:
            var (result, report) = try RepairBracket(options: options).run(under: claim, on: &host.kernel)
            if let report { _ = host.book(report) }
            result.problems = Verify.problems(of: &record, on: &host.kernel)
            return result
        case .releasing where try Release.plan(claim, on: &host.kernel).0.givesNothingBack:
            // Everything was given back, and only the record is left of it.
            let released = host.book(
                try Release(options: options).run(under: claim, on: &host.kernel, since: Stopwatch()))
            return Reconciliation(
                guest: name, message: "its release had ended, but for its record", ok: released.exitCode == 0,
                changed: released.isEvent)
        default:
            let claimed = try claimed(record, on: &host.kernel)
            let goal = try arrival(record, on: &host.kernel)
            let report = host.book(
                try Abort(options: options).putBack(
                    claim, for: .reconcile, at: goal, sparing: claimed, on: &host.kernel, since: Stopwatch()))
            var result = Reconciliation(
                guest: name, message: words(record, report, claimed), ok: report.exitCode == 0 && claimed == nil)
            result.problems = Verify.problems(of: &record, on: &host.kernel)
            result.changed = report.isEvent
            return result
        }
    }

    /// The side to which a switch has moved all entries, when only the record does not say so: its process died before the last
    /// write, or could not write. Frames have followed, so they stay.
    private func arrival(_ record: GuestRecord, on kernel: inout Kernel) throws(ControllerError) -> Side? {
        let guest = record.guest
        guard record.phase == .switching, let goal = record.goal, goal != guest.side, let port = guest.port(of: goal),
            try Abort.missing(guest, at: goal, on: &kernel) == nil
        else { return nil }
        let there = PlannedChange.Expectation(port: port.index, isStatic: true, isSticky: guest.isSticky)
        return try kernel.entries(guest.addresses, of: guest).allSatisfy(there.holds) ? goal : nil
    }

    /// The addresses of a guest that stay where they are.
    private func claimed(_ record: GuestRecord, on kernel: inout Kernel) throws(ControllerError) -> Claimed? {
        let guest = record.guest
        guard record.phase == .pinned, guest.side != .remote,
            try kernel.entries(guest.addresses, of: guest).contains(where: {
                $0?.flags.contains(.externallyLearned) == true && $0?.port != guest.port(of: guest.side)?.index
            })
        else { return nil }
        return try Claimed(record, kernel.observe(guest))
    }

    private func words(_ record: GuestRecord, _ report: Report, _ claimed: Claimed?) -> String {
        let side = report.to.rawValue
        let why =
            switch record.phase {
            case .pinned: ""
            case .opening, .bracketed, .closing: "the \(record.phase.rawValue) of a bracket did not end: "
            default: "a \(record.phase.rawValue) did not end: "
            }
        let what =
            switch report.outcome {
            case .already where claimed != nil: "only this differs"
            case .already: "as intended on \(side)"
            case .planned where report.messages?.count == 1: "1 message would bring it to \(side)"
            case .planned: "\(report.messages?.count ?? 0) messages would bring it to \(side)"
            case .done where report.addresses.isEmpty: "on \(side) already"
            case .done where report.addresses.count == 1: "1 entry brought back to \(side)"
            case .done: "\(report.addresses.count) entries brought back to \(side)"
            default: "failed: \(report.failures.joined(separator: "; "))"
            }
        let also = report.outcome == .done || claimed != nil ? report.notes : []
        return why + ([what] + also).joined(separator: ", ") + (report.proof.map { "; proof: \($0)" } ?? "")
    }

    /// Deletes sentinels on the guests' ports, but for those of a guest whose redirection is running.
    private func sweepSentinels(_ journal: Journal, on kernel: inout Kernel) throws(ControllerError) -> [String] {
        let records = try journal.records()
        let busy = records.filter { journal.isLocked($0) }
        let sparedPorts = Set(busy.flatMap { $0.guest.ports.map(\.port.index) })
        var removed: [String] = []
        for bridge in Set(records.filter { $0.guest.eswitchPort != nil }.map(\.guest.bridge.index)) {
            let ports = Set(
                records.filter { $0.guest.bridge.index == bridge }.flatMap { $0.guest.ports.map(\.port.index) }
            )
            .subtracting(sparedPorts)
            guard let table = try? Table.snapshot(bridge: bridge, using: &kernel.socket) else { continue }
            let left = table.entries.values.filter {
                Sentinel.isSentinel($0.address.mac) && $0.isStatic && ports.contains($0.port)
            }.sorted { $0.address < $1.address }
            if !options.dryRun {
                _ = kernel.socket.perform(left.map { EntryRequest.delete($0.address, port: $0.port) })
            }
            removed += left.map(\.address.description)
        }
        return removed
    }
}
