import FDB
import Glibc
import Netlink
public import Policy
public import Records
import Switchdev
import System

/// fdbsteer on one network namespace of one host: carries out verbs.
///
/// It owns a command socket and belongs to the thread that made it, and to that thread's network namespace.
public struct Host: ~Copyable {
    var socket: CommandSocket
    let folder: StateFolder
    /// The kernel was seen to take changes.
    private var isPrivileged = false
    /// What a process that hears of changes has read beforehand; nil for one that does not.
    var ready: ReadyObservations?
    /// The groups of bridges; opened when they are first needed.
    var groupWatch: GroupWatch?

    /// - Parameter folder: where the journal and the history are; nothing is made before a verb needs it.
    /// - Throws: ``ControllerError`` of code `precondition` when no netlink socket can be had.
    public init(folder: StateFolder) throws(ControllerError) {
        let socket: CommandSocket
        do throws(NetlinkError) {
            socket = try CommandSocket()
        } catch {
            throw ControllerError(.precondition, "no connection to the kernel", cause: error)
        }
        self.socket = socket
        self.folder = folder
    }

    /// Makes sure that the kernel will take changes from this process, by a request that it refuses either way.
    ///
    /// An RTM_NEWNEIGH for interface index 0 is EINVAL for the privileged and EPERM for others
    /// (`rtnetlink_rcv_msg`, net/core/rtnetlink.c).
    mutating func requirePrivilege() throws(ControllerError) {
        if isPrivileged { return }
        guard let address = try? Address(mac: MACAddress(value: 0x0200_0000_0001)) else { return }
        let harmless = EntryRequest.set(address, port: 0, state: .noARP, flags: .replace)
        let answers = socket.perform(count: 1) { (_, writer, sequence) in
            harmless.append(to: &writer, sequence: sequence)
        }
        guard let refusal = answers[0] else { return }
        if refusal.errno == .notPermitted {
            throw ControllerError(
                .precondition, "the kernel does not let this process change bridge entries; nothing was changed",
                remedy:
                    "it needs CAP_NET_ADMIN in the user namespace that owns this network namespace: run as root, or "
                    + "inside unshare -Urn",
                cause: refusal)
        }
        isPrivileged = true
    }

    /// The record of a guest that must be known, and prepared in this boot unless `anyBoot`.
    func known(
        _ id: GuestID, in journal: borrowing Journal, anyBoot: Bool = false
    ) throws(ControllerError) -> GuestRecord {
        guard let record = try journal.record(id) else {
            throw ControllerError(
                .precondition, "guest \(id) is not known",
                remedy: "prepare it first; \"fdbsteer status\" lists the guests")
        }
        guard anyBoot || record.boot == journal.boot else {
            throw ControllerError(
                .precondition, "guest \(id) was prepared before the last reboot, which emptied the bridge's table",
                remedy: "release it and prepare it anew")
        }
        return record
    }

    // MARK: - Driving a redirection

    /// Executes a plan to its end and reports it; the caller holds the guest's lock.
    mutating func execute(
        _ plan: Plan, record: GuestRecord, journal: borrowing Journal, clock: Stopwatch, options: VerbOptions
    ) -> Report {
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        var evidence = evidence(plan)
        var movedAt = clock.elapsed
        count(.before, of: plan.guest, into: &evidence)
        var redirection = Redirection(plan)
        var action = redirection.start()
        while true {
            let event: Redirection.Event
            if case .run = action, report.timings.writesBeginNanoseconds == 0 {
                report.timings.writesBeginNanoseconds = clock.elapsed
            }
            switch action {
            case .recordIntent:
                event = Host.event { () throws(ControllerError) in
                    guard plan.verb != .prepare, plan.verb != .repair else { return }
                    guard plan.bracket == nil else { return try beginBracket(plan, record, journal) }
                    try journal.begin(plan.verb == .release ? .releasing : .switching, record, goal: plan.to)
                }
                report.timings.journalNanoseconds = clock.elapsed
            case .run(.copy(let change)):
                event = copy(change, report: &report)
                if plan.changes.isEmpty {
                    movedAt = clock.elapsed
                    count(.moved, of: plan.guest, into: &evidence)
                }
            case .restoreCopy(let change):
                event = copy(change, report: &report)
            case .run(.setting(let port, let setting)), .restoreSetting(let port, let setting):
                event = set(setting, of: port)
            case .run(.entries(let changes)):
                let transaction = Transaction(changes.map(\.change))
                let begin = clock.elapsed
                let answers = transaction.run(on: &socket)
                report.timings.moveNanoseconds += clock.elapsed - begin
                movedAt = clock.elapsed
                count(.moved, of: plan.guest, into: &evidence)
                event = .answered(KernelRefusal.all(answers))
            case .run(.filter(let planned)):
                let begin = clock.elapsed
                event = apply(planned.change)
                report.timings.moveNanoseconds += clock.elapsed - begin
                movedAt = clock.elapsed
                count(.moved, of: plan.guest, into: &evidence)
            case .restoreFilter(let change):
                event = apply(change)
            case .run(.groups(let requests)):
                event = .answered(KernelRefusal.all(join(requests)))
            case .restoreGroups(let requests):
                event = .answered(KernelRefusal.all(socket.perform(requests)))
            case .followGroups(let move):
                followGroups(move, row: record.row, journal: journal, report: &report)
                event = .done
            case .restore(let changes), .repair(let changes):
                event = .answered(KernelRefusal.all(Transaction(changes).run(on: &socket)))
            case .prove(let task):
                let begin = clock.elapsed
                event = .proved(
                    plan.changesFilters
                        ? proveFilters(plan, timeout: options.proofTimeout)
                        : task.run(timeout: options.proofTimeout, using: &socket))
                report.timings.proofNanoseconds += clock.elapsed - begin
            case .reread:
                let begin = clock.elapsed
                event = reread(plan)
                report.timings.verifyNanoseconds += clock.elapsed - begin
            case .recordCommit(let proof):
                event = Host.event { () throws(ControllerError) in
                    if plan.verb == .release {
                        try journal.remove(row: record.row)
                    } else if plan.bracket != nil {
                        try commitBracket(plan, record, proof, journal)
                    } else if plan.verb != .repair || proof.status != record.proof {
                        try journal.settle(row: record.row, side: plan.to, proof: proof.status)
                    }
                }
            case .recordRollback:
                event = Host.event { () throws(ControllerError) in
                    if plan.verb == .prepare {
                        try journal.remove(row: record.row)
                    } else if plan.bracket != nil {
                        try rollBackBracket(plan, record, journal)
                    } else if plan.verb != .repair {
                        try journal.settle(row: record.row, side: plan.from, proof: .missing)
                    }
                }
            case .finish(let outcome):
                report.timings.totalNanoseconds = clock.elapsed
                report.finish(outcome)
                observe(plan.guest, movedAt: movedAt, options: options, clock: clock, into: &evidence)
                evidence.proofNanoseconds = report.timings.proofNanoseconds
                // While a bracket is open both ports are to send: their counters say nothing about a move.
                if case .opening = plan.bracket {} else { report.evidence = evidence }
                report.repairs = redirection.repairs
                if redirection.repairs > 0 {
                    report.notes.append("a driver took entries back while it followed; they were made anew")
                }
                return report
            }
            if case .run = action { report.timings.writesEndNanoseconds = clock.elapsed }
            action = redirection.next(event)
        }
    }

    private static func event(_ body: () throws(ControllerError) -> Void) -> Redirection.Event {
        do throws(ControllerError) {
            try body()
            return .done
        } catch {
            return .failed(Redirection.Failure(error.description))
        }
    }

    private mutating func set(_ setting: PortSetting, of port: PortIdentity) -> Redirection.Event {
        do throws(NetlinkError) {
            try socket.perform(setting.request(port: port))
            return .done
        } catch {
            return .failed(Redirection.Failure("cannot \(setting.words(port: port.name))", cause: KernelRefusal(error)))
        }
    }

    private mutating func reread(_ plan: Plan) -> Redirection.Event {
        let addresses = plan.changes.map(\.change.address)
        do throws(NetlinkError) {
            let found = try Table.read(addresses, bridge: plan.guest.bridge.index, using: &socket)
            return .read(EntrySet(found))
        } catch {
            // Without its bridge there is no entry either.
            if error.errno == .noDevice || error.errno == .invalid {
                return .read([:])
            }
            return .failed(Redirection.Failure("cannot re-read the entries", cause: KernelRefusal(error)))
        }
    }

    /// Appends a report to the history; the redirection is over, so a failure is only a note.
    func record(_ report: Report) -> String? {
        do throws(DatabaseError) {
            let line = HistoryRecord(report).line
            let backlog = try HistoryBacklog(appending: folder)
            try backlog.lock()
            if backlog.isLong { try History(folder: folder).takeOver(backlog, isLocked: true) }
            try backlog.append(line)
            return nil
        } catch {
            return "the history was not written: \(error)"
        }
    }
}
