import LossMeter

/// The results of the hand-over bench, as text and as JSON.
struct HandoverReport: Encodable {
    /// One method with one flood setting, for one peer.
    struct Row: Encodable {
        let method: String
        let flood: String
        let peer: String
        let handovers: Int
        let void: Int
        let sent: Int
        let lostMin: Int
        let lostMedian: Int
        let lostMax: Int
        let lostTotal: Int
        let lostUnexplained: Int
        let outageMsMedian: Double
        let outageMsMax: Double
        let duplicatedTotal: Int
    }

    let handover: [Row]

    init(methods: [HandoverMethod], results: [HandoverRun.Series: [HandoverResult]]) {
        handover = methods.flatMap { method in
            [false, true].flatMap { flood in
                HandoverRun.Peer.allCases.map { peer in
                    Row(
                        HandoverRun.Series(method: method, flood: flood, peer: peer),
                        results[HandoverRun.Series(method: method, flood: flood, peer: peer)] ?? [])
                }
            }
        }
    }

    /// Results that fdbsteer must not have with any order of steps.
    var complaints: [String] {
        let steered = Set(([HandoverMethod.fdbsteer] + HandoverMethod.orders).map(\.name))
        return handover.filter { steered.contains($0.method) }.compactMap { row in
            let place = "\(row.method), flooding \(row.flood), peer on \(row.peer)"
            if row.handovers == 0 { return "FAILED: \(place): no hand-over that says anything, \(row.void) void" }
            if row.lostUnexplained == 0 { return nil }
            return "FAILED: \(place): \(row.lostUnexplained) frames lost that were not under way during the hand-over"
        }
    }

    /// The rows with a header, columns two spaces apart.
    var text: String {
        var rows = [
            [
                "method", "flood", "peer", "hand-overs", "sent", "lost min/med/max", "lost total", "unexplained",
                "outage ms med/max", "dup total", "void",
            ]
        ]
        for row in handover {
            rows.append([
                row.method, row.flood, row.peer, "\(row.handovers)", "\(row.sent)",
                "\(row.lostMin)/\(row.lostMedian)/\(row.lostMax)", "\(row.lostTotal)", "\(row.lostUnexplained)",
                "\(row.outageMsMedian)/\(row.outageMsMax)", "\(row.duplicatedTotal)", "\(row.void)",
            ])
        }
        return TextTable.aligned(rows, numbersFrom: 3)
    }
}

extension HandoverReport.Row {
    init(_ series: HandoverRun.Series, _ all: [HandoverResult]) {
        let valid = all.filter { !$0.isVoid }
        let lost = valid.map(\.lost).sorted()
        let outages = valid.map(\.outage).sorted()
        let middle = (valid.count - 1) / 2
        func milliseconds(_ nanoseconds: Int64) -> Double { Double((nanoseconds + 50_000) / 100_000) / 10 }
        self.init(
            method: series.method.name, flood: series.flood ? "on" : "off", peer: series.peer.rawValue,
            handovers: valid.count, void: all.count - valid.count, sent: valid.reduce(0) { $0 + $1.sent },
            lostMin: lost.first ?? 0, lostMedian: lost.isEmpty ? 0 : lost[middle], lostMax: lost.last ?? 0,
            lostTotal: lost.reduce(0, +), lostUnexplained: valid.reduce(0) { $0 + $1.unexplained },
            outageMsMedian: milliseconds(outages.isEmpty ? 0 : outages[middle]),
            outageMsMax: milliseconds(outages.last ?? 0),
            duplicatedTotal: valid.reduce(0) { $0 + $1.duplicated })
    }
}
