package import FDB
package import Switchdev

/// What is remembered of a guest that the configuration has prepared, and when it may be tried again; without I/O.
package struct PreparationCourse: Sendable {
    /// What a guest's table asks for, and the interfaces that this means: made anew, an interface has another index.
    package struct Table: Hashable, Sendable {
        /// What the table asks for.
        package let request: PreparationRequest
        /// The index of its bridge.
        package let bridge: Int32
        /// That of the port of the paravirtual NIC, or of the only one.
        package let port: Int32

        /// - Parameter named: the request with the names of netdevs.
        /// - Returns: nil when an interface is not there.
        package init?(_ request: PreparationRequest, as named: PreparationRequest, _ links: Links) {
            guard let bridge = links[named.bridge], let port = links[named.standby] else { return nil }
            (self.request, self.bridge, self.port) = (request, bridge.index, port.index)
        }
    }

    /// What an attempt depends on, as far as it is known without one.
    package struct Grounds: Hashable, Sendable {
        private let links: [Link]
        private let heard: [Address: Entry?]

        /// - Parameters:
        ///   - named: the request with the names of netdevs.
        ///   - heard: what was heard last of the guest's entries.
        package init(_ named: PreparationRequest, _ links: Links, heard: [Address: Entry?]) {
            let names = [named.bridge, named.primary, named.standby, named.uplink, named.legacy?.pf].compactMap { $0 }
            self.links = (names + named.neighbours).compactMap { links[$0] }
            self.heard = heard
        }
    }

    /// The row of its record when that was last heard of; nil without one.
    package private(set) var row: Int64?
    /// Its table when it was last looked at; nil while an interface that this names does not exist.
    package var table: Table?
    /// Its table when it was released by others than the daemon.
    private var released: Table?
    /// When it may be tried again (CLOCK_MONOTONIC, nanoseconds), and the wait after that.
    package private(set) var due: Int64 = 0
    private var triedAt: Int64 = 0
    package private(set) var pause = PreparationCourse.firstPause
    /// On what it depended when it was last looked at, and how often a change of that may end the wait: a guest can cause them.
    private var grounds: Grounds?
    private var changes = RepairBudget()
    /// What it lacks, and since when.
    private var lack: (words: String, since: Int64)?

    /// Between two attempts, in nanoseconds, at first and at most; each is twice as long as the one before.
    package static let firstPause: Int64 = 1_000_000_000
    package static let longestPause: Int64 = 300_000_000_000

    /// Makes the course of a guest that was not looked at yet.
    package init() {}

    /// Others have released it, and neither its table nor its bridge or port is another one since.
    package var isReleased: Bool { released != nil && released == table }

    /// Its record is another, or has gone. One that a `prepare` has begun is none yet: it goes again when that is refused.
    package mutating func note(_ record: GuestRecord?) {
        let record = record?.phase == .preparing ? nil : record
        if record != nil { released = nil } else if row != nil { release() }
        row = record?.row
    }

    /// Others have released it.
    package mutating func release() { released = table }

    /// It is as its table says.
    package mutating func settle() { pause = PreparationCourse.firstPause }

    /// Notes what it lacks.
    ///
    /// - Returns: whether it has lacked that for ``firstPause``: interfaces come in groups.
    package mutating func lacks(_ words: String, now: Int64) -> Bool {
        if lack?.words != words { lack = (words, now) }
        return lack.map { now - $0.since >= PreparationCourse.firstPause } ?? false
    }

    /// It lacks nothing.
    package mutating func isComplete() { lack = nil }

    /// It is tried now. What this does to its record is the daemon's own doing.
    package mutating func begin(_ now: Int64) {
        row = nil
        (triedAt, due) = (now, now + pause)
        pause = min(2 * pause, PreparationCourse.longestPause)
    }

    /// What was in the way may be so no longer.
    package mutating func hurry() {
        due = min(due, triedAt + PreparationCourse.firstPause)
        pause = PreparationCourse.firstPause
    }

    /// Ends the wait when something has changed on which the next attempt depends. An attempt that was rolled back has changed nothing.
    package mutating func look(at new: Grounds, now: Int64) {
        defer { grounds = new }
        guard let grounds, grounds != new, due > now else { return }
        var earliest = triedAt + PreparationCourse.firstPause
        if case .wait(let until, _) = changes.ask(at: now, RepairBudget.Limits()) { earliest = max(earliest, until) }
        due = min(due, earliest)
    }
}
