import FDB
import Netlink
import Policy
import Records
import Switchdev
import System

/// The execution of one plan under a claim. It performs the actions that ``Redirection`` returns, and collects times and
/// counters for the report.
struct Execution {
    let plan: Plan
    let options: VerbOptions
    /// Since the call.
    let clock: Stopwatch
    var report: Report
    private var evidence: Evidence
    /// When the entries, filters or copies were last changed, in nanoseconds since the call.
    private var movedAt: Int64
    /// Steps that are still to be done.
    private var stepsLeft: Int
    /// Called after the last step, before anything is read again or recorded.
    private let written: (() -> Void)?

    /// Between two looks at a port that is to become quiet, in nanoseconds.
    private static let observationPause: Int64 = 20_000_000

    init(_ plan: Plan, options: VerbOptions, clock: Stopwatch, written: (() -> Void)? = nil) {
        self.written = written
        stepsLeft = plan.steps.count
        self.plan = plan
        self.options = options
        self.clock = clock
        report = Report(plan, startedAt: clock.startedAt, options: options)
        evidence = Evidence(
            ports: plan.guest.ports.map { Evidence.Port(name: $0.port.name, side: $0.side) }, from: plan.from,
            to: plan.to)
        movedAt = clock.elapsed
    }

    /// Executes the plan to its end.
    mutating func run(under claim: borrowing Claim, on kernel: inout Kernel) -> Report {
        kernel.count(.before, of: plan.guest, into: &evidence)
        var redirection = Redirection(plan)
        var action = redirection.start()
        while true {
            let event: Redirection.Event
            switch action {
            case .run(let step):
                if report.timings.writesBeginNanoseconds == 0 {
                    report.timings.writesBeginNanoseconds = clock.elapsed
                }
                event = take(step, on: &kernel)
                stepsLeft -= 1
                if stepsLeft == 0, event.isSuccess { written?() }
                report.timings.writesEndNanoseconds = clock.elapsed
            case .recordIntent, .recordCommit, .recordRollback:
                event = book(action, in: claim)
            case .prove, .reread:
                event = look(action, on: &kernel)
            case .followGroups(let move):
                followGroups(move, under: claim, on: &kernel)
                event = .done
            case .finish(let outcome):
                finish(outcome, repairs: redirection.repairs, on: &kernel)
                return report
            default:
                event = putRight(action, on: &kernel)
            }
            action = redirection.next(event)
        }
    }

    // MARK: - Actions

    /// Executes a step of the plan.
    private mutating func take(_ step: Step, on kernel: inout Kernel) -> Redirection.Event {
        let begin = clock.elapsed
        var event: Redirection.Event
        switch step {
        case .setting(let port, let setting):
            return kernel.set(setting, of: port, for: plan.guest)
        case .groups(let requests):
            return .answered(KernelRefusal.all(kernel.join(requests)))
        case .sourceGuard(let change):
            return kernel.apply(change)
        case .neighbours(let changes):
            return kernel.change(changes)
        case .copy(let change):
            event = copy(change, on: &kernel)
            // A copy moves frames where no entry does.
            if plan.changes.isEmpty { noteMove(on: &kernel) }
            return event
        case .entries(let changes):
            event = kernel.change(changes.map(\.change))
            if case .answered(let refusals) = event, !refusals.isEmpty {
                event = .answered(kernel.explain(refusals, of: changes, plan.guest))
            }
        case .filter(let planned):
            event = planned.change.apply(using: &kernel.socket)
        }
        report.timings.moveNanoseconds += clock.elapsed - begin
        noteMove(on: &kernel)
        return event
    }

    private mutating func noteMove(on kernel: inout Kernel) {
        movedAt = clock.elapsed
        kernel.count(.moved, of: plan.guest, into: &evidence)
    }

    /// Restores state that the plan changed, or entries that a driver took back.
    private mutating func putRight(_ action: Redirection.Action, on kernel: inout Kernel) -> Redirection.Event {
        switch action {
        case .restore(let changes), .repair(let changes): kernel.change(changes)
        case .restoreGroups(let requests): .answered(KernelRefusal.all(kernel.socket.perform(requests)))
        case .restoreFilter(let change): change.apply(using: &kernel.socket)
        case .restoreSetting(let port, let setting): kernel.set(setting, of: port, for: plan.guest)
        case .restoreCopy(let change): copy(change, on: &kernel)
        case .restoreGuard(let change): kernel.apply(change)
        case .restoreNeighbours(let changes): kernel.restore(changes)
        default: .failed(Redirection.Failure("internal error: \(action) puts nothing right"))
        }
    }

    private mutating func copy(_ change: CopyChange, on kernel: inout Kernel) -> Redirection.Event {
        let (event, ended) = kernel.copy(change, goal: report.to)
        if let ended {
            report.bracket = ended
            report.notes.append("the bracket \(ended.words)")
        }
        return event
    }

    /// Writes the plan's entry for this action to the journal.
    private mutating func book(_ action: Redirection.Action, in claim: borrowing Claim) -> Redirection.Event {
        do throws(ControllerError) {
            switch action {
            case .recordIntent:
                defer { report.timings.journalNanoseconds = clock.elapsed }
                if plan.guest.isGated { claim.noteLocks(of: plan.guest) }
                try claim.write(plan.books.begin)
            case .recordCommit(let proof): try claim.write(plan.books.commit, shown: proof.status)
            default: try claim.write(plan.books.rollBack)
            }
            return .done
        } catch {
            return .failed(Redirection.Failure(error.description))
        }
    }

    /// Checks the result of the changes: proves that hardware followed, or reads the entries again.
    private mutating func look(_ action: Redirection.Action, on kernel: inout Kernel) -> Redirection.Event {
        let begin = clock.elapsed
        if case .prove(let proof) = action {
            let shown = kernel.prove(proof, of: plan.guest, timeout: options.proofTimeout)
            report.timings.proofNanoseconds += clock.elapsed - begin
            return .proved(shown)
        }
        let event = kernel.reread(plan)
        report.timings.verifyNanoseconds += clock.elapsed - begin
        return event
    }

    // MARK: - The end

    private mutating func finish(_ outcome: Redirection.Outcome, repairs: Int, on kernel: inout Kernel) {
        report.timings.totalNanoseconds = clock.elapsed
        report.finish(outcome)
        // They are of what would have been done.
        if [.refused, .rolledBack].contains(report.outcome) { report.notes.removeAll(where: plan.notes.contains) }
        watchOldPort(on: &kernel)
        evidence.proofNanoseconds = report.timings.proofNanoseconds
        if !plan.servesBothPorts { report.evidence = evidence }
        report.repairs = repairs
        if repairs > 0 {
            report.notes.append("a driver took entries back while it followed; they were made anew")
        }
    }

    /// Watches the old port until it has sent nothing for two looks, or for as long as the options say.
    private mutating func watchOldPort(on kernel: inout Kernel) {
        let end = clock.elapsed + options.observation
        var last: UInt64?
        var same = 0
        while true {
            kernel.count(.after, of: plan.guest, into: &evidence)
            evidence.observedNanoseconds = clock.elapsed - movedAt
            let sent = evidence.ports.first { $0.side == evidence.from }?.counters[.after]?.txPackets
            same = sent == last ? same + 1 : 0
            evidence.becameQuiet = same >= 2
            guard clock.elapsed < end, !evidence.becameQuiet else { return }
            last = sent
            sleepNanoseconds(Execution.observationPause)
        }
    }
}

extension GuestVerb {
    /// Executes a plan, or only reports it in a dry run.
    func carryOut(
        _ plan: Plan, _ observation: Observation, under claim: borrowing Claim, on kernel: inout Kernel,
        since clock: Stopwatch, written: (() -> Void)? = nil
    ) -> Report {
        if options.dryRun { return Report(planned: plan, startedAt: clock.startedAt, observation, options: options) }
        var execution = Execution(plan, options: options, clock: clock, written: written)
        return execution.run(under: claim, on: &kernel)
    }
}
