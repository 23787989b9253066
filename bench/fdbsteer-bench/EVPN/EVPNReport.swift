import LossMeter
import Pages

/// The results of the EVPN bench, as text and as JSON.
struct EVPNReport: Encodable {
    /// The least, the median and the greatest of some figures.
    struct Spread: Encodable {
        let least: Int
        let median: Int
        let greatest: Int

        init(_ values: [Int]) {
            let sorted = values.sorted()
            least = sorted.first ?? 0
            median = sorted.isEmpty ? 0 : sorted[(sorted.count - 1) / 2]
            greatest = sorted.last ?? 0
        }

        var text: String { "\(least) / \(median) / \(greatest)" }
        var range: RangeChart.Spread { .init(least, median, greatest) }
    }

    /// The hand-overs by one method.
    struct Row: Encodable {
        let method: String
        let handovers: Int
        let void: Int
        /// Frames of the peer on the source that were lost, and of the one on the target.
        let lostOnSource: Spread
        let lostOnTarget: Spread
        /// Lost frames that were not under way during the hand-over.
        let unexplained: Int
        /// From the guest's first moment on the target until the source's bridge has the route, in milliseconds.
        let routeMs: Spread
        let mobility: Spread
        let duplicates: Int
        /// Hand-overs after which a peer did not reach the guest.
        let unreached: Int
        /// Hand-overs after which an entry was not where a record had it.
        let unsettled: Int
    }

    let evpn: [Row]
    private let rate: Int

    init(_ results: [EVPNMethod: [EVPNResult]], rate: Int) {
        evpn = EVPNMethod.all.map { Row($0, results[$0] ?? []) }
        self.rate = rate
    }

    /// What must not be.
    var complaints: [String] {
        zip(EVPNMethod.all, evpn).flatMap { method, row -> [String] in
            func complaint(_ isWrong: Bool, _ words: String) -> String? {
                isWrong ? "FAILED: \(row.method): \(words)" : nil
            }
            let base = evpn.first { $0.method == method.baseline.name } ?? row
            let allowed = base.lostOnSource.median + rate / 100
            let isCompared = method.keeper == .daemons
            return [
                complaint(row.handovers == 0, "no hand-over that says anything, \(row.void) void"),
                complaint(
                    isCompared && row.lostOnSource.median > allowed,
                    "the peer on the source lost \(row.lostOnSource.median) frames (median), more than \(allowed)"),
                complaint(
                    method.keeper != .nobody && row.unexplained > 0,
                    "\(row.unexplained) frames lost that were not under way during the hand-over"),
                complaint(
                    row.mobility.greatest > 1 || row.mobility.least < method.leastMobility,
                    "bgpd saw \(row.mobility.least) to \(row.mobility.greatest) moves a hand-over"),
                complaint(row.duplicates > 0, "zebra held the guest for a duplicate \(row.duplicates) times"),
                complaint(row.unreached > 0, "the guest was not reached after \(row.unreached) hand-overs"),
                complaint(
                    row.unsettled > 0, "an entry was elsewhere than its record after \(row.unsettled) hand-overs"),
            ].compactMap { $0 }
        }
    }

    /// The rows with a header; what matters least is last.
    var table: [[String]] {
        let head = [
            "method", "runs", "lost, peer on source", "peer on target", "unexplained", "moves", "void",
            "route after ms",
            "duplicates", "unreached", "unsettled",
        ]
        return [head]
            + evpn.map { row in
                [
                    row.method, "\(row.handovers)", row.lostOnSource.text, row.lostOnTarget.text, "\(row.unexplained)",
                    row.mobility.text, "\(row.void)", row.routeMs.text, "\(row.duplicates)", "\(row.unreached)",
                    "\(row.unsettled)",
                ]
            }
    }

    /// The results as a page.
    func page(_ machine: Machine, coalesce: Int) -> Page {
        var page = Page(
            "A guest goes from one host of an EVPN fabric to another",
            summary: [
                "Peers on both hosts send \(rate) frames a second each to the guest. FRR's bgpd collects changes for \(coalesce) ms before it "
                    + "tells them. A frame is lost when it reaches no port behind which the guest is at that time.",
                "A method says who keeps the guest's entries, and what is done in which order once the guest runs on the target: "
                    + "announce (QEMU's announcement), target (switch --to standby there), source (switch --to remote).",
            ])
        page.chart(
            RangeChart(
                "Frames lost in a hand-over", unit: "frames",
                [.init("peer on the source host", .lost), .init("peer on the target host", .standby)],
                evpn.map { ($0.method, [$0.lostOnSource.range, $0.lostOnTarget.range]) }))
        page.chart(
            RangeChart(
                "Until the source's bridge has the guest's new route", unit: "milliseconds", [.init("route", .subject)],
                evpn.map { ($0.method, [$0.routeMs.range]) }))
        page.heading("Figures")
        page.paragraph("Where there are three numbers, they are the least, the median and the most.")
        page.table(table, numbersFrom: 1)
        page.setting(machine)
        return page
    }

    private enum CodingKeys: String, CodingKey { case evpn }
}

extension EVPNReport.Row {
    init(_ method: EVPNMethod, _ all: [EVPNResult]) {
        let valid = all.filter { !$0.isVoid }
        self.init(
            method: method.name, handovers: valid.count, void: all.count - valid.count,
            lostOnSource: .init(valid.map(\.source.lost)), lostOnTarget: .init(valid.map(\.target.lost)),
            unexplained: valid.map { $0.source.unexplained + $0.target.unexplained }.reduce(0, +),
            routeMs: .init(valid.compactMap(\.route).map { Int($0 / 1_000_000) }),
            mobility: .init(valid.map { $0.mobility ?? 0 }), duplicates: valid.reduce(0) { $0 + $1.duplicates },
            unreached: valid.count { !$0.isReached }, unsettled: valid.count { $0.isSettled == false })
    }
}
