import Lab
import LossMeter

/// What became of the frames of one method's migrations by phase, and in which order they came.
struct MigrationOrderReport: Encodable {
    /// The figures of one phase.
    struct Phase: Encodable {
        let phase: String
        /// Of all peers and migrations.
        let lostTotal: Int
        let lostMax: Int
        let doubledTotal: Int
        /// Frames that came after a later one of their peer (RFC 4737).
        let lateTotal: Int
        /// The longest time that a frame took.
        let delayMsMax: Double
    }

    let phases: [Phase]
    /// Of one peer in one migration, before the guest ran on the target.
    let doubledBeforeP95: Int
    let doubledBeforeMax: Int
    /// The same after that.
    let doubledAfterP95: Int
    let doubledAfterMax: Int
    /// Of one peer in one migration: the fewest frames without which the others would be in order.
    let overtakersMedian: Int
    let overtakersMax: Int

    /// - Parameter migrations: one result for each peer.
    init(_ migrations: [[MigrationResult]]) {
        let results = migrations.flatMap(\.self)
        phases = MigrationPhase.allCases.map { phase in
            func sum(_ value: (PhaseCount) -> Int) -> Int { results.reduce(0) { $0 + value($1.phases[phase]) } }
            return Phase(
                phase: phase.rawValue, lostTotal: sum(\.lost),
                lostMax: migrations.map { $0.reduce(0) { $0 + $1.phases[phase].lost } }.max() ?? 0,
                doubledTotal: sum(\.doubled), lateTotal: sum(\.late),
                delayMsMax: Double((results.map { $0.phases[phase].delay }.max() ?? 0) / 100_000) / 10)
        }
        func largest(_ value: (MigrationResult) -> Int) -> (p95: Int, max: Int) {
            let sorted = results.map(value).sorted()
            guard let last = sorted.last else { return (0, 0) }
            return (sorted[min(sorted.count - 1, sorted.count * 95 / 100)], last)
        }
        (doubledBeforeP95, doubledBeforeMax) = largest { $0.phases[.leaving].doubled + $0.phases[.blackout].doubled }
        (doubledAfterP95, doubledAfterMax) = largest { $0.phases[.arriving].doubled }
        let overtakers = Summary.Spread(results.map { Int64($0.overtakers) })
        (overtakersMedian, overtakersMax) = (Int(overtakers.median), Int(overtakers.maximum))
    }

    static let head = [
        "leaving/blackout/arriving:", "lost", "doubled", "late", "delay ms max", "doubled before p95/max",
        "after p95/max", "overtakers med/max",
    ]

    /// A line under ``head``.
    func line(_ name: String) -> [String] {
        func all(_ value: (Phase) -> String) -> String { phases.map(value).joined(separator: "/") }
        return [
            name, all { "\($0.lostTotal)" }, all { "\($0.doubledTotal)" }, all { "\($0.lateTotal)" },
            all { "\($0.delayMsMax)" }, "\(doubledBeforeP95)/\(doubledBeforeMax)",
            "\(doubledAfterP95)/\(doubledAfterMax)", "\(overtakersMedian)/\(overtakersMax)",
        ]
    }
}
