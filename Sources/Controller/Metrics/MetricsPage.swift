import Exposition
package import Policy
package import Records
import Synchronization
import System

/// The page that the daemon serves, made when it is asked for and kept for a second.
///
/// However many scrapes there are, the files are read once a second at most, on the thread that answers; with none, nothing is
/// done. The daemon's loop only leaves its counters here.
package final class MetricsPage: Sendable {
    private struct State: ~Copyable {
        var reader: MetricsReader
        var guards = MetricsGuard()
        var bytes: [UInt8] = []
        /// On CLOCK_MONOTONIC, in nanoseconds; nil before the first page.
        var madeAt: Int64?
    }

    private let state: Mutex<State>
    private let counters: Mutex<DaemonCounters>
    private let clock = Stopwatch()
    /// How long a page is good for, in nanoseconds, where nothing else is said.
    package static let lifetime: Int64 = 1_000_000_000

    /// How long a page is good for, in nanoseconds.
    private let lifetime: Int64

    /// - Parameters:
    ///   - folder: where the journal and the history are.
    ///   - counters: the daemon's counters at its start.
    ///   - lifetime: how long a page is good for, in nanoseconds.
    package init(folder: StateFolder, counters: DaemonCounters, lifetime: Int64 = MetricsPage.lifetime) {
        state = Mutex(State(reader: MetricsReader(folder: folder)))
        self.counters = Mutex(counters)
        self.lifetime = lifetime
    }

    /// Changes the daemon's counters; quick, and never held up by a scrape.
    package func count(_ change: (inout DaemonCounters) -> Void) {
        counters.withLock { change(&$0) }
    }

    /// The page of this second, to be sent as ``Exposition/Exposition/contentType``.
    ///
    /// A history that cannot be read is a trouble of the daemon's own, and its families are left out.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the journal cannot be read.
    package func bytes() throws(ControllerError) -> [UInt8] {
        try state.withLock { state throws(ControllerError) in
            let now = clock.elapsed
            if let madeAt = state.madeAt, now - madeAt < lifetime { return state.bytes }
            let (families, hasHistory) = try state.reader.readWhatCanBe()
            var own = counters.withLock { $0 }
            if !hasHistory { own.troubles += 1 }
            state.bytes = Exposition.render(families + own.families + state.guards.families(state.reader.here))
            state.madeAt = now
            return state.bytes
        }
    }
}
