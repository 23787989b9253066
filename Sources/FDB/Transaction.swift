public import Netlink

/// Entry changes sent as batches, with a result for each.
///
/// It is no transaction of the kernel's: a failing message does not undo those before it. Undoing is the caller's
/// decision, with these results in hand.
public struct Transaction: Sendable {
    /// The changes, in order.
    public let changes: [EntryChange]
    private let requests: [EntryRequest]
    /// For each request the index of its change.
    private let owners: [Int]

    /// Encodes nothing yet; allocates, so make it before the moment that counts.
    public init(_ changes: [EntryChange]) {
        self.changes = changes
        var requests: [EntryRequest] = []
        var owners: [Int] = []
        requests.reserveCapacity(changes.count)
        owners.reserveCapacity(changes.count)
        for (index, change) in changes.enumerated() {
            for request in change.requests {
                requests.append(request)
                owners.append(index)
            }
        }
        self.requests = requests
        self.owners = owners
    }

    /// Sends the changes.
    ///
    /// - Returns: for each change nil, or the first error of its messages.
    /// - Complexity: about 1.3 microseconds an entry, two system calls for up to 64 messages.
    public func run(on socket: inout CommandSocket) -> [NetlinkError?] {
        let answers = socket.perform(requests)
        if requests.count == changes.count { return answers }
        var results = [NetlinkError?](repeating: nil, count: changes.count)
        for (index, answer) in answers.enumerated() where results[owners[index]] == nil {
            // What the first half of a pair would have deleted may be gone already.
            let isPairsDelete = requests[index].type == .deleteNeighbour && changes[owners[index]].primitive != .delete
            if isPairsDelete, answer?.errno == .noEntry { continue }
            results[owners[index]] = answer
        }
        return results
    }
}
