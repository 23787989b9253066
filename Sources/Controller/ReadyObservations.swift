import FDB
import Netlink
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
    mutating func take(_ record: Journal.Record) -> Observation? {
        guard let found = kept.removeValue(forKey: record.row) else { return nil }
        missing.insert(record.row)
        return found.revision == record.revision ? found.observation : nil
    }

    /// Keeps what was read for a guest; nil when it could not be read, and is not worth another attempt before something
    /// changes.
    mutating func keep(_ observation: Observation?, for record: Journal.Record) {
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

extension Host {
    /// Reads what a redirection to a side has to know; what was kept ready of it is not read again.
    mutating func observe(_ record: Journal.Record, to side: Side) throws(ControllerError) -> Observation {
        var observation: Observation
        if let ports = ready?.take(record) {
            observation = ports
            try observation.readEntries(of: record.guest, using: &socket)
        } else {
            observation = try Observation.read(record.guest, using: &socket)
        }
        try readGroups(into: &observation, of: record.guest, to: side, phase: record.phase)
        return observation
    }

    /// Reads what the next redirection of a guest has to know.
    mutating func makeReady(_ record: Journal.Record) {
        // The filters of a NIC are read when they are needed: nobody tells of their changes.
        guard record.guest.nic == nil, let ports = try? Observation.readPorts(record.guest, using: &socket) else {
            ready?.keep(nil, for: record)
            return
        }
        ready?.keep(ports, for: record)
        guard let bridge = ports.bridge, bridge.hasGroups, groupWatch?.keeps(bridge.index) != true else { return }
        // What fails here is found again, and told of, by the redirection.
        _ = try? groups(of: bridge.index, on: [])
    }
}
