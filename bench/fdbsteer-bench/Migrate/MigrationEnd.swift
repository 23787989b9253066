import ArgumentParser
import Glibc
import Lab
import System

/// A way in which a migration does not go as it should, while daemons follow it.
enum MigrationEnd: String, CaseIterable, ExpressibleByArgument, Sendable {
    /// `migrate_cancel` right behind `migrate`.
    case cancelBefore = "cancel-before"
    /// `migrate_cancel` while QEMU waits for the guest to give up its VF.
    case cancelWaiting = "cancel-wait-unplug"
    /// The same, 5 s later, with a guest that does not answer: QEMU would wait for ever.
    case cancelRefused = "cancel-refused"
    /// `migrate_cancel` while the guest is copied.
    case cancelActive = "cancel-active"
    /// The target's QEMU is killed while the guest is copied.
    case targetKilled = "target-killed"
    /// The source's QEMU is killed once it is done.
    case sourceKilled = "source-killed"
    /// The source's daemon is killed, and started again, once it knows that the guest is asked for its VF.
    case daemonLeaving = "daemon-leaving"
    /// The same once it knows that the guest is copied.
    case daemonMigrating = "daemon-migrating"
    /// The target's daemon, before the guest is there.
    case daemonAwaiting = "daemon-awaited"
    /// The target's daemon once it knows that the guest is there.
    case daemonComing = "daemon-coming"

    /// The guest is on the source in the end.
    var guestStays: Bool {
        [.cancelBefore, .cancelWaiting, .cancelRefused, .cancelActive, .targetKilled].contains(self)
    }

    /// The guest is to be copied slowly: something has to happen meanwhile.
    fileprivate var isSlow: Bool { [.cancelActive, .targetKilled, .daemonMigrating, .daemonAwaiting].contains(self) }

    /// How long a guest that does not answer is waited for, in microseconds.
    private static let patience: UInt32 = 5_000_000

    /// How long a killed daemon stays away, in microseconds.
    private static let absence: UInt32 = 100_000

    /// Does what is to go wrong, when its moment has come.
    func handle(_ moment: MigrationMoment, _ stage: MigrationStage) throws {
        guard let target = stage.target else { return }
        switch (self, moment) {
        case (.cancelWaiting, .waiting), (.cancelActive, .unplugged): try cancel(stage)
        case (.cancelRefused, .waiting):
            usleep(MigrationEnd.patience)
            try cancel(stage)
        case (.targetKilled, .unplugged):
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
    /// After `migrate_cancel` QEMU waits up to 30 s for the guest to give up its VF, before it plugs it again.
    private static let endLimit = 50.0
    /// Bytes a second.
    private static let slow = 32 << 20

    /// Lets a migration end in this way, under traffic.
    func run(_ end: MigrationEnd) throws -> Record {
        let method = MigrationMethod.fdbsteerd
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
                    // Before that the VF's frames say nothing: it is plugged again later.
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
            // A refused request is pending still.
            if record.failure != nil || end == .cancelRefused { self.end() }
            return record
        } catch {
            target.end()
            self.end()
            throw error
        }
    }
}
