import Policy
import System

/// How many frames guests get, where a limit asks for it: seen between two looks that nobody waits for.
extension Keeper {
    /// Between two looks at the ports' counters, in nanoseconds.
    private static let ratePause: Int64 = 500_000_000

    /// When ``countSent(now:)`` wants to be called; nil: never.
    package var countDue: Int64? {
        options.bracketMaxRate > 0 && !watch.records.isEmpty ? lastCount + Keeper.ratePause : nil
    }

    /// Notes how many frames the ports have sent where the guests are, when it is time.
    package mutating func countSent(now: Int64) {
        guard let due = countDue, now >= due else { return }
        lastCount = now
        var ports: [(row: Int64, index: Int32)] = []
        for record in watch.records.values {
            if let port = record.guest.port(of: record.guest.side) { ports.append((record.row, port.index)) }
        }
        let looks = (try? host.kernel.sent(by: ports.map(\.index), of: "the guests' ports")) ?? []
        let byPort = Dictionary(looks.map { ($0.port, $0) }) { first, _ in first }
        for (row, index) in ports { wards[row]?.keep(byPort[index]) }
    }

    /// How many frames a second a guest has got since the last look that says it; nil when it was not seen for long enough.
    mutating func seenRate(of record: GuestRecord) -> UInt64? {
        guard options.bracketMaxRate > 0, let port = record.guest.port(of: record.guest.side),
            let now = try? host.kernel.sent(by: port)
        else { return nil }
        let earlier = wards[record.row]?.sent.last {
            $0.port == now.port && now.time - $0.time >= SentFrames.pause
        }
        return earlier.flatMap { now.rate(since: $0) }
    }
}
