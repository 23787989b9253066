import FDB

/// Calls the roll of a bridge's guests by one dump of its table; no I/O.
///
/// A dump may hand over an entry twice and leave another out, so that numbers say nothing: each address has to answer.
struct RollCall {
    private let bridge: Int32
    private let watch: Watch
    private var present = Set<Address>()
    private var counts: [Int64: Int] = [:]
    private var doubtful = Set<Int64>()

    init(bridge: Int32, watch: Watch) {
        self.bridge = bridge
        self.watch = watch
    }

    /// Takes an entry that the dump handed over.
    mutating func hear(_ entry: Entry) {
        guard let record = watch.owner(of: entry.address, bridge: bridge) else { return }
        if present.insert(entry.address).inserted { counts[record.row, default: 0] += 1 }
        if watch.suspicion(entry, record) != nil { doubtful.insert(record.row) }
    }

    /// The guests that are not as intended, as far as the dump tells.
    var suspects: Set<Int64> {
        var suspects = doubtful
        for (row, record) in watch.records where record.guest.bridge.index == bridge {
            if counts[row] != record.guest.addresses.count { suspects.insert(row) }
        }
        return suspects
    }
}
