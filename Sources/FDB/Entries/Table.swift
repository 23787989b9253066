public import Netlink
import System

/// The entries of one bridge, read so that live ones are not missed.
///
/// A kernel dump resumes by position and never says that it was interrupted (NLM_F_DUMP_INTR is not set for FDB dumps):
/// an entry deleted meanwhile makes live entries vanish from it. So changes are heard from before the dump, and after a
/// deletion the dump is repeated. Where the table never rests, the dumps are put together and every doubtful entry is
/// asked for singly; then ``isExact`` is false, and an address that is not in the table may still be live:
/// ``confirm(_:using:)`` it before acting on that.
public struct Table: Sendable {
    /// The bridge's interface index.
    public let bridge: Int32
    /// By address. Local entries (the ports' own MACs) are among them.
    public private(set) var entries: EntrySet
    /// How many dumps it took.
    public let dumps: Int
    /// One dump was not disturbed: what is not in the table did not exist.
    public let isExact: Bool

    /// Dumps before a restless table is settled by single gets instead.
    private static let dumpLimit = 8

    /// A table of entries that are known already, or of none.
    public init(bridge: Int32, entries: [Entry] = []) {
        self.init(bridge: bridge, entries: EntrySet(ContiguousArray(entries)), dumps: 0, isExact: false)
    }

    private init(bridge: Int32, entries: EntrySet, dumps: Int, isExact: Bool) {
        self.bridge = bridge
        self.entries = entries
        self.dumps = dumps
        self.isExact = isExact
    }

    /// The entry of an address: found at once after ``confirm(_:using:)``, until then by going through the table.
    public subscript(address: Address) -> Entry? { entries[address] }

    /// Reads the table.
    ///
    /// - Parameters:
    ///   - bridge: the bridge's interface index.
    ///   - ports: only the entries of these ports; nil for all.
    ///   - socket: in the bridge's namespace; the calling thread must be there too, as a monitor is opened.
    /// - Throws: ``NetlinkError`` when the kernel refuses or its answers are lost.
    /// - Complexity: one dump (about 0.4 microseconds an entry) on a table at rest; but the kernel walks the whole table once
    ///   for each port of the bridge (`br_fdb_dump`), or for each of `ports`.
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
            // An entry is handed over twice only when another was added before it, which is heard: then an index is made.
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
            // What one dump skipped, another may hold: keep the union for the single gets.
            entries.makeIndex()
            for entry in seen.values where entries[entry.address] == nil { doubtful.insert(entry.address) }
            for entry in entries.values { seen[entry.address] = entry }
        }
        var table = Table(bridge: bridge, entries: seen, dumps: dumpLimit, isExact: false)
        try table.confirm(doubtful, using: &socket)
        return table
    }

    /// Hands over what one dump of a bridge's table shows, without keeping it.
    ///
    /// Live entries may be missing from it or be handed over twice (see above): it raises suspicions, and
    /// ``read(_:bridge:using:)`` settles them.
    ///
    /// - Parameter port: only the entries of this port, which the kernel picks; it cannot pick by VLAN or state.
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

    /// Asks for single entries and corrects the table by the answers: to be done before acting on "missing".
    public mutating func confirm(
        _ addresses: some Sequence<Address>, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        let addresses = Array(addresses)
        let found = try Table.read(addresses, bridge: bridge, using: &socket)
        for (address, entry) in zip(addresses, found) { entries[address] = entry }
    }

    /// Reads single entries: the kernel's own lookup, never wrong about "missing".
    ///
    /// - Returns: for each address its entry, or nil where the bridge has none.
    /// - Throws: ``NetlinkError`` when the bridge is gone, or answers are lost.
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
