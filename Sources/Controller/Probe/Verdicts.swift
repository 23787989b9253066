public import Policy
public import Records
public import Switchdev
import System

extension Host {
    /// Every verdict that was stored on this host.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the history cannot be read.
    public func verdicts() throws(ControllerError) -> [StoredVerdict] {
        guard folder.hasHistory else { return [] }
        do throws(DatabaseError) {
            return try History(folder: folder, readOnly: true).verdicts()
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
    }

    /// The verdict about NICs of an identity; nil when none was probed.
    public func verdict(of nic: NICIdentity) throws(ControllerError) -> StoredVerdict? {
        try verdicts().first { $0.nic == nic }
    }

    /// Stores what a probe found; a failure is only a note.
    func store(_ report: ProbeReport) -> String? {
        guard let verdict = report.verdict else { return nil }
        do throws(DatabaseError) {
            try History(folder: folder).store(
                StoredVerdict(
                    nic: report.nic, timeNanoseconds: Stopwatch.realTime, verdict: verdict, states: report.states))
            return nil
        } catch {
            return "the verdict was not stored: \(error)"
        }
    }
}
