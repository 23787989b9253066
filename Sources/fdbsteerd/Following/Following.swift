import Configuration
import Controller
import FDB
import Logging
import Netlink
import Policy
import QMP
import Switchdev
import System

/// The guests whose redirections follow what QEMU tells: inputs to the policy, and its actions carried out.
struct Following {
    /// By their rows in the journal.
    var guests: [Int64: Followed] = [:]
    /// QEMU's monitors, by their paths, and the paths by the monitors' tokens.
    var monitors: [String: Monitor] = [:]
    var monitorPaths: [Int64: String] = [:]
    /// Guests that are asked where they take frames.
    private(set) var asked = 0
    var nextMonitorToken: Int64 = DaemonContext.ownToken - 1
    /// What tells the events of libvirt's domains, where a followed guest names one.
    var events: EventCommand?

    /// Configured guests that others prepare, and that were not prepared when the list was last made.
    private var unprepared: Set<GuestID> = []

    // MARK: - Who is followed

    /// Makes the list of followed guests what configuration and journal say: those that are configured, and prepared.
    mutating func choose(_ context: inout DaemonContext) {
        let now = monotonicNanoseconds()
        let missing = Set(
            context.configuration.guests.filter { $0.preparation == nil }.map(\.id).filter {
                context.keeper.watch.record(named: $0) == nil
            })
        for id in missing.subtracting(unprepared).sorted(by: { $0.text < $1.text }) {
            context.log.notice("configured, but not prepared here", metadata: ["guest": "\(id)"])
        }
        unprepared = missing
        var wanted: Set<Int64> = []
        for settings in context.configuration.guests where settings.follow || settings.followRXFilter {
            guard let record = context.keeper.watch.record(named: settings.id) else { continue }
            wanted.insert(record.row)
            if let known = guests[record.row], known.settings == settings,
                known.isReplayed == Followed.isReplayed(settings, record, context.configuration)
            {
                if settings.follow { see(known, record, &context) }
                continue
            }
            if let known = guests[record.row] {
                endReplay(of: known, "the guest is configured anew", isForGood: true, &context)
            }
            let new = Followed(settings, record, configuration: context.configuration)
            guests[record.row] = new
            let source = settings.qmp.map { ("qmp", $0) } ?? ("domain", settings.domain ?? "")
            context.log.notice("following", metadata: ["guest": "\(settings.id)", source.0: "\(source.1)"])
            presume(new, &context)
        }
        for (row, known) in guests where !wanted.contains(row) {
            guard !known.isReturning || context.keeper.record(row) == nil else { continue }
            endReplay(of: known, "the guest is followed no more", isForGood: true, &context)
            guests[row] = nil
            for source in [Condition.Source.monitor, .follower] { context.keeper.set(row, source, []) }
        }
        chooseMonitors(now: now, &context)
        chooseEvents(now: now, &context)
        note(&context)
    }

    /// Another process has redirected a followed guest: the policy begins anew from there.
    private mutating func see(_ known: Followed, _ record: GuestRecord, _ context: inout DaemonContext) {
        let follower = known.follower
        let isAsKnown =
            record.bracket == nil
            ? follower.bracket == nil && follower.side == record.guest.side : follower.bracket != nil
        if isAsKnown { return }
        context.log.notice(
            "redirected by others",
            metadata: ["guest": "\(record.guest.id)", "side": "\(record.guest.side.rawValue)"])
        context.keeper.stopAsking(known.row)
        // Somebody else has seen that it has given up its primary, or uses it.
        if let replay = known.replay, record.bracket == nil {
            if record.guest.side == .standby { replay.stays(now: monotonicNanoseconds()) }
            if record.guest.side == .primary { context.keeper.arrive(replay, of: known.row, isEvident: true) }
        }
        endReplay(of: known, "the guest was redirected by others", &context)
        known.begin(record)
        presume(known, &context)
    }

    /// Takes the port that has come for the lost primary of a guest that is to go back to its primary.
    ///
    /// - Returns: whether there is one.
    func rebindPrimary(_ row: Int64, _ context: inout DaemonContext) throws(ControllerError) -> Bool {
        guard guests[row]?.isReturning ?? true, !context.keeper.isObserved(row),
            let id = context.keeper.record(row)?.guest.id,
            context.configuration.guest(id)?.returnToPrimary == .whenBack
        else { return false }
        return try context.keeper.rebindPrimary(row)
    }

    /// A guest whose primary was lost, and has come back, goes back to it once it uses it.
    mutating func comeBack(_ row: Int64, _ context: inout DaemonContext) {
        guard let record = context.keeper.record(row), let settings = context.configuration.guest(record.guest.id)
        else { return }
        context.log.notice(
            "the primary is back",
            metadata: ["guest": "\(record.guest.id)", "port": "\(record.guest.firstPort.name)"])
        let returning = Followed(settings, record, configuration: context.configuration)
        returning.isReturning = true
        guests[row] = returning
        // As if QEMU had told: the guest runs, and gets its primary.
        handle(.connected(QMPSituation(runState: "running")), of: returning, &context)
        handle(.event(QMPEvent(.failoverNegotiated)), of: returning, &context)
        note(&context)
    }

    /// The list of followed guests has changed.
    mutating func note(_ context: inout DaemonContext) {
        context.keeper.follow(Set(guests.values.filter { $0.settings.follow || $0.isReturning }.map(\.row)))
        for guest in guests.values { note(guest, &context) }
        let known = Set(guests.values.map(\.settings.id))
        for id in context.keeper.counters.qmpConnected.keys where !known.contains(id) {
            context.keeper.counters.qmpConnected[id] = nil
        }
    }

    /// What the keeper has to know of a followed guest may have changed.
    func note(_ guest: Followed, _ context: inout DaemonContext) {
        if guest.isReturning { return }
        let monitor = guest.monitorPath.flatMap { monitors[$0] }
        if let silence = silence(of: guest, monitor) { context.keeper.set(guest.row, .monitor, silence) }
        let (id, isConnected) = (guest.settings.id, monitor?.client.isConnected ?? isListening)
        let word = guest.settings.follow && isConnected ? guest.follower.word : nil
        if context.keeper.wards[guest.row]?.word != word { context.keeper.wards[guest.row]?.word = word }
        if context.keeper.counters.qmpConnected[id] != isConnected {
            context.keeper.counters.qmpConnected[id] = isConnected
        }
    }

    /// Why nothing is heard of a guest's machine; none where something is, nil while nobody has found out yet.
    private func silence(of guest: Followed, _ monitor: Monitor?) -> [Condition]? {
        let source = guest.monitorPath ?? "libvirt's events"
        guard let reason = monitor.map(\.silence) ?? events?.silence else {
            return monitor?.client.isConnected ?? isListening ? [] : nil
        }
        let remedy =
            "the guest's redirections do not follow its migrations meanwhile: switch it by hand, or mend the cause"
        return [Condition(Condition.monitorSilent, .problem, source, "is not heard: \(reason)", remedy: remedy)]
    }

    // MARK: - Inputs

    /// Takes what has come from monitors, packet sockets and timers.
    ///
    /// - Parameter happened: tokens of descriptors, the rows of guests among them.
    mutating func turn(_ happened: [Int64], _ context: inout DaemonContext) {
        asked = guests.values.count { $0.replay?.isAsking == true }
        hearEvents(&context)
        for token in happened {
            if let monitor = monitorPaths[token].flatMap({ monitors[$0] }) {
                hear(monitor, now: monotonicNanoseconds(), &context)
            } else if let guest = guests[token] {
                follow(guest, now: monotonicNanoseconds(), &context)
            }
        }
        let now = monotonicNanoseconds()
        for monitor in monitors.values {
            if let due = monitor.due, due <= now { hear(monitor, now: now, &context) }
        }
        for guest in guests.values {
            if let due = guest.due, due <= now { follow(guest, now: now, &context) }
        }
    }

    private mutating func follow(_ guest: Followed, now: Int64, _ context: inout DaemonContext) {
        advanceReplay(of: guest, now: now, &context)
        let inputs = guest.inputs(now: now)
        for input in inputs { handle(input, of: guest, &context) }
        if !guest.held.isEmpty, !guest.isWaiting(at: now) { release(guest, &context) }
        do throws(NetlinkError) {
            try guest.announce(now: now, interval: context.configuration.announce.interval)
        } catch {
            guest.announcing = nil
            context.log.error(
                "announcement failed", metadata: ["guest": "\(guest.settings.id)", "error": "\(error)"])
        }
        note(guest, &context)
    }

    /// When something of the followed guests is due.
    var due: Int64? {
        var least: Int64?
        for guest in guests.values {
            if let due = guest.due { least = min(due, least ?? due) }
        }
        for monitor in monitors.values {
            if let due = monitor.due { least = min(due, least ?? due) }
        }
        if let due = events?.nextDeadline { least = min(due, least ?? due) }
        return least
    }

    /// The carrier of a guest's primary may have changed.
    mutating func handleCarrier(of row: Int64, isUp: Bool, _ context: inout DaemonContext) {
        guard let guest = guests[row], guest.settings.follow else { return }
        handle(.primaryCarrier(isUp), of: guest, &context)
    }

    /// Tells the policy, and carries out what it answers.
    mutating func handle(_ input: MigrationFollower.Input, of guest: Followed, _ context: inout DaemonContext) {
        if case .event(let event) = input { count(event, of: guest, &context) }
        guard guest.settings.follow || guest.isReturning else { return }
        let id = guest.settings.id
        context.log.debug("heard", metadata: ["guest": "\(id)", "what": "\(input)"])
        let before = guest.follower.state
        foresee(input, of: guest, &context)
        var actions = guest.follower.handle(input)[...]
        if actions.contains(where: \.isRedirection), guest.spend(now: monotonicNanoseconds()) {
            context.log.warning(
                "its guest causes too many redirections; they are slowed down", metadata: ["guest": "\(id)"])
        }
        while let action = actions.popFirst() {
            do throws(ControllerError) {
                try carryOut(action, for: guest, before: &actions, &context)
            } catch {
                // The policy knows what to do about it; what it had asked for beside comes first.
                actions += guest.follower.handle(.failed(action, "\(error)"))
            }
        }
        keepUp(guest, from: before, &context)
        if guest.follower.state != before {
            context.log.info(
                "state",
                metadata: ["guest": "\(id)", "from": "\(before.rawValue)", "to": "\(guest.follower.state.rawValue)"])
        }
        // It is on its primary: what brought it back has done its work.
        if guest.isReturning, guest.follower.state == .primary {
            guests[guest.row] = nil
            note(&context)
        }
    }

    /// How long the policy had waited for what a guest does.
    private func count(_ event: QMPEvent, of guest: Followed, _ context: inout DaemonContext) {
        guard guest.follower.state == .leaving, event.migrationStatus?.isPastUnplug == true,
            let armed = guest.timers[.unplug]
        else { return }
        let waited = guest.follower.configuration.unplugLimit - (armed - monotonicNanoseconds())
        context.keeper.counters.countWait(for: "qmp", nanoseconds: max(0, waited))
    }

    func follow(_ filters: [RxFilter], of guest: Followed, _ context: inout DaemonContext) {
        let (settings, id) = (guest.settings, guest.settings.id)
        guard
            let filter = filters.first(where: {
                settings.standbyDevice == nil ? filters.count == 1 : $0.name == settings.standbyDevice
            })
        else { return }
        do throws(ControllerError) {
            if context.keeper.isObserved(guest.row) { return }
            let report = try context.keeper.followFilter(guest.row, filter, limit: settings.rxFilterLimit)
            if report.joined.isEmpty, report.left.isEmpty, report.refused.isEmpty { return }
            context.log.notice(
                "receive filter",
                metadata: [
                    "guest": "\(id)", "joined": "\(Following.some(of: report.joined))",
                    "left": "\(Following.some(of: report.left))",
                    "refused": "\(Following.some(of: report.refused, "; "))",
                ])
        } catch {
            context.log.error("receive filter not followed", metadata: ["guest": "\(id)", "error": "\(error)"])
        }
    }

    /// The first few of a guest's requests: it may have thousands.
    private static func some(of items: [String], _ separator: String = ",") -> String {
        let shown = items.prefix(4).joined(separator: separator)
        return items.count > 4 ? "\(items.count) in all, such as \(shown)" : shown
    }
}

extension MigrationFollower.Action {
    /// It changes entries, copies, or what the network knows of the guest.
    fileprivate var isRedirection: Bool {
        switch self {
        case .openBracket, .closeBracket, .move, .becomeRemote, .announce: true
        default: false
        }
    }
}
