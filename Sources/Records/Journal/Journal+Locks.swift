import CNetlink
package import Policy
import System

/// The guests' locks: one byte of the lock file for each guest.
extension Journal {
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

    /// Whether another process holds a byte of the lock file.
    package func isByteLocked(_ offset: Int64) -> Bool { cn_is_byte_locked(locks.descriptor, offset) != 0 }

    /// Locks a byte of the lock file until the process ends; false if another process has it.
    package func lockByte(_ offset: Int64) -> Bool { cn_lock_byte(locks.descriptor, offset, 0) == 0 }
}
