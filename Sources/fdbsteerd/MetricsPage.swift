import Controller
import Exposition
import MetricsServer
import Netlink
import Switchdev
import Synchronization

/// The page that scrapers get, between the daemon's loop, which leaves its counters here, and the server's thread, which
/// makes the page of them; the loop never waits for a scrape.
final class MetricsPage: Sendable {
    /// What the loop leaves.
    private struct Left {
        var counters: DaemonCounters?
        var isReady = false
    }

    /// What the server's thread alone uses.
    private struct Made: ~Copyable {
        var reader: MetricsReader
        var page: [UInt8] = []
        var madeAt: Int64 = 0
    }

    private let left = Mutex(Left())
    private let made: Mutex<Made>
    /// Since when the loop is at work (CLOCK_MONOTONIC, nanoseconds); 0 while it waits for events.
    private let busySince = Atomic<Int64>(monotonicNanoseconds())

    /// A page is good for so long: readers of the journal hold up its writers, so that they come at a bounded rate.
    private static let lifetime: Int64 = 200_000_000
    /// A turn of the loop that takes longer than the longest wait for hardware is no turn.
    private static let patience: Int64 = 30_000_000_000

    init(folder: StateFolder) { made = Mutex(Made(reader: MetricsReader(folder: folder))) }

    /// Leaves the counters of now.
    func publish(_ counters: DaemonCounters, isReady: Bool) {
        left.withLock { $0 = Left(counters: counters, isReady: isReady) }
    }

    /// The loop waits for events from now on.
    func rest() { busySince.store(0, ordering: .relaxed) }

    /// The loop is at work from now on.
    func turn() { busySince.store(monotonicNanoseconds(), ordering: .relaxed) }

    /// The loop is not stuck.
    var isAlive: Bool {
        let since = busySince.load(ordering: .relaxed)
        return since == 0 || monotonicNanoseconds() - since < MetricsPage.patience
    }

    /// The answer to a request; called on the server's thread.
    func answer(_ route: Route) -> Response {
        switch route {
        case .health:
            return isAlive ? Response(text: "ok\n") : Response(status: 503, text: "the loop is stuck\n")
        case .readiness:
            let isReady = left.withLock { $0.isReady }
            return isReady ? Response(text: "ok\n") : Response(status: 503, text: "not every guest was looked at yet\n")
        case .metrics:
            return made.withLock { metrics(&$0) }
        }
    }

    private func metrics(_ made: inout Made) -> Response {
        let now = monotonicNanoseconds()
        if made.page.isEmpty || now - made.madeAt > MetricsPage.lifetime {
            let counters = left.withLock { $0.counters }
            do throws(ControllerError) {
                let families = try made.reader.read() + (counters?.families ?? [])
                made.page = Exposition.render(families)
            } catch {
                return Response(status: 500, text: "\(error)\n")
            }
            made.madeAt = now
        }
        return Response(contentType: Exposition.contentType, body: made.page)
    }
}
