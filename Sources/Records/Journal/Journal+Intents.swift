import Glibc
package import Policy
import System

/// The operation that is about to begin for a guest whose row does not show it yet.
///
/// An intent is written between a signal and the first netlink write, where a database transaction would be the longest
/// step. It takes 16 bytes of the lock file, at 16 times the guest's row, and is valid for one revision of the record: any
/// write to the record ends it. Only the holder of the guest's lock writes it. Another process may read half of a new
/// one; its halves then do not match, and it is ignored.
extension Journal {
    /// The operation that is about to begin for a guest.
    package struct Intent: Hashable {
        package let phase: GuestPhase
        package let goal: Side
        /// The revision of the record.
        package let revision: Int64

        package static let size = 16

        package init(_ phase: GuestPhase, goal: Side, revision: Int64) {
            self.phase = phase
            self.goal = goal
            self.revision = revision
        }

        /// - Returns: nil for bytes that are not an intent, for example those of a hole.
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

        /// The revision; then its lower half, followed by the goal and the phase in the low bits.
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

    /// The intents of all guests at one moment.
    package struct Intents: Equatable {
        private let bytes: [UInt8]

        package init(_ bytes: [UInt8] = []) { self.bytes = bytes }

        /// The intent of a guest by its row; nil if there is none or its record has ended it.
        package subscript(row: Int64, revision revision: Int64) -> Intent? {
            guard row >= 0, row < bytes.count / Intent.size else { return nil }
            let offset = Int(row) * Intent.size
            let intent = bytes.withUnsafeBytes {
                Intent($0.loadUnaligned(fromByteOffset: offset, as: (UInt64, UInt64).self))
            }
            return intent?.revision == revision ? intent : nil
        }
    }

    /// The current intents.
    package func intents() -> Intents {
        var information = stat()
        guard fstat(locks.descriptor, &information) == 0, information.st_size > 0 else { return Intents() }
        let size = Int(information.st_size)
        return Intents(
            [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                count = max(0, pread(locks.descriptor, buffer.baseAddress, size, 0))
            })
    }

    /// SQLite does not assign a row number that would overflow here.
    private static func offset(row: Int64) -> off_t { off_t(row) &* off_t(Intent.size) }

    /// The intent of one guest.
    private func intent(row: Int64, revision: Int64) -> Intent? {
        var words: (UInt64, UInt64) = (0, 0)
        let count = pread(locks.descriptor, &words, Intent.size, Journal.offset(row: row))
        guard count == Intent.size, let intent = Intent(words), intent.revision == revision else { return nil }
        return intent
    }

    /// A record combined with its intent.
    package func withIntent(_ record: GuestRecord) -> GuestRecord {
        guard let intent = intent(row: record.row, revision: record.revision) else { return record }
        var record = record
        record.phase = intent.phase
        record.goal = intent.goal
        return record
    }

    /// Records the operation that is about to begin for a guest whose lock this process has. A wait that was recorded after the
    /// plan was made does not invalidate the plan.
    ///
    /// - Throws: ``ControllerError`` of code `busy` if the plan was made for an older record.
    func begin(_ phase: GuestPhase, _ record: GuestRecord, goal: Side) throws(ControllerError) {
        let current = withIntent(record)
        var isCurrent = current.phase == record.phase && current.goal == record.goal
        if isCurrent, !known.isCurrent(record, database.changeCounter) {
            let row = try reading { () throws(DatabaseError) in
                try database.run("SELECT revision, phase FROM guest WHERE id = ?", .integer(record.row)).first
            }
            if let row, row.text(1) == GuestPhase.waiting.rawValue {
                // The end of the wait would write the record and so end an intent.
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

    /// The result is written to the database afterwards, which needs space for its rollback journal. An intent may already
    /// have its page, and then needs no space.
    private func requireSpace() throws(ControllerError) {
        var information = statvfs()
        guard fstatvfs(locks.descriptor, &information) == 0 else { return }
        if UInt64(information.f_bfree) * UInt64(information.f_frsize) < Journal.spaceForCommit {
            throw StateFolder.unwritable("of intents", String(cString: strerror(ENOSPC)))
        }
    }

    /// The space in bytes for a few pages of the database and its rollback journal.
    private static let spaceForCommit: UInt64 = 64 * 1024
}
