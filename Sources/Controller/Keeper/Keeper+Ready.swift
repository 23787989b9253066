import FDB
import Netlink
public import Policy
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

    /// Hears of multicast groups from now on.
    ///
    /// - Parameter receiveBuffer: bytes to ask for.
    /// - Returns: a descriptor for poll(2).
    public mutating func watchGroups(receiveBuffer: Int32) throws(ControllerError) -> Int32 {
        try Keeper.hearing { () throws(NetlinkError) in
            let watch = try GroupWatch(receiveBuffer: receiveBuffer)
            let descriptor = watch.descriptor
            host.groupWatch = consume watch
            return descriptor
        }
    }

    /// Takes over what was told of multicast groups. Those of a bridge that are no longer known are read again when a guest is
    /// made ready.
    public mutating func hearGroups() throws(ControllerError) {
        let isComplete = try Keeper.hearing { () throws(NetlinkError) in try host.groupWatch?.hear() ?? true }
        if !isComplete { spoilReady() }
    }

    private static func hearing<T>(_ body: () throws(NetlinkError) -> T) throws(ControllerError) -> T {
        do throws(NetlinkError) {
            return try body()
        } catch {
            throw ControllerError(.precondition, "cannot hear of multicast groups", cause: error)
        }
    }

    /// What is heard of an interface may be about what was read.
    mutating func spoilReady(at index: Int32) {
        if followed.isEmpty { return }
        for row in watch.rows(at: index) where host.ready?.has(row) == true { host.ready?.spoil(row) }
    }

    mutating func followReady(before: Set<Int64>) {
        for row in followed.subtracting(before) { host.ready?.spoil(row) }
        for row in before.subtracting(followed) { host.ready?.forget(row) }
    }
}
