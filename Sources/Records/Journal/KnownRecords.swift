package import Policy

/// Which of the records that this process has read are those in the journal still, told without reading them again.
///
/// The database's change counter is another one when anybody has written since. A process's own writes are noted; its
/// reads, when nobody else has written, make them known again.
package final class KnownRecords {
    /// Of the one that was read last.
    private var last: (row: Int64, revision: Int64, counter: Int64)?
    /// When all records were known.
    private var all: (counter: Int64, version: Int64)?
    /// Written here and not read since.
    private var unread: [Int64] = []

    /// Whether a record is that in the journal, for who has the guest's lock: then nobody writes it meanwhile.
    ///
    /// - Parameter counter: as it is now.
    package func isCurrent(_ record: GuestRecord, _ counter: Int64?) -> Bool {
        guard let counter else { return false }
        if let last, last == (record.row, record.revision, counter) { return true }
        return all?.counter == counter && !unread.contains(record.row)
    }

    /// A guest's record is about to be written here.
    package func write(_ row: Int64) {
        if !unread.contains(row) { unread.append(row) }
    }

    /// Records were read, in a transaction that has not ended.
    package func read(_ records: [GuestRecord], from database: borrowing Database) throws(DatabaseError) {
        guard let counter = database.changeCounter else { return }
        if let record = records.first, records.count == 1 { last = (record.row, record.revision, counter) }
        guard let all else { return }
        unread.removeAll { row in records.contains { $0.row == row } }
        // Only this process has written since.
        if try database.dataVersion() == all.version { self.all = (counter, all.version) }
    }

    /// All records were read.
    ///
    /// - Parameters:
    ///   - counter: from before they were read.
    ///   - version: the data version (``Journal/dataVersion()``) that they belong to.
    package func readAll(_ counter: Int64?, version: Int64) {
        all = counter.map { ($0, version) }
    }
}
