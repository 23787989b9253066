public import Netlink
import System

/// The entries of one bridge, read in a way that does not miss live ones.
///
/// A kernel dump resumes by position and never reports that it was interrupted (NLM_F_DUMP_INTR is not set for FDB
/// dumps): an entry deleted meanwhile makes live entries vanish from it. Changes are therefore received from before the
/// dump, and after a deletion the dump is repeated. If the table keeps changing, the dumps are combined and every
/// doubtful entry is read singly. ``isExact`` is then false, and an address that is not in the table may still be live:
/// ``confirm(_:using:)`` it before acting on that.
public struct Table: Sendable {
    /// The bridge's interface index.
    public let bridge: Int32
    /// The entries by address, including local ones (the ports' own MACs).
    public private(set) var entries: EntrySet
    /// The number of dumps that it took.
    public let dumps: Int
    /// One dump was not disturbed: an entry that is not in the table did not exist.
    public let isExact: Bool

    /// After this many dumps of a table that keeps changing, doubtful entries are read singly.
    private static let dumpLimit = 8

    /// A table of entries that are already known, or of none.
    public init(bridge: Int32, entries: [Entry] = []) {
        self.init(bridge: bridge, entries: EntrySet(ContiguousArray(entries)), dumps: 0, isExact: false)
    }

    private init(bridge: Int32, entries: EntrySet, dumps: Int, isExact: Bool) {
        self.bridge = bridge
        self.entries = entries
        self.dumps = dumps
        self.isExact = isExact
    }

    /// The entry of an address. The lookup is fast after ``confirm(_:using:)``; until then it searches the table.
    public subscript(address: Address) -> Entry? { entries[address] }

    /// Reads the table.
    ///
    /// - Parameters:
    ///   - bridge: the bridge's interface index.
    ///   - ports: read only the entries of these ports; nil for all.
    ///   - socket: in the bridge's namespace; the calling thread must be in it too, because a monitor is opened.
    /// - Throws: ``NetlinkError`` if the kernel refuses or its answers are lost.
    /// - Complexity: one dump (about 0.4 microseconds an entry) if nothing changes; but the kernel walks the whole table
    ///   once for each port of the bridge (`br_fdb_dump`), or for each of `ports`.
    public static func snapshot(
        bridge: Int32, ports: [Int32]? = nil, using socket: inout CommandSocket
    ) throws(NetlinkError) -> Table {
        let monitor = try FDBMonitor()
        var seen = EntrySet()
        var doubtful = Set<Address>()
        for attempt in 1...dumpLimit {
            var told = EntryBuffer()
            do throws(NetlinkError) {
                if let ports {
                    for port in ports { try scan(bridge: bridge, port: port, using: &socket) { told.append($0) } }
                } else {
                    try scan(bridge: bridge, using: &socket) { told.append($0) }
                }
            } catch {
                guard error.code == .interrupted, attempt < dumpLimit else { throw error }
                continue
            }
            // A dump returns an entry twice only if another was added before it. That is announced, and an index is then made.
            var entries = ports == nil ? EntrySet(distinct: told.entries) : EntrySet(told.entries)
            var deleted = false
            let lost = try monitor.drain { change in
                guard change.entry.bridge == bridge else { return }
                doubtful.insert(change.entry.address)
                if change.isRemoval { deleted = true } else { entries[change.entry.address] = change.entry }
            }
            if !deleted, !lost {
                return Table(bridge: bridge, entries: entries, dumps: attempt, isExact: true)
            }
            // Another dump may have what this one skipped: keep the union for the single reads.
            entries.makeIndex()
            for entry in seen.values where entries[entry.address] == nil { doubtful.insert(entry.address) }
            for entry in entries.values { seen[entry.address] = entry }
        }
        var table = Table(bridge: bridge, entries: seen, dumps: dumpLimit, isExact: false)
        try table.confirm(doubtful, using: &socket)
        return table
    }

    /// Passes on what one dump of a bridge's table shows, without keeping it.
    ///
    /// Live entries may be missing or appear twice (see above). Use it to find suspects, and ``read(_:bridge:using:)`` to
    /// settle them.
    ///
    /// - Parameter port: only the entries of this port, which the kernel selects; it cannot select by VLAN or state.
    public static func scan(
        bridge: Int32, port: Int32? = nil, using socket: inout CommandSocket, _ body: (Entry) -> Void
    ) throws(NetlinkError) {
        try socket.dump(EntryDump(bridge: bridge, port: port)) { (header, payload) throws(NetlinkError) in
            guard header.type == .newNeighbour, let entry = try Entry(decoding: payload), entry.bridge == bridge,
                !entry.flags.contains(.selfTable)
            else { return }
            body(entry)
        }
    }

    /// Reads single entries and corrects the table by the answers. Do this before acting on a missing entry.
    public mutating func confirm(
        _ addresses: some Sequence<Address>, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        let addresses = Array(addresses)
        let found = try Table.read(addresses, bridge: bridge, using: &socket)
        for (address, entry) in zip(addresses, found) { entries[address] = entry }
    }

    /// Reads single entries with the kernel's own lookup, which is never wrong about a missing entry.
    ///
    /// - Returns: for each address its entry, or nil if the bridge has none.
    /// - Throws: ``NetlinkError`` if the bridge is gone, or answers are lost.
    /// - Complexity: about 4.5 microseconds an address, up to 64 addresses a send.
    public static func read(
        _ addresses: [Address], bridge: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Entry?] {
        var entries = [Entry?](repeating: nil, count: addresses.count)
        let requests = addresses.map { EntryRequest.get($0, bridge: bridge) }
        try socket.get(requests) { (index, reply) throws(NetlinkError) in
            switch reply {
            case .success(let (type, payload)):
                guard type == .newNeighbour, let entry = try Entry(decoding: payload),
                    entry.address == addresses[index]
                else {
                    throw NetlinkError(
                        .malformed, "the kernel answered a get of \(addresses[index]) with something else")
                }
                entries[index] = entry
            case .failure(let error):
                guard error.errno == .noEntry else {
                    throw error.during("cannot read the entry of \(addresses[index])")
                }
            }
        }
        return entries
    }
}
