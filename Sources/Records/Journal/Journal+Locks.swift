import CNetlink
import Glibc
import Netlink
package import Policy
import Switchdev
import System

/// The guests' locks: one byte of the lock file for each guest.
extension Journal {
    /// The pause between two attempts to lock, in nanoseconds.
    private static let lockPause: Int64 = 500_000
    /// The longest check or repair by the daemon, in nanoseconds; a redirection takes longer.
    package static let lockPatience: Int64 = 50_000_000

    /// Takes a guest's lock, until ``unlock(row:)`` or the end of the process.
    ///
    /// - Parameter patience: the time limit, in nanoseconds.
    /// - Throws: ``ControllerError`` of code `busy` if another process has it.
    package func lock(_ record: GuestRecord, patience: Int64 = 0) throws(ControllerError) {
        if tryLock(row: record.row, patience: patience) { return }
        throw ControllerError(
            .busy, "another redirection of guest \(record.guest.id) is running (\(record.phase.rawValue))",
            remedy: "wait for it; \"fdbsteer status \(record.guest.id)\" shows it")
    }

    /// Takes the lock of the guest with a row, as ``lock(_:patience:)`` does.
    ///
    /// - Returns: false if another process has it.
    package func tryLock(row: Int64, patience: Int64) -> Bool {
        var left = patience
        while cn_lock_byte(locks.descriptor, row, 0) != 0 {
            if left <= 0 { return false }
            sleepNanoseconds(Journal.lockPause)
            left -= Journal.lockPause
        }
        return true
    }

    /// Whether another process holds a guest's lock.
    package func isLocked(_ record: GuestRecord) -> Bool { isLocked(row: record.row) }

    /// Whether another process holds the lock of the guest with a row.
    package func isLocked(row: Int64) -> Bool { cn_is_byte_locked(locks.descriptor, row) != 0 }

    /// Whether another process holds a byte of the lock file.
    package func isByteLocked(_ offset: Int64) -> Bool { cn_is_byte_locked(locks.descriptor, offset) != 0 }

    /// Locks a byte of the lock file until the process ends; false if another process has it.
    package func lockByte(_ offset: Int64) -> Bool { cn_lock_byte(locks.descriptor, offset, 0) == 0 }

    package func unlock(row: Int64) { _ = cn_lock_byte(locks.descriptor, row, 1) }
}
