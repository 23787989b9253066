public import Netlink
import System

/// Entry changes sent in batches, with a result for each.
///
/// It is not a transaction of the kernel: a failing message does not undo those before it. The caller decides with these
/// results whether to undo.
public struct Transaction: Sendable {
    /// The changes, in order.
    public let changes: [EntryChange]
    /// The change of each message; nil if each change is one message.
    private let owners: [Int]?

    /// Stores the changes; nothing is encoded yet.
    public init(_ changes: [EntryChange]) {
        self.changes = changes
        guard changes.contains(where: \.primitive.isPair) else {
            owners = nil
            return
        }
        owners = changes.indices.flatMap { changes[$0].primitive.isPair ? [$0, $0] : [$0] }
    }

    /// Sends the changes.
    ///
    /// - Returns: for each change nil, or the first error of its messages.
    /// - Complexity: about 1.3 microseconds an entry, two system calls for up to 64 messages; only the result is allocated.
    public func run(on socket: inout CommandSocket) -> [NetlinkError?] {
        guard let owners else {
            return socket.perform(count: changes.count) { (index, writer, sequence) in
                changes[index].messages.0.append(to: &writer, sequence: sequence)
            }
        }
        let answers = socket.perform(count: owners.count) { (index, writer, sequence) in
            request(index, owners).append(to: &writer, sequence: sequence)
        }
        var results = [NetlinkError?](repeating: nil, count: changes.count)
        for (index, answer) in answers.enumerated() where results[owners[index]] == nil {
            // The entry that the first half of a pair would have deleted may already be gone.
            let isPairsDelete =
                changes[owners[index]].primitive.isPair && request(index, owners).type == .deleteNeighbour
            if isPairsDelete, answer?.errno == .noEntry { continue }
            results[owners[index]] = answer
        }
        return results
    }

    /// The message at an index among all messages; the second half of a pair follows the first.
    private func request(_ index: Int, _ owners: [Int]) -> EntryRequest {
        let (first, second) = changes[owners[index]].messages
        let isSecond = index > 0 && owners[index - 1] == owners[index]
        return isSecond ? second ?? first : first
    }
}
