import FDB
import Netlink
import Switchdev

/// What redirections of followed guests have to know, read before they are asked for.
extension Keeper {
    /// Guests are followed whose ports were not read yet (``makeOneReady()``).
    public var isUnready: Bool { host.ready?.missing.isEmpty == false }

    /// Reads what the next redirection of one followed guest has to know, so that it has only the entries to read.
    public mutating func makeOneReady() {
        guard let row = host.ready?.missing.first else { return }
        guard let record = watch.records[row] else {
            host.ready?.forget(row)
            return
        }
        host.makeReady(record)
    }

    /// Not every notification was heard: what was read before may be wrong.
    public mutating func spoilReady() {
        for row in followed { host.ready?.spoil(row) }
    }

    /// What is heard may be about what was read.
    mutating func spoilReady(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) {
        if followed.isEmpty { return }
        switch header.type {
        case .newLink, .deleteLink: spoilReady(at: try Link.index(of: payload))
        case .newGroup, .deleteGroup:
            for change in try GroupChange.changes(header, payload) {
                switch change.subject {
                case .entry(let entry): spoilReady(at: entry.port)
                case .router(let router): spoilReady(at: router.port)
                }
            }
        default: break
        }
    }

    private mutating func spoilReady(at index: Int32) {
        for row in watch.rows(at: index) where host.ready?.has(row) == true { host.ready?.spoil(row) }
    }

    mutating func followReady(before: Set<Int64>) {
        for row in followed.subtracting(before) { host.ready?.spoil(row) }
        for row in before.subtracting(followed) { host.ready?.forget(row) }
    }
}
