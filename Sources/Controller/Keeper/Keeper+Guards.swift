import Policy
import Records
package import Switchdev

/// Who may send from guests' addresses, as ports come and go.
extension Keeper {
    /// Makes the guards of all guests as intended: what another program has removed, a bridge or a port that was renamed, a port that
    /// came or changed its VLAN.
    ///
    /// What cannot be guarded is repaired when it is taken.
    ///
    /// - Parameter known: all interfaces, where they have just been read.
    package mutating func restoreGuards(_ known: Links? = nil) {
        guardsAreOld = false
        let records = watch.records.values.filter { $0.guest.needsTable && $0.boot == journal.boot }
        guard !records.isEmpty, let links = known ?? (try? host.kernel.links()) else { return }
        for (index, tenants) in Dictionary(grouping: records, by: \.guest.bridge.index) {
            let kept = tenants.filter { !isObserved($0.row) }
            guard let first = kept.first, let bridge = links[index] else { continue }
            _ = try? host.kernel.refreshGuard(first.guest, links)
            for record in kept where record.phase == .pinned {
                let near = Links([bridge] + record.guest.ports.compactMap { links[$0.port.index] })
                // Most guards hold, and a look at them must not keep a command from the lock.
                if (try? host.kernel.holdsGuard(of: record.guest, near: near)) == true { continue }
                guard let claim = try? journal.claim(record.guest.id, row: record.row) else { continue }
                _ = try? host.kernel.restoreGuard(of: claim.record.guest)
            }
        }
    }
}
