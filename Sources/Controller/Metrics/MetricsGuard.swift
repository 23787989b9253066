import Exposition
import Netlink
import Policy
import Records
import Switchdev

/// What the kernel counts for prepared guests, read when the page is made. It keeps its socket.
struct MetricsGuard: ~Copyable {
    private var socket: CommandSocket?

    /// Frames that guests' guards have dropped; a guest whose table is missing or cannot be read has none.
    mutating func families(_ records: [GuestRecord]) -> [MetricFamily] {
        var dropped = MetricFamily(
            "fdbsteer_guard_dropped_frames_total", .counter,
            help:
                "Frames from a guest's addresses that came by a port of others and were dropped; begins anew when the guard is made again.",
            labels: ["guest"])
        let guarded = Dictionary(grouping: records.filter(\.guest.isGuarded), by: \.guest.bridge.index)
        if !guarded.isEmpty, socket == nil { socket = try? CommandSocket(.netfilter) }
        if var socket = socket.take() {
            for (bridge, records) in guarded {
                guard let frames = try? SourceGuardTable.dropped(onBridge: bridge, using: &socket) else { continue }
                for record in records {
                    let id = record.guest.id.text
                    if let count = frames[SourceGuard.chain(of: id)] { dropped.set(count, id) }
                }
            }
            self.socket = consume socket
        }
        return [dropped]
    }
}
