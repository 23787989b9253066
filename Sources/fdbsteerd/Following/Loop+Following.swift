import Configuration
import Controller
import FDB
import Glibc
import Logging
import Netlink
import Policy
import QMP
import Switchdev
import System

/// Following guests: inputs to the policy, and its actions carried out.
extension Loop {
    /// Makes the list of followed guests what configuration and journal say: those that are configured, and prepared.
    mutating func chooseFollowed() {
        let now = monotonicNanoseconds()
        var wanted: Set<GuestID> = []
        for settings in configuration.guests where settings.follow || settings.followRXFilter {
            guard let (row, guest, bracket) = keeper.guest(settings.id) else { continue }
            wanted.insert(settings.id)
            if let known = followed[settings.id], known.row == row, known.settings == settings {
                if settings.follow { see(known, guest, bracket) }
                continue
            }
            let new = Followed(
                settings, row: row, guest: guest, bracket: bracket, configuration: configuration, now: now)
            followed[settings.id] = new
            let source = settings.qmp.map { ("qmp", $0) } ?? ("domain", settings.domain ?? "")
            log.notice("following", metadata: ["guest": "\(settings.id)", source.0: "\(source.1)"])
            presume(new)
        }
        for (id, known) in followed where !wanted.contains(id) && !known.isReturning { followed[id] = nil }
        chooseEvents(now: now)
        noteFollowed()
    }

    /// Somebody else has redirected a followed guest: the policy begins anew from there.
    private mutating func see(_ known: Followed, _ guest: GuestInterface, _ bracket: Side?) {
        let isAsKnown =
            bracket == nil
            ? known.follower.bracket == nil && known.follower.side == guest.side : known.follower.bracket != nil
        if isAsKnown { return }
        log.notice(
            "redirected by others", metadata: ["guest": "\(guest.id)", "side": "\(guest.side.rawValue)"])
        known.begin(guest, bracket: bracket, now: monotonicNanoseconds())
        presume(known)
    }

    /// Takes what has come from monitors, packet sockets and timers.
    mutating func follow() {
        hearEvents()
        for row in happened {
            if let id = followedIDs[row], let guest = followed[id] { follow(guest, id, now: monotonicNanoseconds()) }
        }
        happened.removeAll(keepingCapacity: true)
        let now = monotonicNanoseconds()
        for (id, guest) in followed {
            if let due = guest.due, due <= now { follow(guest, id, now: now) }
        }
    }

    private mutating func follow(_ guest: Followed, _ id: GuestID, now: Int64) {
        let (inputs, filters) = guest.inputs(now: now)
        for input in inputs { handle(input, of: guest, id) }
        if let filters, guest.settings.followRXFilter { adopt(filters, guest, id) }
        do throws(NetlinkError) {
            try guest.announce(now: now, interval: configuration.announce.interval)
        } catch {
            guest.roundsLeft = 0
            log.error("announcement failed", metadata: ["guest": "\(id)", "error": "\(error)"])
        }
        // Its connection may be a new one.
        if let client = guest.client?.descriptor, let events = guest.client?.pollEvents {
            descriptors.watch(client, events: events, token: guest.row)
        }
        if !inputs.isEmpty { note(guest, id) }
    }

    /// When something of the followed guests is due.
    var followedDue: Int64? {
        var least: Int64?
        for guest in followed.values {
            if let due = guest.due { least = min(due, least ?? due) }
        }
        if let due = eventsDue { least = min(due, least ?? due) }
        return least
    }

    /// The carrier of a followed guest's primary may have changed.
    mutating func handleCarrier(of row: Int64, isUp: Bool) {
        guard let (id, guest) = followed.first(where: { $0.value.row == row }), guest.settings.follow else { return }
        handle(.primaryCarrier(isUp), of: guest, id)
    }

    /// A guest whose primary was lost, and has come back, goes back to it once it uses it.
    mutating func comeBack(_ row: Int64) throws(ControllerError) {
        guard let name = keeper.watch.name(row), let id = try? GuestID(name), followed[id] == nil,
            let settings = configuration.guest(id), settings.returnToPrimary == .whenBack,
            try keeper.readopt(row), let (_, guest, bracket) = keeper.guest(id), guest.side == .standby
        else { return }
        // A new port learns.
        look(at: [Watch.Suspicion(row: row, cause: .port)])
        log.notice("the primary is back", metadata: ["guest": "\(id)", "port": "\(guest.primary.name)"])
        let returning = Followed(
            settings, row: row, guest: guest, bracket: bracket, configuration: configuration,
            now: monotonicNanoseconds())
        returning.isReturning = true
        followed[id] = returning
        // As if QEMU had told: the guest runs, and gets its primary.
        handle(.connected(QMPSituation(runState: "running")), of: returning, id)
        handle(.event(QMPEvent(.failoverNegotiated)), of: returning, id)
        noteFollowed()
    }

    /// The list of followed guests has changed.
    mutating func noteFollowed() {
        followedIDs = Dictionary(uniqueKeysWithValues: followed.map { ($1.row, $0) })
        keeper.followed = Set(followed.values.filter { $0.settings.follow || $0.isReturning }.map(\.row))
        keeper.leaving.formIntersection(keeper.followed)
        for (id, guest) in followed { note(guest, id) }
        for id in keeper.counters.qmpConnected.keys where followed[id] == nil { keeper.counters.qmpConnected[id] = nil }
    }

    /// What the keeper has to know of a followed guest may have changed.
    private mutating func note(_ guest: Followed, _ id: GuestID) {
        if guest.isReturning { return }
        if guest.follower.state == .migrating {
            keeper.leaving.insert(guest.row)
        } else {
            keeper.leaving.remove(guest.row)
        }
        let isConnected = guest.client?.isConnected ?? isListening
        if keeper.counters.qmpConnected[id] != isConnected { keeper.counters.qmpConnected[id] = isConnected }
    }

    mutating func handle(_ input: MigrationFollower.Input, of guest: Followed, _ id: GuestID) {
        if case .event(let event) = input { count(event, of: guest) }
        guard guest.settings.follow || guest.isReturning else { return }
        log.debug("heard", metadata: ["guest": "\(id)", "what": "\(input)"])
        let before = guest.follower.state
        var actions = guest.follower.handle(input)[...]
        while let action = actions.popFirst() {
            do throws(ControllerError) {
                try carryOut(action, for: guest, id)
            } catch {
                // The policy knows what to do about it; what it had asked for beside comes first.
                actions += guest.follower.handle(.failed(action, "\(error)"))
            }
        }
        if guest.follower.state != before {
            log.info(
                "state",
                metadata: ["guest": "\(id)", "from": "\(before.rawValue)", "to": "\(guest.follower.state.rawValue)"])
        }
        // It is on its primary: what brought it back has done its work.
        if guest.isReturning, guest.follower.state == .primary {
            followed[id] = nil
            noteFollowed()
        }
    }

    private mutating func carryOut(
        _ action: MigrationFollower.Action, for guest: Followed, _ id: GuestID
    ) throws(ControllerError) {
        let about: Logger.Metadata = ["guest": "\(id)"]
        switch action {
        case .openBracket(let goal):
            let report = try keeper.bracket(
                id, to: goal, isDeclared: guest.settings.kind.takesOneOfTwo, reason: "\(action)")
            log(report, "bracket opened", about)
        case .closeBracket(let side), .move(let side):
            log(try keeper.move(id, to: side, reason: "\(action)"), "redirected", about)
        case .becomeRemote:
            guard keeper.guest(id)?.guest.uplink != nil else {
                log.notice("gone, and there is no uplink to be reached by", metadata: about)
                return
            }
            log(try keeper.move(id, to: .remote, reason: "\(action)"), "redirected", about)
        case .announce:
            guard configuration.announce.count > 0, keeper.guest(id)?.guest.uplink != nil else { return }
            guest.announcer = try keeper.announcer(id, ips: guest.settings.addressesIP)
            guest.roundsLeft = configuration.announce.count
            guest.nextRound = 0
        case .watchPrimary(true):
            guard let known = keeper.guest(id)?.guest else { return }
            do throws(NetlinkError) {
                let frames = try GuestFrames(from: known.addresses.map(\.mac), port: known.primary.index)
                descriptors.watch(frames.descriptor, token: guest.row)
                guest.frames = consume frames
            } catch {
                throw ControllerError(
                    .precondition, "cannot watch the frames of \(known.primary.name)", cause: error)
            }
        case .watchPrimary(false): guest.frames = nil
        case .alarm(let text):
            guest.hasAlarm = true
            log.error("needs attention", metadata: about.merging(["reason": "\(text)"]) { $1 })
        case .calm:
            if guest.hasAlarm { log.notice("needs no attention any more", metadata: about) }
            guest.hasAlarm = false
        case .arm(let timer, let nanoseconds): guest.timers[timer] = monotonicNanoseconds() + nanoseconds
        case .disarm(let timer): guest.timers[timer] = nil
        }
    }

    /// How long the policy had waited for what a guest does.
    private mutating func count(_ event: QMPEvent, of guest: Followed) {
        guard guest.follower.state == .leaving, event.migrationStatus?.isPastUnplug == true,
            let armed = guest.timers[.unplug]
        else { return }
        let waited = guest.follower.configuration.unplugLimit - (armed - monotonicNanoseconds())
        keeper.counters.countWait(for: "qmp", nanoseconds: max(0, waited))
    }

    private mutating func adopt(_ filters: [RxFilter], _ guest: Followed, _ id: GuestID) {
        guard
            let filter = filters.first(where: {
                guest.settings.standbyDevice == nil ? filters.count == 1 : $0.name == guest.settings.standbyDevice
            })
        else { return }
        do throws(ControllerError) {
            let report = try keeper.adopt(id, filter: filter, limit: guest.settings.rxFilterLimit)
            if report.joined.isEmpty, report.left.isEmpty, report.refused.isEmpty { return }
            log.notice(
                "receive filter",
                metadata: [
                    "guest": "\(id)", "joined": "\(report.joined.joined(separator: ","))",
                    "left": "\(report.left.joined(separator: ","))",
                    "refused": "\(report.refused.joined(separator: "; "))",
                ])
        } catch {
            log.error("receive filter not followed", metadata: ["guest": "\(id)", "error": "\(error)"])
        }
    }
}
