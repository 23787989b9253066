package import Policy

/// Decides without reading them again which of this process's records still match the journal.
///
/// The database's change counter changes with every write. The process's own writes are noted; if no other process has
/// written, its reads make those records known again.
package final class KnownRecords {
    /// The state of the last record that was read.
    private var last: (row: Int64, revision: Int64, counter: Int64)?
    /// The counters when all records were known.
    private var all: (counter: Int64, version: Int64)?
    /// Rows that were written here and not read since.
    private var unread: [Int64] = []

    /// Whether a record is still current. The caller holds the guest's lock, so nobody can change it afterwards.
    ///
    /// - Parameter counter: the current change counter.
    package func isCurrent(_ record: GuestRecord, _ counter: Int64?) -> Bool {
        guard let counter else { return false }
        if let last, last == (record.row, record.revision, counter) { return true }
        return all?.counter == counter && !unread.contains(record.row)
    }

    /// Notes that a guest's record is about to be written here.
    package func write(_ row: Int64) {
        if !unread.contains(row) { unread.append(row) }
    }

    /// Notes records that were read in a transaction that has not ended.
    package func read(_ records: [GuestRecord], from database: borrowing Database) throws(DatabaseError) {
        guard let counter = database.changeCounter else { return }
        if let record = records.first, records.count == 1 { last = (record.row, record.revision, counter) }
        guard let all else { return }
        unread.removeAll { row in records.contains { $0.row == row } }
        // Only this process has written since.
        if try database.dataVersion() == all.version { self.all = (counter, all.version) }
    }

    /// Notes that all records were read.
    ///
    /// - Parameters:
    ///   - counter: the change counter before they were read.
    ///   - version: the data version (``Journal/dataVersion()``) of the records.
    package func readAll(_ counter: Int64?, version: Int64) {
        all = counter.map { ($0, version) }
    }
}
