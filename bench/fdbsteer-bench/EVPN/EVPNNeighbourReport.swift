import LossMeter

/// The results of the EVPN bench's hand-overs with neighbours, as text and as JSON.
struct EVPNNeighbourReport: Encodable {
    typealias Spread = EVPNReport.Spread

    /// The hand-overs of a case.
    struct Row: Encodable {
        let `case`: String
        let handovers: Int
        /// In milliseconds, as ``EVPNNeighbourResult`` has them.
        let switchMs: Spread
        let ipv4RouteMs: Spread
        let ipv6RouteMs: Spread
        let mobility: Spread
        let duplicates: Int
        /// Hand-overs after which a route was not at the peer.
        let missing: Int
        /// Hand-overs after which a neighbour of the guest was not as it is to be, or another's was changed.
        let wrong: Int
        let othersChanged: Int
        /// Hand-overs after which a host was not as its record said.
        let unsettled: Int
    }

    let neighbours: [Row]
    private let within: Int

    /// - Parameter within: milliseconds that a route may take.
    init(_ results: [NeighbourCase: [EVPNNeighbourResult]], within: Int) {
        neighbours = NeighbourCase.allCases.compactMap { kind in results[kind].map { Row(kind, $0) } }
        self.within = within
    }

    /// What must not be.
    var complaints: [String] {
        neighbours.flatMap { row -> [String] in
            [
                (row.missing > 0, "a route was not at the peer after \(row.missing) hand-overs"),
                (
                    max(row.ipv4RouteMs.greatest, row.ipv6RouteMs.greatest) > within,
                    "a route came later than \(within) ms after the switch"
                ),
                (
                    row.mobility.least != 1 || row.mobility.greatest != 1,
                    "bgpd saw \(row.mobility.least) to \(row.mobility.greatest) moves a hand-over"
                ),
                (row.duplicates > 0, "zebra held the guest for a duplicate \(row.duplicates) times"),
                (row.wrong > 0, "the guest's neighbours were not right after \(row.wrong) hand-overs"),
                (row.othersChanged > 0, "neighbours of others had changed after \(row.othersChanged) hand-overs"),
                (row.unsettled > 0, "a host was not as its record said after \(row.unsettled) hand-overs"),
            ].filter(\.0).map { "FAILED: \(row.case): \($0.1)" }
        }
    }

    /// The rows with a header, columns two spaces apart.
    var text: String {
        let header = [
            "neighbours", "runs", "switch ms", "IPv4 route after ms", "IPv6 route after ms", "moves", "duplicates",
            "missing", "wrong", "others changed", "unsettled",
        ]
        return TextTable.aligned(
            [header]
                + neighbours.map { row in
                    [row.case, "\(row.handovers)"]
                        + [row.switchMs, row.ipv4RouteMs, row.ipv6RouteMs, row.mobility].map(\.text)
                        + [row.duplicates, row.missing, row.wrong, row.othersChanged, row.unsettled].map { "\($0)" }
                }, numbersFrom: 1)
    }

    private enum CodingKeys: String, CodingKey { case neighbours }
}

extension EVPNNeighbourReport.Row {
    init(_ kind: NeighbourCase, _ all: [EVPNNeighbourResult]) {
        func times(_ family: Int) -> EVPNReport.Spread {
            .init(all.compactMap { $0.routes[family] }.map { Int($0 / 1_000_000) })
        }
        self.init(
            case: kind.rawValue, handovers: all.count, switchMs: .init(all.map { Int($0.took / 1_000_000) }),
            ipv4RouteMs: times(0), ipv6RouteMs: times(1), mobility: .init(all.map { $0.mobility ?? 0 }),
            duplicates: all.reduce(0) { $0 + $1.duplicates }, missing: all.count { $0.routes.contains(nil) },
            wrong: all.count { !$0.isRight }, othersChanged: all.count { !$0.othersStay },
            unsettled: all.count { !$0.isSettled })
    }
}
