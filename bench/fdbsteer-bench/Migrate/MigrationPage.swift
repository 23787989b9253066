import LossMeter
import Pages

extension MigrationReport {
    /// The results as a page.
    ///
    /// - Parameters:
    ///   - timelines: one migration of each method.
    ///   - picture: one with replay, where there was one.
    func page(_ machine: Machine, _ timelines: [MigrationTimeline], _ picture: ReplayPicture?) -> Page {
        var page = Page(
            "A guest that migrates between two QEMUs: what became of each frame (\(operation))",
            summary: [
                "Peers on both hosts and on the fabric send \(rate) numbered frames a second each to a guest "
                    + (guest == "pair"
                        ? "with a virtio NIC and a VF (QEMU's \(primary)) with the same MAC." : "with one virtio NIC.")
                    + " The guest counts what it gets, NIC by NIC.",
                "A lost frame is lost by steering (the hosts sent it where the guest did not take it), in the guest's gap (the guest took "
                    + "frames by neither NIC), or in the blackout (the guest's processors were stopped). The host's part is steering alone.",
            ])
        page.chart(
            RangeChart(
                "Frames lost in all, by all three peers together; in parentheses how often", unit: "frames",
                [.init("lost", .lost)],
                methods.map { ("\($0.method) (\($0.migrations))", [.init($0.lostLeast, $0.lostMedian, $0.lostMax)]) }))
        page.chart(
            RangeChart(
                "Those lost by steering", unit: "frames", [.init("lost by steering", .lost)],
                methods.map {
                    ($0.method, [.init($0.steeringLostLeast, $0.steeringLostMedian, $0.steeringLostMax)])
                }))
        lanes(timelines, on: &page)
        page.heading("Figures")
        page.paragraph(
            "med/max are the median and the most of a migration; an outage is the longest time for which a peer did not reach the guest."
        )
        for table in tables { page.table(table, numbersFrom: 1) }
        page.heading("By the place of the peer")
        for (place, rows) in MigrationReport.peers.map({ place in (place, peers.filter { $0.peer == place }) }) {
            page.paragraph("Peer: \(place)")
            page.table(MigrationReport.table(rows, first: "method", second: operation), numbersFrom: 1)
        }
        page.setting(machine)
        if let picture {
            page.heading("What the guest missed, and how it got it")
            page.paragraph(
                "The guest is asked by both ports which of them it takes frames from. What was kept for it is sent again once its answers, "
                    + "the tap's counters at STOP, or its arrival say what it missed (docs/zero.md). Frames of all three peers; a kept frame "
                    + "stands where it was sent. The shade is the time for which the guest's processors were stopped.")
            for chart in picture.charts { page.chart(chart) }
        }
        return page
    }

    private func lanes(_ timelines: [MigrationTimeline], on page: inout Page) {
        guard let first = timelines.map(\.shown.lowerBound).min(), let last = timelines.map(\.shown.upperBound).max()
        else { return }
        page.chart(
            LaneChart(
                "The migration of median loss of each method, as the peer on the fabric sees it; time from its first event",
                timelines.map(\.group), span: first...last))
    }
}
