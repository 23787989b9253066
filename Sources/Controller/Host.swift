import FDB
import Glibc
import Netlink
import Switchdev

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
    ) throws(ControllerError) -> Journal.Record {
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
        _ plan: Plan, record: Journal.Record, journal: borrowing Journal, clock: Stopwatch, options: VerbOptions
    ) -> Report {
        var report = Report(plan, clock: clock, options: options)
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
                event = .answered(answers)
            case .run(.filter(let planned)):
                let begin = clock.elapsed
                event = apply(planned.change)
                report.timings.moveNanoseconds += clock.elapsed - begin
                movedAt = clock.elapsed
                count(.moved, of: plan.guest, into: &evidence)
            case .restoreFilter(let change):
                event = apply(change)
            case .run(.groups(let requests)):
                event = .answered(join(requests))
            case .restoreGroups(let requests):
                event = .answered(socket.perform(requests))
            case .followGroups(let move):
                followGroups(move, row: record.row, journal: journal, report: &report)
                event = .done
            case .restore(let changes), .repair(let changes):
                event = .answered(Transaction(changes).run(on: &socket))
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
            return .failed(Redirection.Failure("cannot \(setting.words(port: port.name))", cause: error))
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
            return .failed(Redirection.Failure("cannot re-read the entries", cause: error))
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

/// What every verb that changes something may be told.
public struct VerbOptions: Hashable, Sendable {
    /// Only plan.
    public let dryRun: Bool
    /// A missing proof is a failure (exit code 7); what was done stays.
    public let requireProof: Bool
    /// How long to wait for hardware, in nanoseconds.
    public let proofTimeout: Int64
    /// Findings of preflight that the caller accepts.
    public let waived: Set<Finding.Code>
    /// How long to watch the old port for it to become quiet, in nanoseconds; 0: one look.
    public let observation: Int64
    /// A bracket is opened also for a guest that takes frames from both of its NICs.
    public var allowsDuplicates = false
    /// A bracket is not opened while the guest's port sends more frames a second than this; 0: no limit.
    public var bracketMaxRate: UInt64 = 0

    /// - Parameters:
    ///   - dryRun: only plan.
    ///   - requireProof: a missing proof is a failure.
    ///   - proofTimeout: how long to wait for hardware, in nanoseconds.
    ///   - waived: findings of preflight that the caller accepts.
    ///   - observation: how long to watch the old port, in nanoseconds.
    public init(
        dryRun: Bool = false, requireProof: Bool = false, proofTimeout: Int64 = 5_000_000_000,
        waived: Set<Finding.Code> = [], observation: Int64 = 0
    ) {
        self.dryRun = dryRun
        self.observation = observation
        self.requireProof = requireProof
        self.proofTimeout = proofTimeout
        self.waived = waived
    }
}

/// Time since a call began, on CLOCK_MONOTONIC, and when that was on CLOCK_REALTIME.
struct Stopwatch {
    let startedAt: Int64
    private let start: Int64

    init() {
        startedAt = Stopwatch.realTime
        start = Stopwatch.now(CLOCK_MONOTONIC)
    }

    /// Nanoseconds since the start.
    var elapsed: Int64 { Stopwatch.now(CLOCK_MONOTONIC) - start }

    /// CLOCK_REALTIME in nanoseconds.
    static var realTime: Int64 { now(CLOCK_REALTIME) }

    private static func now(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}

extension Report {
    init(_ plan: Plan, clock: Stopwatch, options: VerbOptions) {
        self.init(
            verb: plan.verb, guest: plan.guest.id.text, bridge: plan.guest.bridge.name, from: plan.from, to: plan.to,
            strategy: plan.bracket == nil ? "cut" : "bracket", outcome: .already, proof: nil, proofStatus: nil,
            proofRequired: options.requireProof,
            startedAt: clock.startedAt, timings: Timings(),
            addresses: plan.changes.map { planned in
                AddressResult(
                    address: planned.change.address.description, primitive: planned.change.primitive.rawValue,
                    port: plan.guest.name(ofPort: planned.change.port), error: nil)
            },
            notes: plan.notes, failures: [], messages: nil)
        guard !plan.findings.isEmpty else { return }
        findings = plan.findings.filter { !options.waived.contains($0.code) }
        waived = plan.findings.filter { options.waived.contains($0.code) }
    }

    mutating func state(_ proof: OffloadProof) {
        self.proof = proof.text
        proofStatus = proof.status
    }

    mutating func finish(_ outcome: Redirection.Outcome) {
        let failures: [Redirection.Failure]
        switch outcome {
        case .committed(let proof):
            self.outcome = .done
            state(proof)
            return
        case .refused(let reasons):
            self.outcome = .refused
            failures = reasons
        case .rolledBack(let reasons):
            self.outcome = .rolledBack
            failures = reasons
        case .notRolledBack(let reasons):
            self.outcome = .notRolledBack
            failures = reasons
        }
        self.failures = failures.map(\.description)
        refusals = failures.compactMap { $0.cause?.errno }
        addresses = addresses.map { result in
            let error = failures.first { $0.address?.description == result.address }
            return AddressResult(
                address: result.address, primitive: result.primitive, port: result.port,
                error: error.map { $0.message + ($0.cause.map { ": \($0)" } ?? "") })
        }
    }
}

extension GuestInterface {
    /// The name of the guest's port that has an interface index.
    func name(ofPort index: Int32) -> String {
        side(ofPort: index).flatMap { port(of: $0)?.name } ?? "ifindex \(index)"
    }
}
