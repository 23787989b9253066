import ArgumentParser
import Glibc
import Lab
import System

/// A way in which a migration fails or is disturbed while daemons follow it.
enum MigrationEnd: String, CaseIterable, ExpressibleByArgument, Sendable {
    /// `migrate_cancel` right after `migrate`.
    case cancelBefore = "cancel-before"
    /// `migrate_cancel` while QEMU waits for the guest to give up its VF.
    case cancelWaiting = "cancel-wait-unplug"
    /// The same, 5 s later, with a guest that does not answer: QEMU would wait forever.
    case cancelRefused = "cancel-refused"
    /// `migrate_cancel` while the guest is copied.
    case cancelActive = "cancel-active"
    /// The target's QEMU is killed while the guest is copied.
    case targetKilled = "target-killed"
    /// The same, once the source has stopped the guest for its handover.
    case targetKilledStopped = "target-killed-stopped"
    /// The source's QEMU is killed once it is done.
    case sourceKilled = "source-killed"
    /// The source's daemon is killed and restarted once it knows that the guest was asked for its VF.
    case daemonLeaving = "daemon-leaving"
    /// The source's daemon is killed and restarted once it knows that the guest is being copied.
    case daemonMigrating = "daemon-migrating"
    /// The target's daemon is killed and restarted before the guest has arrived.
    case daemonAwaiting = "daemon-awaited"
    /// The target's daemon is killed and restarted once it knows that the guest has arrived.
    case daemonComing = "daemon-coming"

    /// The guest is on the source at the end.
    var guestStays: Bool {
        [.cancelBefore, .cancelWaiting, .cancelRefused, .cancelActive, .targetKilled, .targetKilledStopped]
            .contains(self)
    }

    /// The guest must be copied slowly, so there is time for the disturbance.
    fileprivate var isSlow: Bool { [.cancelActive, .targetKilled, .daemonMigrating, .daemonAwaiting].contains(self) }

    /// The time to wait for a guest that does not answer, in microseconds.
    private static let patience: UInt32 = 5_000_000

    /// The time before a killed daemon is restarted, in microseconds.
    private static let absence: UInt32 = 100_000

    /// Causes the disturbance when its moment has come.
    func handle(_ moment: MigrationMoment, _ stage: MigrationStage) throws {
        guard let target = stage.target else { return }
        switch (self, moment) {
        case (.cancelWaiting, .waiting), (.cancelActive, .unplugged): try cancel(stage)
        case (.cancelRefused, .waiting):
            usleep(MigrationEnd.patience)
            try cancel(stage)
        case (.targetKilled, .unplugged), (.targetKilledStopped, .stopped):
            stage.isCancelled = true
            try stage.perform(target, "QEMU killed") { $0.end() }
        case (.sourceKilled, .completed):
            stage.isSourceGone = true
            try stage.perform(stage.source, "QEMU killed") { $0.end() }
        case (.daemonLeaving, .waiting): try kill(stage, stage.source, knowing: "leaving")
        case (.daemonMigrating, .unplugged): try kill(stage, stage.source, knowing: "migrating")
        case (.daemonAwaiting, .unplugged): try kill(stage, target, knowing: "awaited")
        case (.daemonComing, .resumed): try kill(stage, target, knowing: "coming")
        default: break
        }
    }

    fileprivate func cancel(_ stage: MigrationStage) throws {
        stage.isCancelled = true
        try stage.perform(stage.source, "migrate_cancel") { try $0.session.execute("migrate_cancel") }
    }

    private func kill(_ stage: MigrationStage, _ machine: GuestMachine, knowing state: String) throws {
        guard let daemon = stage.daemons[machine.host.name] else { return }
        try daemon.waitFor("to=\(state)")
        try stage.perform(machine, "fdbsteerd killed") { _ in daemon.kill() }
        usleep(MigrationEnd.absence)
        try stage.perform(machine, "fdbsteerd again") { _ in try daemon.start() }
    }
}

extension MigrationRig {
    /// A time limit in seconds: after `migrate_cancel` QEMU waits up to 30 s for the guest to give up its VF, and then plugs it
    /// again.
    private static let endLimit = 50.0
    /// Bytes a second.
    private static let slow = 32 << 20

    /// Runs a migration that ends in this way, under traffic.
    ///
    /// - Parameter method: one with daemons.
    func run(_ end: MigrationEnd, _ method: MigrationMethod) throws -> Record {
        let source = try runningMachine()
        let target = try waitingMachine(hasPrimary: true)
        do {
            let stage = stage(source, target)
            if end == .cancelRefused { try source.refuseUnplug() }
            try method.prepare(stage)
            try source.session.execute(
                "migrate-set-parameters", "{\"max-bandwidth\": \(end.isSlow ? MigrationRig.slow : 1 << 30)}")
            var record = try record(stage) {
                try method.start(stage, target: target)
                if end == .cancelBefore { try end.cancel(stage) }
                var moments: Set<MigrationMoment> = []
                let isOver = try stage.follow(seconds: MigrationRig.endLimit) {
                    moments.insert($0)
                    return moments.isSuperset(
                        of: end.guestStays ? [.failed, .primarySpoke] : [.completed, .primarySpoke])
                } handle: { moment in
                    // Earlier frames through the VF do not count, because the VF is plugged again later.
                    if moment == .failed { stage.primaryIsNewFrom = Stopwatch.realTime }
                    try end.handle(moment, stage)
                }
                return isOver ? nil : "the guest did not use its VF again"
            }
            record.complaints = try method.end(stage)
            if end.guestStays {
                target.end()
            } else {
                moved(to: target)
            }
            // A refused request is still pending.
            if record.failure != nil || end == .cancelRefused { self.end() }
            return record
        } catch {
            target.end()
            self.end()
            throw error
        }
    }
}
