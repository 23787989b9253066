import Netlink
public import QMP
import Switchdev

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
        let record = try claim(id)
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
        try relearn(record.row)
        return try written(report, reason)
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
        let record = try claim(id)
        defer { journal.unlock(row: record.row) }
        let report = try host.open(record, to: goal, in: journal, clock: clock, options: options)
        try relearn(record.row)
        return try written(report, reason)
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

    /// Locks a guest. Its record is mostly the one that is watched, and one number tells.
    private func claim(_ id: GuestID) throws(ControllerError) -> Journal.Record {
        if let known = watch.record(named: id), known.phase != .waiting, known.boot == journal.boot,
            journal.tryLock(row: known.row, patience: 0)
        {
            if try journal.revision(row: known.row) == known.revision { return known }
            journal.unlock(row: known.row)
        }
        return try host.claim(id, in: journal, options)
    }

    private mutating func written(_ report: Report, _ reason: String) throws(ControllerError) -> Report {
        let report = write(report, reason: reason)
        guard report.exitCode == 0 || report.exitCode == ControllerError.Code.unproven.rawValue else {
            throw ControllerError(
                report.outcome == .notRolledBack ? .notRolledBack : .rolledBack,
                report.failures.joined(separator: "; "))
        }
        return report
    }
}
