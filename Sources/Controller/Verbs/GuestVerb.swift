package import Policy
package import Records
package import System

/// What can be done to one guest. The command line and the hook name the guest; the daemon and other verbs hold it already.
package protocol GuestVerb {
    /// How it is done.
    var options: VerbOptions { get }
    /// Which guests it is for.
    var reach: Journal.Reach { get }

    /// The side that it asks for; nil for none.
    var destination: Side? { get }
    /// What it is to do to a bracket; nil for nothing.
    var bracketChange: BracketChange? { get }

    /// Does it to a guest that is held; the caller writes the history.
    ///
    /// - Parameter clock: since the call.
    /// - Throws: ``ControllerError``; nothing was changed.
    func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report
}

extension GuestVerb {
    package var reach: Journal.Reach { .here }
    package var destination: Side? { nil }
    package var bracketChange: BracketChange? { nil }

    /// Claims a guest, does it, and writes the history.
    ///
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    package func run(_ id: GuestID, on host: inout Host) throws(ControllerError) -> Report {
        let clock = host.clock
        let journal = try host.journal(for: id)
        do throws(ControllerError) {
            let claim = try journal.claim(id, onlyReads: options.dryRun, reach)
            var report = try run(under: claim, on: &host.kernel, since: clock)
            if let words = claim.renaming { report.notes.append(words) }
            return host.book(report)
        } catch {
            if !options.dryRun, journal.knows(id) { host.book(error, id, to: destination, bracketChange, in: journal) }
            throw error
        }
    }
}
