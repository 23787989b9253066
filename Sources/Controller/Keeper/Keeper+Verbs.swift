import Netlink
public import Policy
public import QMP
import Records
import Switchdev
import System

/// What is done with guests whose migration is followed: the verbs on the journal that is open already.
extension Keeper {
    /// A guest that is watched, by its name.
    public func guest(_ id: GuestID) -> (row: Int64, guest: GuestInterface, bracket: Side?)? {
        guard let record = watch.record(named: id) else { return nil }
        return (record.row, record.guest, record.bracket == nil ? nil : record.goal)
    }

    /// Redirects a guest.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - side: where to; an open bracket is closed there.
    ///   - reason: for the history.
    /// - Throws: ``ControllerError``; of codes `precondition` and `busy` when nothing was changed.
    public mutating func move(_ id: GuestID, to side: Side, reason: String) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        if let report = try quickly(id, to: side, clock) { return try written(report.report, report.row, reason) }
        let record = try host.claim(id, in: journal, options)
        defer { journal.unlock(row: record.row) }
        var report: Report
        if record.bracket != nil {
            report = try host.close(
                record, at: side == .remote ? .standby : side, verb: .switch, in: journal, clock: clock,
                options: options)
            if side == .remote, report.exitCode == 0, let now = try journal.record(row: record.row) {
                _ = write(report, reason: reason)
                report = try host.redirect(
                    now, to: side, verb: .switch, in: journal, clock: clock, options: options)
            }
        } else {
            report = try host.redirect(record, to: side, verb: .switch, in: journal, clock: clock, options: options)
        }
        return try written(report, record.row, reason)
    }

    /// Redirects a guest by the record that is watched, which mostly is the one in the journal.
    ///
    /// - Returns: nil when it is not, or has to be read for another reason; nothing was changed then.
    private mutating func quickly(
        _ id: GuestID, to side: Side, _ clock: Stopwatch
    ) throws(ControllerError) -> (report: Report, row: Int64)? {
        guard let known = watch.record(named: id), known.phase == .pinned, known.boot == journal.boot,
            journal.tryLock(row: known.row, patience: 0)
        else { return nil }
        defer { journal.unlock(row: known.row) }
        do throws(ControllerError) {
            let report = try host.redirect(
                known, to: side, verb: .switch, in: journal, clock: clock, options: options)
            // The journal refuses an intent that is about an older record; without one, nobody has asked it.
            if report.outcome != .refused, report.outcome != .already { return (report, known.row) }
            let record = try journal.record(row: known.row)
            return record == known ? (report, known.row) : nil
        } catch {
            if try journal.record(row: known.row) == known { throw error }
            return nil
        }
    }

    /// Opens a bracket for a guest, or notes where an open one leads to.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - goal: where the guest is going.
    ///   - isDeclared: the configuration says that the guest takes one of two copies, whatever `prepare` was told.
    ///   - reason: for the history.
    /// - Throws: ``ControllerError``; nothing was changed.
    public mutating func bracket(
        _ id: GuestID, to goal: Side, isDeclared: Bool, reason: String
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        var options = options
        if isDeclared { options.allowsDuplicates = true }
        let record = try host.claim(id, in: journal, options)
        defer { journal.unlock(row: record.row) }
        let report = try host.open(record, to: goal, in: journal, clock: clock, options: options)
        return try written(report, record.row, reason)
    }

    /// What announces a guest on its uplink.
    ///
    /// - Throws: ``ControllerError`` for a guest that is not here or has no uplink.
    public mutating func announcer(
        _ id: GuestID, ips: [AnnouncementRequest.Owned]
    ) throws(ControllerError) -> Announcer {
        try host.announcer(for: id, ips: ips)
    }

    /// Lets a guest's own filter decide about its addresses (``Host/adopt(_:filter:limit:takesLearned:options:)``).
    public mutating func adopt(
        _ id: GuestID, filter: RxFilter, limit: Int
    ) throws(ControllerError) -> AdoptionReport {
        let report = try host.adopt(id, filter: filter, limit: limit, options: options)
        if let row = watch.record(named: id)?.row { try relearn(row) }
        return report
    }

    /// Takes the port that has come under the name of a guest's lost primary for its primary.
    ///
    /// - Returns: false when there is no such port of the guest's bridge.
    /// - Throws: ``ControllerError``.
    public mutating func readopt(_ row: Int64) throws(ControllerError) -> Bool {
        guard let known = watch.records[row] else { return false }
        try journal.lock(known, patience: Journal.lockPatience)
        defer { journal.unlock(row: row) }
        guard let record = try journal.record(row: row), record.phase == .pinned else { return false }
        let links = try ControllerError.reading("the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &host.socket)
        }
        guard let link = links[record.guest.primary.name], link.master == record.guest.bridge.index else {
            return false
        }
        if link.index != record.guest.primary.index { try journal.rebind(primary: PortIdentity(link), row: row) }
        watch.found(record.guest.primary.name)
        try relearn(row)
        return true
    }

    private mutating func written(
        _ report: Report, _ row: Int64, _ reason: String
    ) throws(ControllerError) -> Report {
        try relearn(row)
        let report = write(report, reason: reason)
        guard report.exitCode == 0 || report.exitCode == ControllerError.Code.unproven.rawValue else {
            throw ControllerError(
                report.outcome == .notRolledBack ? .notRolledBack : .rolledBack,
                report.failures.joined(separator: "; "))
        }
        return report
    }
}
