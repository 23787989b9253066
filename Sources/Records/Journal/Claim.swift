import CNetlink
package import Policy
package import Switchdev
import System

/// A guest that this process has locked, with its record as it was read under the lock. Nobody else writes the record meanwhile,
/// and this process writes it by this value alone. The lock ends with the value.
///
/// Methods copy `journal` and `record` before a closure uses them: a closure that captures a noncopyable `self` crashes Swift 6.3.
package struct Claim: ~Copyable {
    /// As it was read; what is written since is not in it (``reread()``).
    package private(set) var record: GuestRecord
    /// The journal that the record is in.
    package let journal: Journal
    /// A dry run only reads.
    private let isLocked: Bool

    /// Locks the guest of a record that cannot have changed since it was read.
    ///
    /// - Throws: ``ControllerError`` of code `busy`.
    init(_ record: GuestRecord, in journal: Journal) throws(ControllerError) {
        guard journal.hold(row: record.row, patience: 0) else { throw Claim.busy(record) }
        self.init(record, in: journal, isLocked: true)
    }

    fileprivate init(_ record: GuestRecord, in journal: Journal, isLocked: Bool) {
        self.record = record
        self.journal = journal
        self.isLocked = isLocked
    }

    deinit { if isLocked { journal.letGo(row: record.row) } }

    /// Writes what a plan tells the journal.
    ///
    /// - Parameters:
    ///   - change: what it tells.
    ///   - shown: what the plan's execution showed of hardware.
    /// - Throws: ``ControllerError`` of code `precondition` when the journal cannot be written, of code `busy` for an intent when
    ///   the record is no longer the one that the plan was made for.
    package func write(
        _ change: JournalChange, shown: OffloadProof.Status = .missing
    ) throws(ControllerError) {
        func status(_ proof: JournalChange.KnownProof) -> OffloadProof.Status {
            if case .earlier(let status) = proof { status } else { shown }
        }
        let row = record.row
        switch change {
        case .none: break
        case .intent(let phase, let goal):
            try journal.begin(phase, record, goal: goal)
        case .bracket(let phase, let bracket, let side, let goal, let proof):
            try journal.bracket(phase, bracket, row: row, side: side, goal: goal, proof: proof.map(status))
        case .settled(let side, let proof, let endsBracket):
            try journal.settle(row: row, side: side, proof: status(proof), endsBracket: endsBracket)
        case .confirmed(let side):
            if shown != record.proof { try journal.settle(row: row, side: side, proof: shown) }
        case .removed:
            try journal.remove(row: row)
        }
    }

    /// Reads the record again, after it was written.
    ///
    /// - Returns: false when there is none any more.
    @discardableResult
    package mutating func reread() throws(ControllerError) -> Bool {
        guard let record = try journal.record(row: record.row) else { return false }
        self.record = record
        return true
    }

    /// The guest's primary port is another device now, under the same name.
    package func rebind(primary port: PortIdentity) throws(ControllerError) {
        let (journal, record) = (journal, record)
        try journal.writing(record.row) { () throws(DatabaseError) in
            try journal.database.run(
                "UPDATE port SET ifindex = ?, eswitch = ? WHERE guest = ? AND role = 'primary'",
                .integer(Int64(port.index)), .integer(port.isEswitchPort ? 1 : 0), .integer(record.row))
            try journal.countWrite(row: record.row)
        }
    }

    /// Another process holds the guest.
    package static func busy(_ record: GuestRecord) -> ControllerError {
        ControllerError(
            .busy, "another redirection of guest \(record.guest.id) is running (\(record.phase.rawValue))",
            remedy: "wait for it; \"fdbsteer status \(record.guest.id)\" shows it")
    }
}

extension Journal {
    /// As long as a look or a repair of the daemon's takes at most, in nanoseconds: a redirection takes longer.
    package static let lockPatience: Int64 = 50_000_000

    /// Claims a guest: locks it and reads its record, in this order, so that what another process did until it let go of the lock
    /// is seen. The phase `waiting` of a process that died is ended: it changed nothing.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - onlyReads: a dry run takes no lock and writes nothing.
    ///   - anyBoot: also a guest that was prepared before the last reboot.
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known, of code `busy` for one that another
    ///   process holds.
    package func claim(
        _ id: GuestID, onlyReads: Bool = false, anyBoot: Bool = false
    ) throws(ControllerError) -> Claim {
        if onlyReads { return Claim(try guest(id, anyBoot: anyBoot), in: self, isLocked: false) }
        // Only the row first: the record is read once, when it can no longer change.
        var row = try row(of: id)
        if let found = row, !hold(row: found, patience: Journal.lockPatience) { row = nil }
        // Unknown, or busy.
        guard let locked = row else { throw Claim.busy(try guest(id, anyBoot: anyBoot)) }
        let record: GuestRecord
        do throws(ControllerError) {
            record = try guest(id, anyBoot: anyBoot)
        } catch {
            letGo(row: locked)
            throw error
        }
        guard record.row == locked else {
            // Released and prepared anew meanwhile: the lock is that of a guest that is no more.
            letGo(row: locked)
            return try claim(id, anyBoot: anyBoot)
        }
        var claim = Claim(record, in: self, isLocked: true)
        if record.phase == .waiting {
            try claim.endWait()
            try claim.reread()
        }
        return claim
    }

    /// Claims a guest by its row, without a wait.
    ///
    /// - Returns: nil when another process holds it, or it is not known any more.
    package func claim(row: Int64, patience: Int64 = 0) throws(ControllerError) -> Claim? {
        guard hold(row: row, patience: patience) else { return nil }
        do throws(ControllerError) {
            if let record = try record(row: row) { return Claim(record, in: self, isLocked: true) }
        } catch {
            letGo(row: row)
            throw error
        }
        letGo(row: row)
        return nil
    }

    /// Claims a guest by a record that was read before, unless another process holds it. Its intent is refused when the record has
    /// changed since.
    package func claim(_ known: GuestRecord) -> Claim? {
        hold(row: known.row, patience: 0) ? Claim(known, in: self, isLocked: true) : nil
    }

    // MARK: - Locks, a byte of the lock file for each guest

    /// The pause between two attempts to lock, in nanoseconds.
    private static let lockPause: Int64 = 500_000

    /// Takes the lock of the guest of a row, until ``letGo(row:)`` or the end of the process.
    ///
    /// - Parameter patience: how long to try, in nanoseconds.
    /// - Returns: false when another process, or another claim of this one, has it.
    func hold(row: Int64, patience: Int64) -> Bool {
        if held.contains(row) { return false }
        var left = patience
        while cn_lock_byte(locks.descriptor, row, 0) != 0 {
            if left <= 0 { return false }
            sleepNanoseconds(Journal.lockPause)
            left -= Journal.lockPause
        }
        held.append(row)
        return true
    }

    func letGo(row: Int64) {
        held.removeAll { $0 == row }
        _ = cn_lock_byte(locks.descriptor, row, 1)
    }

    /// Whether another process holds a guest's lock.
    package func isLocked(_ record: GuestRecord) -> Bool { isLocked(row: record.row) }

    /// Whether another process holds the lock of the guest with a row.
    package func isLocked(row: Int64) -> Bool { cn_is_byte_locked(locks.descriptor, row) != 0 }

}
