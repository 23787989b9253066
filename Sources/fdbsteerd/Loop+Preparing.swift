import Configuration
import Controller
import FDB
import Logging
import Netlink
import Policy
import Switchdev
import System

/// What is remembered of the guests that the configuration has prepared.
struct Preparing {
    /// What a look at a guest has led to.
    enum Result {
        /// Nothing is to be done now.
        case settled
        /// It was refused, and its next attempt is not due yet.
        case waiting
        case prepared, refused
    }

    var courses: [GuestID: PreparationCourse] = [:]
    /// All are to be looked at, and with which of the configuration that begins.
    var isDue = true
    var first = 0
    /// When they were last looked at (CLOCK_MONOTONIC, nanoseconds).
    var lookedAt: Int64 = 0
    /// Some wait for ports, or for another attempt.
    var areWaiting = false
    /// When the next attempt is due.
    var nextAttempt = Int64.max

    /// Between two looks, in nanoseconds: interfaces come in groups.
    static let pause: Int64 = 1_000_000_000

    /// Nobody is waited for longer than ``PreparationCourse/firstPause``.
    mutating func hurry() {
        for id in courses.keys { courses[id]?.hurry() }
    }

    /// So many guests are prepared in one turn of the loop: each takes some milliseconds.
    static let mostInATurn = 8
    /// A turn in which it took longer, because hardware was waited for, prepares no other, in nanoseconds.
    static let longestTurn: Int64 = 100_000_000
}

/// Guests that the configuration has prepared, when their ports are there.
extension Loop {
    /// When configured guests are looked at next, on CLOCK_MONOTONIC in nanoseconds.
    var preparingDue: Int64 {
        preparing.isDue ? preparing.lookedAt + Preparing.pause : preparing.nextAttempt
    }

    /// Looks at the configured guests again where something has changed.
    mutating func prepareConfigured() {
        let news = context.keeper.takeLinkNews()
        if news.haveComeOrGone || (news.haveChanged && preparing.areWaiting) { preparing.isDue = true }
        let now = monotonicNanoseconds()
        guard now >= preparingDue else { return }
        (preparing.isDue, preparing.areWaiting, preparing.nextAttempt) = (false, false, .max)
        preparing.lookedAt = now
        let guests = context.configuration.guests.filter { $0.preparation != nil }
        for id in Set(preparing.courses.keys).subtracting(guests.map(\.id)) {
            preparing.courses[id] = nil
            say([], of: id)
        }
        if guests.isEmpty { return context.keeper.await([]) }
        var awaited: Set<MACAddress> = []
        do throws(ControllerError) {
            let links = try context.keeper.namedLinks()
            var (prepared, refused) = (0, 0)
            for number in guests.indices {
                // Those that were left out the last time come first.
                let guest = guests[(preparing.first + number) % guests.count]
                let isLong = prepared + refused > 0 && monotonicNanoseconds() - now > Preparing.longestTurn
                if isLong || prepared + refused == Preparing.mostInATurn {
                    preparing.first = (preparing.first + number) % guests.count
                    (preparing.isDue, preparing.areWaiting) = (true, true)
                    // Where this turn has prepared some, the next is at once.
                    if prepared > 0 { preparing.lookedAt = 0 }
                    break
                }
                let result: Preparing.Result
                do throws(ControllerError) {
                    result = try prepare(guest, links, now: now)
                } catch {
                    // One guest's broken record is no reason to leave the others.
                    say([.unprepared(error.message, error.remedy)], of: guest.id)
                    preparing.areWaiting = true
                    preparing.nextAttempt = min(preparing.nextAttempt, now + PreparationCourse.longestPause)
                    continue
                }
                switch result {
                case .prepared: prepared += 1
                case .refused: refused += 1
                case .settled: continue
                case .waiting: break
                }
                awaited.formUnion(guest.preparation?.addresses.map(\.mac) ?? [])
            }
            mended("configured guests")
        } catch {
            report("configured guests", error)
            preparing.nextAttempt = now + PreparationCourse.firstPause
        }
        context.keeper.await(awaited)
    }

    /// Records were made or removed by others. A guest whose record has gone, and not by the daemon, was released.
    mutating func noteRecords() {
        for (id, course) in preparing.courses {
            let record = context.keeper.watch.record(named: id)
            if record?.row == course.row || record?.phase == .preparing { continue }
            preparing.isDue = true
            preparing.courses[id]?.note(record)
        }
    }

    /// Looks at one configured guest.
    private mutating func prepare(
        _ guest: DaemonConfiguration.Guest, _ links: Links, now: Int64
    ) throws(ControllerError) -> Preparing.Result {
        guard let request = guest.preparation else { return .settled }
        let id = guest.id
        let named = context.keeper.named(request, links)
        // A release holds for the bridge and the guest's own port, whatever has become of the others.
        let table = PreparationCourse.Table(request, as: named ?? request, links)
        var course = preparing.courses[id] ?? PreparationCourse()
        course.table = table
        if preparing.courses[id] == nil {
            course.note(context.keeper.watch.record(named: id))
            if let table, context.keeper.wasReleased(id, .released(table)) { course.release() }
        }
        preparing.courses[id] = course
        let standing = try context.keeper.standing(
            of: request, as: named, leavesPrimary: guest.follow || guest.returnToPrimary == .whenBack, links)
        switch standing {
        case .busy: preparing.nextAttempt = min(preparing.nextAttempt, now + PreparationCourse.firstPause)
        case .waiting(let lack, let isOff):
            preparing.areWaiting = true
            // What a guest with a record lacks is told by the rules.
            let isKnown = context.keeper.watch.record(named: id) != nil
            let lacks = preparing.courses[id]?.lacks(lack, now: now) == true
            say(isKnown || !lacks ? [] : [.awaiting(lack, request, isOff: isOff)], of: id)
            if !lacks { preparing.nextAttempt = min(preparing.nextAttempt, now + PreparationCourse.firstPause) }
            return .settled
        case .asConfigured:
            preparing.courses[id]?.settle()
            say([], of: id)
        case .otherwise(let differences): say([.otherwise(differences, request)], of: id)
        case .due(let request):
            preparing.areWaiting = true
            if let table, course.isReleased {
                say([.released(table)], of: id)
                break
            }
            let grounds = PreparationCourse.Grounds(named ?? request, links, heard: context.keeper.heard(of: request))
            preparing.courses[id]?.look(at: grounds, now: now)
            if let due = preparing.courses[id]?.due, due > now {
                preparing.nextAttempt = min(preparing.nextAttempt, due)
                return .waiting
            }
            // What this does to the record is the daemon's own doing.
            preparing.courses[id]?.begin(now)
            preparing.nextAttempt = min(preparing.nextAttempt, now + course.pause)
            preparing.courses[id]?.isComplete()
            if attempt(request) { return .prepared }
            // The record is as it was, and its next change is others'.
            take(context.keeper.reload([id.text]))
            preparing.courses[id]?.note(context.keeper.watch.record(named: id))
            return .refused
        }
        preparing.courses[id]?.isComplete()
        return .settled
    }

    private mutating func attempt(_ request: PreparationRequest) -> Bool {
        do throws(ControllerError) {
            let report = try context.keeper.prepare(request)
            if report.outcome == .planned {
                say([.wouldPrepare(request)], of: request.id)
                return false
            }
            context.log.report(report, as: "prepared", ["guest": "\(request.id)"])
            guard report.exitCode == 0 else {
                say([.unprepared(report.failures.joined(separator: "; "), nil)], of: request.id)
                return false
            }
            say([], of: request.id)
            take(context.keeper.reload([request.id.text]))
            return true
        } catch {
            say([.unprepared(error.message, error.remedy)], of: request.id)
            return false
        }
    }

    /// Replaces what is wrong with a configured guest.
    private mutating func say(_ found: [Condition], of id: GuestID) {
        if let row = context.keeper.watch.record(named: id)?.row {
            context.keeper.set(absent: id, [])
            context.keeper.set(row, .configuration, found)
        } else {
            context.keeper.set(absent: id, found)
        }
    }
}

extension PreparationRequest {
    /// The same, of a guest that runs: it is where its entries are, and where its table has it only when it is started.
    fileprivate var whereItIs: PreparationRequest {
        var request = self
        request.side = nil
        return request
    }
}

extension Condition {
    fileprivate static func awaiting(_ lack: String, _ request: PreparationRequest, isOff: Bool) -> Condition {
        Condition(
            awaiting, isOff ? .note : .warning, "", "configured, and not prepared: \(lack)",
            remedy: isOff
                ? "nothing while its machine is off; else mend the names in the configuration"
                : "mend the names in the configuration, or make them ports of \(request.bridge)")
    }

    fileprivate static func otherwise(_ differences: [String], _ request: PreparationRequest) -> Condition {
        Condition(
            otherwise, .warning, "", "the configuration says otherwise: \(differences.joined(separator: "; "))",
            remedy: "mend the configuration, or: fdbsteer release \(request.id), then \(request.whereItIs.command)")
    }

    fileprivate static func released(_ table: PreparationCourse.Table) -> Condition {
        Condition(
            released, .warning, "\(table.request.standby) (ifindex \(table.port))",
            "configured, and was released by hand: it is left alone until this port is made anew, or its table changes",
            remedy: table.request.whereItIs.command)
    }

    fileprivate static func unprepared(_ words: String, _ remedy: String?) -> Condition {
        Condition(
            unprepared, .problem, "", "configured, and cannot be prepared: \(words)",
            remedy: remedy ?? "mend that; it is tried again by itself")
    }

    fileprivate static func wouldPrepare(_ request: PreparationRequest) -> Condition {
        Condition(
            wouldAct, .problem, "", "it would prepare the guest: \(request.command)",
            remedy: "act = true in its configuration lets the daemon do it")
    }
}
