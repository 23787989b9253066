import Glibc
import Lab
import System

extension MigrationRig {
    /// The longest time that migrations may take, in seconds.
    private static let crowdLimit: Int64 = 90

    /// Migrates some of the guests at the same time, under traffic to all of them; daemons follow all of them.
    ///
    /// - Parameters:
    ///   - movers: the numbers of the guests that migrate.
    ///   - method: one with daemons.
    /// - Returns: one record for each guest, in their order.
    func migrate(_ movers: Set<Int>, _ method: MigrationMethod) throws -> [Record] {
        let sources = try runningMachines()
        var targets: [Int: GuestMachine] = [:]
        do {
            for guest in movers { targets[guest] = try waitingMachine(guest, hasPrimary: true) }
            let stages = sources.enumerated().map { stage($0.element, targets[$0.offset]) }
            try method.prepare(stages)
            var records = try record(stages) {
                for stage in stages {
                    if let target = stage.target { try method.start(stage, target: target) }
                }
                return try follow(stages)
            }
            let complaints = try method.end(stages)
            for guest in records.indices {
                records[guest].complaints = complaints[guest]
                settle(guest, targets[guest], records[guest])
            }
            return records
        } catch {
            targets.values.forEach { $0.end() }
            end()
            throw error
        }
    }

    /// Records the machine that the guest is on, or none if that is unknown.
    private func settle(_ guest: Int, _ target: GuestMachine?, _ record: Record) {
        if record.failure != nil {
            target?.end()
            end(guest)
        } else if let target {
            moved(to: target)
        }
    }

    /// Waits until each migrating guest uses its VF on the target.
    ///
    /// - Returns: for each guest the error, or nil.
    private func follow(_ stages: [MigrationStage]) throws -> [String?] {
        var moments = stages.map { _ in Set<MigrationMoment>() }
        func isOver(_ guest: Int) -> Bool {
            stages[guest].target == nil || moments[guest].contains(.failed)
                || moments[guest].isSuperset(of: [.completed, .primarySpoke])
        }
        let end = monotonicNanoseconds() + MigrationRig.crowdLimit * 1_000_000_000
        while monotonicNanoseconds() < end, !stages.indices.allSatisfy(isOver) {
            for (guest, stage) in stages.enumerated() { moments[guest].formUnion(try stage.nextMoments()) }
            usleep(5000)
        }
        return stages.indices.map { guest in
            if moments[guest].contains(.failed) { return "QEMU gave the migration up" }
            return isOver(guest) ? nil : "the guest did not use its VF on the target"
        }
    }
}
