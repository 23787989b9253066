import Policy
import QMP

/// The connection to one QEMU's monitor, which serves one client: it is shared by all followed guests of that VM.
final class Monitor {
    let path: String
    /// For the loop's descriptors; below those of the loop itself.
    let token: Int64
    var client: QMPClient
    /// The rows of the guests that are served, in order.
    var rows: [Int64] = []
    /// Why nothing is heard, as it was logged last; nil while it is heard.
    private(set) var silence: String?
    /// How often the guest's filters are asked for: a guest may change them as fast as it likes.
    private var filterBudget = RepairBudget()
    /// When the filters are asked for that have changed (CLOCK_MONOTONIC, nanoseconds).
    private var filtersAt: Int64?

    init(_ path: String, token: Int64, now: Int64) {
        self.path = path
        self.token = token
        client = QMPClient(path: path, now: now)
    }

    /// When something is due, on CLOCK_MONOTONIC in nanoseconds; nil for never.
    var due: Int64? {
        guard let filtersAt else { return client.nextDeadline }
        return min(filtersAt, client.nextDeadline ?? .max)
    }

    /// Reads what the monitor has sent.
    func hear(now: Int64) -> [QMPClient.Happening] {
        var happenings: [QMPClient.Happening] = []
        client.advance(now: now) { happenings.append($0) }
        if happenings.contains(where: {
            if case .event(let event) = $0 { event.name == .rxFilterChanged } else { false }
        }
        ), filtersAt == nil {
            filtersAt = now
            if case .wait(let until, _) = filterBudget.ask(at: now, Followed.limits) { filtersAt = until }
        }
        if let time = filtersAt, time <= now {
            filtersAt = nil
            client.askForFilters()
        }
        return happenings
    }

    /// What is to be logged about the connection: why nothing is heard, once for each reason, and that it is heard again.
    func news() -> (silence: String?, isHeardAgain: Bool)? {
        let reason = client.failure?.message
        if let reason {
            if reason == silence { return nil }
            silence = reason
            return (reason, false)
        }
        guard silence != nil, client.isConnected else { return nil }
        silence = nil
        return (nil, true)
    }
}
