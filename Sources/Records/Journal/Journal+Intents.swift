import Glibc
package import Policy
import System

/// What is about to be done to guests whose rows say nothing of it.
///
/// An intent is written between a signal and the first netlink write, where a transaction of the database would be the longest
/// step. It is 16 bytes of the lock file, at 16 times the guest's row, and holds for one revision of the record: whatever is
/// written to the record ends it. Only who has the guest's lock writes it. Others may read half of a new one; its halves do not
/// fit each other then, and it is taken for none.
extension Journal {
    /// What is about to be done to a guest.
    package struct Intent: Hashable {
        package let phase: GuestPhase
        package let goal: Side
        /// The record's.
        package let revision: Int64

        package static let size = 16

        package init(_ phase: GuestPhase, goal: Side, revision: Int64) {
            self.phase = phase
            self.goal = goal
            self.revision = revision
        }

        /// - Returns: nil for bytes that are none, such as those of a hole.
        package init?(_ words: (UInt64, UInt64)) {
            guard words.1 >> 32 == words.0 & 0xffff_ffff else { return nil }
            switch words.1 & 0xff {
            case 1: phase = .switching
            case 2: phase = .releasing
            default: return nil
            }
            switch words.1 >> 8 & 0xffffff {
            case 1: goal = .primary
            case 2: goal = .standby
            case 3: goal = .remote
            default: return nil
            }
            revision = Int64(bitPattern: words.0)
        }

        /// The revision; what and where to, below the revision's lower half.
        package var words: (UInt64, UInt64) {
            let revision = UInt64(bitPattern: revision)
            let side: UInt64 =
                switch goal {
                case .primary: 1
                case .standby: 2
                case .remote: 3
                }
            return (revision, revision << 32 | side << 8 | (phase == .releasing ? 2 : 1))
        }
    }

    /// The intents of all guests at one time.
    package struct Intents: Equatable {
        private let bytes: [UInt8]

        package init(_ bytes: [UInt8] = []) { self.bytes = bytes }

        /// The intent of the guest of a row, nil for none or one that its record has ended.
        package subscript(row: Int64, revision revision: Int64) -> Intent? {
            guard row >= 0, row < bytes.count / Intent.size else { return nil }
            let offset = Int(row) * Intent.size
            let intent = bytes.withUnsafeBytes {
                Intent($0.loadUnaligned(fromByteOffset: offset, as: (UInt64, UInt64).self))
            }
            return intent?.revision == revision ? intent : nil
        }
    }

    /// The intents as they are now.
    package func intents() -> Intents {
        var information = stat()
        guard fstat(locks.descriptor, &information) == 0, information.st_size > 0 else { return Intents() }
        let size = Int(information.st_size)
        return Intents(
            [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                count = max(0, pread(locks.descriptor, buffer.baseAddress, size, 0))
            })
    }

    /// SQLite gives no row of a size that does not fit.
    private static func offset(row: Int64) -> off_t { off_t(row) &* off_t(Intent.size) }

    /// The intent of one guest.
    private func intent(row: Int64, revision: Int64) -> Intent? {
        var words: (UInt64, UInt64) = (0, 0)
        let count = pread(locks.descriptor, &words, Intent.size, Journal.offset(row: row))
        guard count == Intent.size, let intent = Intent(words), intent.revision == revision else { return nil }
        return intent
    }

    /// A record with the intent that is beside it.
    package func withIntent(_ record: GuestRecord) -> GuestRecord {
        guard let intent = intent(row: record.row, revision: record.revision) else { return record }
        var record = record
        record.phase = intent.phase
        record.goal = intent.goal
        return record
    }

    /// Records what is about to be done to a guest whose lock this process has. A wait that was recorded since changes nothing
    /// about a plan.
    ///
    /// - Throws: ``ControllerError`` of code `busy` when the record is no longer the one that the plan was made for.
    func begin(_ phase: GuestPhase, _ record: GuestRecord, goal: Side) throws(ControllerError) {
        let current = withIntent(record)
        var isCurrent = current.phase == record.phase && current.goal == record.goal
        if isCurrent, !known.isCurrent(record, database.changeCounter) {
            let row = try reading { () throws(DatabaseError) in
                try database.run("SELECT revision, phase FROM guest WHERE id = ?", .integer(record.row)).first
            }
            if let row, row.text(1) == GuestPhase.waiting.rawValue {
                // An intent would be lost with whatever ends the wait.
                return try writing(record.row) { () throws(DatabaseError) in
                    try database.run(
                        "UPDATE guest SET phase = ?, goal = ?, revision = revision + 1 WHERE id = ?",
                        .text(phase.rawValue), .text(goal.rawValue), .integer(record.row))
                }
            }
            isCurrent = row?.integer(0) == record.revision
        }
        guard isCurrent else {
            throw ControllerError(
                .busy, "guest \(record.guest.id) was changed by another process meanwhile", remedy: "try again")
        }
        try write(phase, record, goal: goal)
    }

    private func write(_ phase: GuestPhase, _ record: GuestRecord, goal: Side) throws(ControllerError) {
        try requireSpace()
        var words = Intent(phase, goal: goal, revision: record.revision).words
        let count = pwrite(locks.descriptor, &words, Intent.size, Journal.offset(row: record.row))
        guard count == Intent.size else {
            throw StateFolder.unwritable("of intents", String(cString: strerror(count < 0 ? errno : ENOSPC)))
        }
    }

    /// What is done is to be written to the database afterwards, which needs room for its rollback journal. An intent may have
    /// its page already, and needs none.
    private func requireSpace() throws(ControllerError) {
        var information = statvfs()
        guard fstatvfs(locks.descriptor, &information) == 0 else { return }
        if UInt64(information.f_bfree) * UInt64(information.f_frsize) < Journal.spaceForCommit {
            throw StateFolder.unwritable("of intents", String(cString: strerror(ENOSPC)))
        }
    }

    /// Bytes: a few pages of the database, and its rollback journal.
    private static let spaceForCommit: UInt64 = 64 * 1024
}
