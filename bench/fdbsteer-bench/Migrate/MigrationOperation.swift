import ArgumentParser
import Glibc
import Lab
import System

/// The operation on the guest under traffic.
enum MigrationOperation: String, CaseIterable, ExpressibleByArgument, Sendable {
    /// The guest migrates to the other host.
    case migrate
    /// The guest gets a VF.
    case plug
    /// The slot's attention button requests the guest's VF; the guest waits 5 s before it obeys.
    case unplugPCIe = "unplug-pcie"
    /// ACPI requests the guest's VF.
    case unplugACPI = "unplug-acpi"
    /// The slot's attention button requests the guest's VF, and the guest does not answer.
    case refusedPCIe = "refused-pcie"
    /// ACPI requests the guest's VF, and the guest does not answer.
    case refusedACPI = "refused-acpi"
    /// The VF is removed under its driver: the slot's power goes off without an order to the guest's kernel.
    case surprise
    /// A migration to the other host is begun, and cancelled once the VF is gone.
    case cancel

    /// The PCIe slot itself plugs and unplugs.
    var usesNativeHotplug: Bool { [.unplugPCIe, .refusedPCIe, .surprise].contains(self) }

    /// There is no warning, so frames lost until a program has noticed are not a fault.
    var losesBySteering: Bool { self == .surprise }

    /// The methods that make sense for this operation and a guest with one port; none: there is no such operation.
    var methodsForPorts: [MigrationMethod] { self == .migrate || self == .cancel ? MigrationMethod.forPorts : [] }

    /// The methods that make sense for this operation and a guest with a pair.
    var methods: [MigrationMethod] {
        switch self {
        case .migrate, .plug, .unplugPCIe, .unplugACPI: MigrationMethod.forPairs
        // The script has no steps for these operations.
        case .cancel, .surprise, .refusedPCIe, .refusedACPI: MigrationMethod.forPairs.filter { !$0.isScript }
        }
    }
}

extension MigrationRig {
    /// The time limits, in seconds.
    private static let migrationLimit = 60.0
    private static let removalLimit = 30.0
    private static let plugLimit = 30.0
    /// The time to wait for the guest; one that answers the attention button takes 6 s.
    private static let patience = 8.0

    /// Does the operation once with a method, under traffic. After a failure the next one starts a new guest.
    func run(_ operation: MigrationOperation, _ method: MigrationMethod) throws -> Record {
        do {
            let record =
                switch operation {
                case .migrate: try migrate(method)
                case .plug: try plug(method)
                case .unplugPCIe, .unplugACPI, .surprise: try unplug(method, isSurprise: operation == .surprise)
                case .refusedPCIe, .refusedACPI: try refusedUnplug(method)
                case .cancel: try cancel(method)
                }
            if record.failure != nil { end() }
            return record
        } catch {
            end()
            throw error
        }
    }

    private func migrate(_ method: MigrationMethod) throws -> Record {
        let source = try runningMachine()
        let target = try waitingMachine(hasPrimary: !method.isScript, isHeld: method.isHeld)
        do {
            let stage = stage(source, target)
            try method.prepare(stage)
            try watchFabric(stage, target)
            var record = try record(stage) {
                try method.start(stage, target: target)
                var ended: Set<MigrationMoment> = []
                let isOver = try stage.follow(seconds: MigrationRig.migrationLimit) {
                    ended.insert($0)
                    return ended.contains(.failed) || ended.isSuperset(of: [.completed, .primarySpoke])
                } handle: {
                    try method.handle($0, stage)
                    if $0 == .resumed { stage.fabric?.hush() }
                }
                if ended.contains(.failed) { return "QEMU gave the migration up" }
                return isOver ? nil : "the guest sent nothing by its port on the target"
            }
            record.complaints = try method.end(stage)
            moved(to: target)
            return record
        } catch {
            target.end()
            throw error
        }
    }

    private func plug(_ method: MigrationMethod) throws -> Record {
        let machine = try runningMachine()
        let stage = stage(machine, nil)
        try machine.unplugPrimary()
        try stage.follow(seconds: MigrationRig.removalLimit, until: { $0 == .unplugged }, handle: { _ in })
        try machine.waitForGuest(withPrimary: false)
        try method.prepareWithoutPrimary(stage)
        var record = try record(stage) {
            stage.primaryIsNewFrom = Stopwatch.realTime
            if method.isScript {
                try method.plugByScript(stage, machine)
            } else {
                try method.handle(.aboutToPlug, stage)
                try stage.perform(machine, "device_add") { try $0.plugPrimary() }
            }
            let isOver = try stage.follow(seconds: MigrationRig.plugLimit, until: { $0 == .primarySpoke }) {
                try method.handle($0, stage)
            }
            return isOver ? nil : "the guest did not use its VF"
        }
        record.complaints = try method.end(stage)
        return record
    }

    private func unplug(_ method: MigrationMethod, isSurprise: Bool) throws -> Record {
        let machine = try runningMachine()
        let stage = stage(machine, nil)
        stage.losesPrimary = true
        try method.prepare(stage)
        var record = try record(stage) {
            if method.isScript {
                try method.unplugByScript(stage)
                return nil
            }
            if isSurprise {
                try stage.perform(machine, "slot power off") {
                    let answer = try $0.observer().ask("surprise")
                    if !answer.isEmpty { throw LabError("the guest cannot power the slot off: \(answer)") }
                }
            } else {
                try method.handle(.aboutToUnplug, stage)
                try stage.perform(machine, "device_del") { try $0.unplugPrimary() }
            }
            let isOver = try stage.follow(seconds: MigrationRig.removalLimit, until: { $0 == .unplugged }) {
                try method.handle($0, stage)
            }
            // After a surprise removal the guest's kernel notices later than QEMU.
            if isOver { try machine.waitForGuest(withPrimary: false) }
            return isOver ? nil : "the VF was not removed"
        }
        record.complaints = try method.end(stage)
        if method.isScript { try method.removeEntries(stage, machine) }
        // For the next operation. The script waits for only 5 s, and a guest that itself waits 5 s is not done then.
        if !stage.isUnplugged {
            try stage.follow(seconds: MigrationRig.removalLimit, until: { $0 == .unplugged }, handle: { _ in })
        }
        try machine.plugPrimary()
        return record
    }

    private func refusedUnplug(_ method: MigrationMethod) throws -> Record {
        let machine = try runningMachine()
        let stage = stage(machine, nil)
        try machine.refuseUnplug()
        try method.prepare(stage)
        var record = try record(stage) {
            try method.handle(.aboutToUnplug, stage)
            try stage.perform(machine, "device_del") { try $0.unplugPrimary() }
            let isUnplugged = try stage.follow(seconds: MigrationRig.patience, until: { $0 == .unplugged }) {
                try method.handle($0, stage)
            }
            if isUnplugged { return "the guest let go of its VF" }
            // The request is abandoned: a later frame through the VF shows that the guest still has it.
            stage.primaryIsNewFrom = Stopwatch.realTime
            try method.handle(.refused, stage)
            let isOver = try stage.follow(seconds: MigrationRig.plugLimit, until: { $0 == .primarySpoke }) {
                try method.handle($0, stage)
            }
            try machine.waitForGuest(withPrimary: true)
            return isOver ? nil : "the guest does not use its VF any more"
        }
        record.complaints = try method.end(stage)
        // The request is still pending.
        end()
        return record
    }

    private func cancel(_ method: MigrationMethod) throws -> Record {
        let source = try runningMachine()
        let target = try waitingMachine(hasPrimary: true, isHeld: method.isHeld)
        defer { target.end() }
        let stage = stage(source, target)
        try method.prepare(stage)
        try watchFabric(stage, target)
        var record = try record(stage) {
            try method.start(stage, target: target)
            let isUnplugged = try stage.follow(seconds: MigrationRig.removalLimit, until: { $0 == .unplugged }) {
                try method.handle($0, stage)
            }
            guard isUnplugged else { return "the migration did not begin" }
            stage.isCancelled = true
            stage.primaryIsNewFrom = Stopwatch.realTime
            try stage.perform(source, "migrate_cancel") { try $0.session.execute("migrate_cancel") }
            let isOver = try stage.follow(seconds: MigrationRig.plugLimit, until: { $0 == .primarySpoke }) {
                try method.handle($0, stage)
            }
            return isOver ? nil : "the guest sent nothing by its port"
        }
        record.complaints = try method.end(stage)
        return record
    }
}
