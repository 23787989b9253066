import FDB
import Netlink
import Policy
import Switchdev

/// What redirections of followed guests have to know beside their entries, read beforehand: a process that hears the
/// kernel's notifications keeps it for as long as none is about it.
///
/// Entries are never kept: they are what is changed, and the kernel does not tell of the flag that drivers set on them. Groups
/// are the ``GroupWatch``'s.
struct ReadyObservations {
    private struct Kept {
        let revision: Int64
        let observation: Observation
    }

    private var kept: [Int64: Kept] = [:]
    /// Guests whose ports, and their bridge's groups, are to be read.
    private(set) var missing: Set<Int64> = []

    /// Whether something is kept for a guest.
    func has(_ row: Int64) -> Bool { kept[row] != nil }

    /// Takes what is kept for a guest, if its record is still the one that it was read for; it is to be read again then.
    mutating func take(_ record: GuestRecord) -> Observation? {
        guard let found = kept.removeValue(forKey: record.row) else { return nil }
        missing.insert(record.row)
        return found.revision == record.revision ? found.observation : nil
    }

    /// Keeps what was read for a guest; nil when it could not be read, and is not worth another attempt before something
    /// changes.
    mutating func keep(_ observation: Observation?, for record: GuestRecord) {
        missing.remove(record.row)
        kept[record.row] = observation.map { Kept(revision: record.revision, observation: $0) }
    }

    /// What is kept for a guest may be wrong now.
    mutating func spoil(_ row: Int64) {
        kept[row] = nil
        missing.insert(row)
    }

    /// A guest is followed no longer.
    mutating func forget(_ row: Int64) {
        kept[row] = nil
        missing.remove(row)
    }
}
