import Policy
import Records
import Switchdev

/// Who may send from guests' addresses, as ports come and go.
extension Keeper {
    /// Makes the guards of all guests as intended: what another program has removed, a bridge or a port that was renamed, a port that
    /// came or changed its VLAN.
    ///
    /// What cannot be guarded is repaired when it is taken.
    package mutating func restoreGuards() {
        guardsAreOld = false
        let records = watch.records.values.filter { $0.guest.isGuarded && $0.boot == journal.boot }
        guard !records.isEmpty, let links = try? host.kernel.links() else { return }
        for (_, tenants) in Dictionary(grouping: records, by: \.guest.bridge.index) {
            let kept = tenants.filter { !isObserved($0.row) }
            guard let first = kept.first, links[first.guest.bridge.index] != nil else { continue }
            _ = try? host.kernel.refreshGuard(first.guest, links)
            for record in kept where record.phase == .pinned {
                guard let claim = try? journal.claim(record.guest.id, row: record.row) else { continue }
                _ = try? host.kernel.restoreGuard(of: claim.record.guest, links)
            }
        }
    }
}
