import Configuration
import Controller
import FDB
import Logging
import Netlink
import Policy
import System

/// What the policy answers, carried out.
extension Following {
    mutating func carryOut(
        _ action: MigrationFollower.Action, for guest: Followed,
        before rest: inout ArraySlice<MigrationFollower.Action>,
        _ context: inout DaemonContext
    ) throws(ControllerError) {
        let about: Logger.Metadata = ["guest": "\(guest.settings.id)"]
        let (row, reason) = (guest.row, "\(action)")
        if action.changesTheGuest, context.keeper.isObserved(row) {
            let moves = action.target.map { context.keeper.moves(row, to: $0) } ?? ""
            context.keeper.observe(row, .follower, moves, "QEMU's events ask for this: \(reason)")
            return
        }
        switch action {
        case .openBracket(let goal):
            // Before the copies, which may take longer to make than the guest needs to let go of its primary.
            beginReplay(of: guest, goal == .standby ? .leaving : .arriving, &context)
            keepQueue(of: guest, &context)
            let report = try context.keeper.openBracket(
                row, to: goal, isDeclared: guest.settings.kind.takesOneOfTwo, reason: reason)
            context.log.report(report, as: "bracket opened", about)
        case .closeBracket(let side), .move(let side):
            // What keeps it from being announced is told afterwards.
            let isArrival = rest.contains(.announce) && (try? beginToAnnounce(guest, &context)) != nil
            let report =
                try isArrival
                ? arrive(guest, at: side, reason: reason, &context) : context.keeper.move(row, to: side, reason: reason)
            if isArrival { rest.removeAll { $0 == .announce } }
            context.log.report(report, as: "redirected", about)
        case .becomeRemote:
            // What says that it is here would draw its frames away from it.
            guest.announcing = nil
            guard hasUplink(row, context) else {
                context.log.notice("gone, and there is no uplink to be reached by", metadata: about)
                return
            }
            context.log.report(try context.keeper.move(row, to: .remote, reason: reason), as: "redirected", about)
        case .announce:
            if context.keeper.record(row)?.guest.side != .remote { try beginToAnnounce(guest, &context) }
        case .watchPrimary(true):
            try watchPrimary(of: guest, context)
            context.keeper.awaitReadiness(row, by: .primary)
        case .watchPrimary(false):
            guest.frames = nil
            context.keeper.stopAsking(row)
        case .watchUplink(true): try watchUplink(of: guest, context)
        case .watchUplink(false): guest.uplink = nil
        case .sendKept: if let replay = guest.replay { context.keeper.depart(replay) }
        case .alarm(let text):
            let remedy = "\"fdbsteer status \(guest.settings.id)\" shows where it is; abort or switch it there by hand"
            context.keeper.set(
                row, .follower, [Condition(Condition.attention, .problem, "", text, remedy: remedy)])
        case .calm: context.keeper.set(row, .follower, [])
        case .arm(let timer, let nanoseconds): guest.timers[timer] = monotonicNanoseconds() + nanoseconds
        case .disarm(let timer): guest.timers[timer] = nil
        }
    }

    /// Redirects a guest that has come from another host, and announces it in the same breath: a gate has held back what QEMU sent, so
    /// the fabric hears of the guest by this frame.
    private func arrive(
        _ guest: Followed, at side: Side, reason: String, _ context: inout DaemonContext
    ) throws(ControllerError) -> Report {
        let interval = context.configuration.announce.interval
        do throws(ControllerError) {
            return try context.keeper.move(guest.row, to: side, reason: reason) {
                // A round that fails is told of with the next.
                try? guest.announce(now: monotonicNanoseconds(), interval: interval)
            }
        } catch {
            guest.announcing = nil
            throw error
        }
    }

    /// Makes ready what announces a guest: the first round is due at once.
    private func beginToAnnounce(_ guest: Followed, _ context: inout DaemonContext) throws(ControllerError) {
        let rounds = context.configuration.announce.count
        guard rounds > 0, hasUplink(guest.row, context) else { return }
        guest.announcing = Followed.Announcing(try context.keeper.announcer(guest.row), rounds: rounds)
    }

    /// A guest answered by its primary: it takes that port's frames, as its first frame by it shows.
    mutating func ready(_ row: Int64, by side: Side, _ context: inout DaemonContext) {
        guard side == .primary, let guest = guests[row], guest.frames != nil else { return }
        handle(.frameOnPrimary, of: guest, &context)
    }

    private func hasUplink(_ row: Int64, _ context: borrowing DaemonContext) -> Bool {
        context.keeper.record(row)?.guest.uplink != nil
    }

    private func watchPrimary(of guest: Followed, _ context: borrowing DaemonContext) throws(ControllerError) {
        guard let known = context.keeper.record(guest.row)?.guest else { return }
        guest.frames = try watch(
            guest, known.firstPort, from: known.addresses.map(\.mac), takesAnnouncements: false, context)
    }

    /// Frames from a guest's addresses by a port, which wake the loop.
    func watch(
        _ guest: Followed, _ port: PortIdentity, from macs: [MACAddress], takesAnnouncements: Bool,
        _ context: borrowing DaemonContext
    ) throws(ControllerError) -> GuestFrames {
        do throws(NetlinkError) {
            let frames = try GuestFrames(from: macs, port: port.index, takesAnnouncements: takesAnnouncements)
            context.descriptors.watch(frames.descriptor, token: guest.row)
            return frames
        } catch {
            throw ControllerError(.precondition, "cannot watch the frames of \(port.name)", cause: error)
        }
    }
}
