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
        if let replay = guest.replay, replay.isArriving, follower.state != .coming {
            context.keeper.arrive(replay, of: guest.row, isEvident: follower.state == .primary)
            tell(guest, &context)
        }
        switch follower.state {
        case .coming where guest.replay?.isArriving == true: break
        case .primary where guest.replay?.isArriving == true: break
        case .leaving where before != .leaving && follower.bracket != nil:
            // Where none had to be opened, nothing was begun yet.
            beginReplay(of: guest, .leaving, &context)
        case .migrating where before != .migrating:
            guest.replay?.migrates(now: monotonicNanoseconds())
            if guest.replay == nil { beginReplay(of: guest, .migrating, &context) }
            let port = context.keeper.record(guest.row)?.guest.standby.name ?? ""
            let reader = guest.monitorPath.flatMap { monitors[$0]?.client.descriptor }.map { peerProcess(of: $0) } ?? 0
            if let replay = guest.replay { replay.refusal = TapHolder.doubt(about: port, readBy: reader) }
        case .leaving, .migrating: break
        case .primary where guest.replay?.isReady == true: break
        // QEMU may end before the guest is seen at its new place.
        case _ where follower.isDeparting: break
        case .standby where before == .leaving: guest.replay?.stays(now: monotonicNanoseconds())
        case .gone: guest.replay?.giveUp("the guest was not seen on another host")
        default: guest.replay?.giveUp("the guest runs on here")
        }
        tell(guest, &context)
        if follower.state == .coming, before != .coming, follower.bracket != nil, guest.replay == nil {
            // A bracket that was open already leads to its primary now.
            beginReplay(of: guest, .arriving, &context)
        }
        keepQueue(of: guest, &context)
    }

    /// Nobody reads the standby of a guest that is awaited; and what a guest may miss that gets its primary is kept, and not copied.
    func keepQueue(of guest: Followed, _ context: inout DaemonContext) {
        var care: Keeper.QueueCare?
        if guest.isReplayed, !context.keeper.isObserved(guest.row) {
            if guest.replay?.holdsPrimary == true {
                care = .coming
            } else if !guest.awaitsSituation, guest.follower.state == .awaited, guest.follower.side == .remote {
                // Who is not heard of may have come.
                care = .awaited
            }
        }
        do throws(ControllerError) {
            try context.keeper.keepQueue(guest.row, care)
        } catch {
            context.log.notice("\(error)", metadata: ["guest": "\(guest.settings.id)"])
        }
        guard care == .coming, let replay = guest.replay else { return }
        if context.keeper.keepsCopies(guest.row) { return replay.holds() }
        // From now on it gets its copies as without replay, and nothing twice.
        context.keeper.arrive(replay, of: guest.row, isEvident: false)
        tell(guest, &context)
    }

    /// - Parameter isAhead: the guest will be asked for its primary, and was not yet.
    func beginReplay(
        of guest: Followed, _ course: Keeper.ReplayCourse, isAhead: Bool = false, _ context: inout DaemonContext
    ) {
        defer { if let replay = guest.replay, !isAhead { context.keeper.begin(replay) } }
        guard guest.isReplayed, !context.keeper.isObserved(guest.row), guest.replay == nil else { return }
        let about: Logger.Metadata = ["guest": "\(guest.settings.id)"]
        let running = guests.values.count { $0.replay != nil }
        guard running < Keeper.mostReplays else {
            return context.log.notice("frames are not kept: those of \(running) guests are already", metadata: about)
        }
        do throws(ControllerError) {
            guest.replay = try context.keeper.beginReplay(guest.row, course)
        } catch {
            // A guest that cannot be asked gets its primary as without replay.
            context.log.log(
                level: course == .arriving ? .info : .warning, "frames are not kept",
                metadata: about.merging(["reason": "\(error)"]) { first, _ in first })
        }
    }

    /// What has to be done before the policy is told: what takes its time is made ready when a migration is set up, 2 ms before the guest
    /// is asked for its primary; the tap's counters are read when QEMU stops the guest; and what a guest missed is sent to its primary
    /// before later frames are.
    mutating func foresee(_ input: MigrationFollower.Input, of guest: Followed, _ context: inout DaemonContext) {
        if case .event(let event) = input, let status = event.migrationStatus, guest.follower.state == .primary {
            if status == .setup, guest.follower.configuration.takesCopies {
                beginReplay(of: guest, .leaving, isAhead: true, &context)
            } else if !status.isUnderWay, guest.replay?.isReady == true {
                guest.replay?.giveUp("the guest runs on here")
            }
        }
        guard let replay = guest.replay else { return }
        switch input {
        case .disconnected where replay.isReady: replay.giveUp("QEMU's monitor ended")
        case .event(let event) where event.name == .stop: context.keeper.stop(replay)
        case .event(let event) where event.name == .resume: replay.runsOn()
        case .timer(.unplug): replay.giveUpLeaving()
        case .timer(.primary) where replay.isArriving:
            context.keeper.arrive(replay, of: guest.row, isEvident: false)
        case .frameOnPrimary where replay.isArriving && guest.follower.state == .coming:
            context.keeper.arrive(replay, of: guest.row, isEvident: true)
        default: break
        }
    }

    /// Lets a guest's replay go on.
    mutating func advanceReplay(of guest: Followed, now: Int64, _ context: inout DaemonContext) {
        guard let replay = guest.replay, let due = replay.due, due <= now else { return }
        context.keeper.advance(replay, of: guest.row, now: now, among: max(1, asked))
        if replay.hasAnsweredByPrimary { handle(.frameOnPrimary, of: guest, &context) }
        if replay.isUnasked { context.keeper.arrive(replay, of: guest.row, isEvident: false) }
        if replay.isMute(now: now) { context.keeper.yield(replay, of: guest.row) }
        tell(guest, &context)
        if replay.isOver || replay.holdsPrimary != context.keeper.keepsCopies(guest.row) {
            keepQueue(of: guest, &context)
        }
    }

    /// Nothing is kept for a guest any more, nor out of its ports' queues.
    ///
    /// - Parameter isForGood: nor is what it has missed sent on.
    func endReplay(
        of guest: Followed, _ reason: String, isForGood: Bool = false, _ context: inout DaemonContext
    ) {
        // What was kept from its primary, it has nowhere else.
        if let replay = guest.replay, replay.isArriving {
            context.keeper.arrive(replay, of: guest.row, isEvident: false)
        } else {
            guest.replay?.giveUp(reason)
        }
        if isForGood { guest.replay?.finish() }
        tell(guest, &context)
        do throws(ControllerError) {
            try context.keeper.keepQueue(guest.row, nil)
        } catch {
            context.log.warning("\(error)", metadata: ["guest": "\(guest.settings.id)"])
        }
    }

    private func tell(_ guest: Followed, _ context: inout DaemonContext) {
        guard let replay = guest.replay else { return }
        for account in replay.takeAccounts() {
            context.keeper.book(account, of: guest.settings.id)
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
