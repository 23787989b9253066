package import Policy
package import Switchdev

/// The verdicts that probes of NICs have left in the history.
extension StoredVerdict {
    /// Every verdict that was stored on this host.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the history cannot be read.
    package static func all(in folder: StateFolder) throws(ControllerError) -> [StoredVerdict] {
        guard folder.hasHistory else { return [] }
        do throws(DatabaseError) {
            return try History(folder: folder, readOnly: true).verdicts()
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
    }

    /// The verdict about NICs of an identity; nil when none was probed.
    package static func read(
        of nic: NICIdentity, in folder: StateFolder
    ) throws(ControllerError) -> StoredVerdict? {
        try all(in: folder).first { $0.nic == nic }
    }

    /// Stores what a probe found.
    ///
    /// - Returns: why it was not stored, which is only a note.
    package static func store(_ report: ProbeReport, now: Int64, in folder: StateFolder) -> String? {
        guard let verdict = report.verdict else { return nil }
        do throws(DatabaseError) {
            try History(folder: folder).store(
                StoredVerdict(nic: report.nic, timeNanoseconds: now, verdict: verdict, states: report.states))
            return nil
        } catch {
            return "the verdict was not stored: \(error)"
        }
    }
}
