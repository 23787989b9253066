import Configuration
import Controller
import FDB
import Logging
import Policy
import QMP
import System

/// What followed guests may miss while they migrate, kept and sent again (docs/zero.md), and the uplink by which they are seen at their
/// new place.
extension Following {
    // MARK: - Replay

    /// Follows a guest's migration: a change of its state was carried out.
    mutating func keepUp(_ guest: Followed, from before: MigrationFollower.State, _ context: inout DaemonContext) {
        let follower = guest.follower
        switch follower.state {
        case .leaving where before != .leaving && follower.bracket != nil:
            // Where none had to be opened, nothing was begun yet.
            beginReplay(of: guest, isLeaving: true, &context)
        case .migrating where before != .migrating:
            guest.replay?.migrates()
            if guest.replay == nil { beginReplay(of: guest, isLeaving: false, &context) }
            let port = context.keeper.record(guest.row)?.guest.standby.name ?? ""
            let reader = guest.monitorPath.flatMap { monitors[$0]?.client.descriptor }.map { peerProcess(of: $0) } ?? 0
            if let replay = guest.replay { replay.refusal = TapHolder.doubt(about: port, readBy: reader) }
        case .leaving, .migrating: break
        case .gone where follower.isDeparting: break
        case .gone: guest.replay?.giveUp("the guest was not seen on another host")
        default: guest.replay?.giveUp("the guest runs on here")
        }
        tell(guest, &context)
    }

    func beginReplay(of guest: Followed, isLeaving: Bool, _ context: inout DaemonContext) {
        guard guest.isReplayed, !context.keeper.isObserved(guest.row), guest.replay == nil else { return }
        let about: Logger.Metadata = ["guest": "\(guest.settings.id)"]
        let running = guests.values.count { $0.replay != nil }
        guard running < Keeper.mostReplays else {
            return context.log.notice("frames are not kept: those of \(running) guests are already", metadata: about)
        }
        do throws(ControllerError) {
            guest.replay = try context.keeper.beginReplay(guest.row, isLeaving: isLeaving)
        } catch {
            context.log.warning(
                "frames are not kept", metadata: about.merging(["reason": "\(error)"]) { first, _ in first })
        }
    }

    /// What has to be known of an event before the policy is told: the tap's counters when QEMU stops the guest.
    func foresee(_ event: QMPEvent, of guest: Followed, _ context: inout DaemonContext) {
        guard let replay = guest.replay else { return }
        if event.name == .stop { context.keeper.stop(replay) }
        if event.name == .resume { replay.runsOn() }
    }

    /// Lets a guest's replay go on.
    func advanceReplay(of guest: Followed, now: Int64, _ context: inout DaemonContext) {
        guard let replay = guest.replay, let due = replay.due, due <= now else { return }
        context.keeper.advance(replay, now: now)
        tell(guest, &context)
    }

    private func tell(_ guest: Followed, _ context: inout DaemonContext) {
        guard let replay = guest.replay else { return }
        for account in replay.takeAccounts() {
            context.keeper.counters.count(account)
            var about: Logger.Metadata = ["guest": "\(guest.settings.id)", "part": "\(account.part.rawValue)"]
            if let refusal = account.refusal {
                about["reason"] = "\(refusal)"
                context.log.notice("what it missed is not sent again", metadata: about)
                continue
            }
            about["kept"] = "\(account.kept)"
            about["sent"] = "\(account.sent)"
            about["dropped"] = "\(account.dropped)"
            about["after_us"] = "\(account.delay / 1000)"
            context.log.notice("what it missed was sent again", metadata: about)
        }
        if replay.isOver { guest.replay = nil }
    }

    // MARK: - The uplink

    func watchUplink(of guest: Followed, _ context: borrowing DaemonContext) throws(ControllerError) {
        guard let known = context.keeper.record(guest.row)?.guest, let uplink = known.uplink else {
            throw ControllerError(.precondition, "the guest has no uplink to be seen by")
        }
        guest.uplink = try watch(
            guest, uplink, from: known.addresses.map(\.mac), takesAnnouncements: true, context)
        guest.uplinkIndex = uplink.index
    }

    /// A guest's entry has moved: to the uplink, perhaps, by a frame in hardware or by a control plane.
    mutating func hear(_ change: FDBMonitor.Change, _ context: inout DaemonContext) {
        if change.isRemoval { return }
        for guest in guests.values where guest.uplink != nil && guest.uplinkIndex == change.entry.port {
            guard
                context.keeper.record(guest.row)?.guest.addresses.contains(where: { $0.mac == change.entry.address.mac }
                )
                    == true
            else { continue }
            handle(.seenElsewhere, of: guest, &context)
        }
    }

    /// Whether changes of entries are heard of.
    var isWatchingUplinks: Bool { guests.values.contains { $0.uplink != nil } }
}
