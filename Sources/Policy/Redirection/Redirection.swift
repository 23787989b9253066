public import FDB
public import Switchdev

/// The course of one change of a guest interface, as a state machine without I/O.
///
/// It is handed what happened and answers with what to do next; one driver executes the actions, so that every step
/// and every failure can be tested without a kernel. The order is: journal, steps, proof where hardware has a part in it,
/// re-read, commit; or, after a failure: re-read, undo in reverse, re-read, journal the old state.
///
/// Where hardware has a part, the re-read comes after the proof, because a driver may undo a change while it processes
/// it: mlx5 and ice delete the bridge's entry together with one that they had learned, and a refresh at the wrong moment
/// takes an entry back. What is missing then is put in again, once the driver's queue is known to be through.
public struct Redirection: Sendable {
    /// What to do next.
    public enum Action: Hashable, Sendable {
        /// Record the intent; nothing may be changed before it is safe.
        case recordIntent
        /// Execute a step of the plan.
        case run(Step)
        /// Learn whether hardware, or the guest's frames, have followed.
        case prove(Plan.Proof)
        /// Make entries anew that a driver took back.
        case repair([EntryChange])
        /// Read the entries of all addresses of the plan.
        case reread
        /// Put entries back.
        case restore([EntryChange])
        /// Take the new port out of the groups that it joined.
        case restoreGroups([GroupRequest])
        /// The addresses have moved for good: copy groups that were joined since, and remove those on the old port.
        case followGroups(GroupMove)
        /// Put a filter of the NIC back.
        case restoreFilter(FilterChange)
        /// Put a port's setting back.
        case restoreSetting(PortIdentity, PortSetting)
        /// Make or remove a bracket's copy, as it was.
        case restoreCopy(CopyChange)
        /// Record the new state, and what is known of hardware.
        case recordCommit(OffloadProof)
        /// Record that the old state holds.
        case recordRollback
        /// The end.
        case finish(Outcome)
    }

    /// What happened.
    public enum Event: Sendable {
        /// The action succeeded.
        case done
        /// The action failed as a whole.
        case failed(Failure)
        /// Requests were sent: those that the kernel refused, by their numbers.
        case answered([Int: KernelRefusal])
        /// What is known of hardware.
        case proved(OffloadProof)
        /// Entries were read, nil for none.
        case read(EntrySet)
    }

    /// One thing that went wrong.
    public struct Failure: Hashable, Sendable, CustomStringConvertible {
        /// The address, where one is concerned.
        public let address: Address?
        /// What went wrong.
        public let message: String
        /// The kernel's answer.
        public let cause: KernelRefusal?

        /// Makes a failure from its parts.
        public init(address: Address? = nil, _ message: String, cause: KernelRefusal? = nil) {
            self.address = address
            self.message = message
            self.cause = cause
        }

        public var description: String {
            (address.map { "\($0): " } ?? "") + message + (cause.map { ": \($0)" } ?? "")
        }
    }

    /// How it ended.
    public enum Outcome: Hashable, Sendable {
        /// Everything is as planned, and so much is known of hardware.
        case committed(OffloadProof)
        /// The intent could not be recorded; nothing was changed.
        case refused([Failure])
        /// It failed, and everything is as it was.
        case rolledBack([Failure])
        /// It failed, and not everything could be put back.
        case notRolledBack([Failure])
    }

    private enum Phase {
        case idle, recordingIntent, running(Int), proving, checking, repairing, surveying, restoring,
            checkingRestoration
        case following, restoringGroups
        case undoing([Action]), recordingCommit, recordingRollback, finished
    }

    private let plan: Plan
    private var phase = Phase.idle
    private var failures: [Failure] = []
    private var completed = 0
    private var unrestored = false
    /// Groups that the new port joined by this redirection, not before it or by itself.
    private var joined: [GroupRequest] = []
    private var proof = OffloadProof.nothingToProve
    /// How often entries were made anew that a driver took back.
    public private(set) var repairs = 0
    /// A driver takes an entry back at most once for each change that it had queued: the first, and the first repair.
    private static let repairLimit = 2

    /// - Parameter plan: with at least one step.
    public init(_ plan: Plan) { self.plan = plan }

    /// The first action.
    public mutating func start() -> Action {
        phase = .recordingIntent
        return .recordIntent
    }

    /// Takes what happened to the last action and returns the next.
    public mutating func next(_ event: Event) -> Action {
        switch (phase, event) {
        case (.recordingIntent, .done):
            return runStep(0)
        case (.recordingIntent, .failed(let failure)):
            return finish(.refused([failure]))
        case (.running(let index), .done):
            return runStep(index + 1)
        case (.running(let index), .answered(let answers)):
            collect(answers, of: plan.steps[index])
            return failures.isEmpty ? runStep(index + 1) : survey(completed: index + 1)
        case (.running(let index), .failed(let failure)):
            failures.append(failure)
            // Half a removal leaves no copy: it is made anew, where half a copy that was to be made is gone already.
            if case .copy(let change) = plan.steps[index], !change.isOn { return survey(completed: index + 1) }
            return survey(completed: index)
        case (.proving, .proved(let proof)):
            self.proof = proof
            phase = .checking
            return .reread
        case (.checking, .read(let entries)):
            return check(entries)
        case (.repairing, .answered):
            // A refusal shows in the next reading.
            return prove()
        case (.surveying, .read(let entries)):
            return restore(entries, completed: completed)
        case (.restoring, .answered), (.restoring, .done), (.restoring, .failed):
            phase = .checkingRestoration
            return .reread
        case (.checkingRestoration, .read(let entries)):
            checkRestoration(entries)
            return undoRest()
        case (.undoing(let left), .done), (.undoing(let left), .answered):
            return undoRest(left)
        case (.undoing(let left), .failed(let failure)):
            failures.append(failure)
            unrestored = true
            return undoRest(left)
        case (.following, .done):
            return commit()
        case (.restoringGroups, .answered(let answers)):
            checkLeaves(answers)
            return undoRest()
        case (.recordingCommit, .done):
            return finish(.committed(proof))
        case (.recordingCommit, .failed(let failure)):
            // The entries are right; only the record is not. `reconcile` settles it.
            failures.append(failure)
            return finish(.notRolledBack(failures))
        case (.recordingRollback, .failed(let failure)):
            failures.append(failure)
            return finish(.notRolledBack(failures))
        case (.recordingRollback, _):
            return finish(unrestored ? .notRolledBack(failures) : .rolledBack(failures))
        case (_, .failed(let failure)):
            // Even reading fails: nothing more can be done safely.
            failures.append(failure)
            return finish(.notRolledBack(failures))
        default:
            failures.append(Failure("internal error: \(event) does not answer the last action"))
            return finish(.notRolledBack(failures))
        }
    }

    // MARK: - Forward

    private mutating func runStep(_ index: Int) -> Action {
        guard index < plan.steps.count else { return prove() }
        phase = .running(index)
        return .run(plan.steps[index])
    }

    private mutating func prove() -> Action {
        if plan.proof == .none {
            phase = .checking
            return .reread
        }
        phase = .proving
        return .prove(plan.proof)
    }

    private mutating func check(_ entries: EntrySet) -> Action {
        let broken = plan.changes.filter { !$0.holds(for: entries[$0.change.address]) }
        if broken.isEmpty { return follow() }
        // Sticky and local entries are somebody's doing, not a driver's.
        let taken = broken.filter { planned in
            let entry = entries[planned.change.address]
            return planned.expected?.isStatic == true && entry?.isLocal != true && entry?.isSticky != true
        }
        if case .hardware = plan.proof, taken.count == broken.count, repairs < Redirection.repairLimit {
            repairs += 1
            phase = .repairing
            return .repair(taken.map { $0.repair(of: entries[$0.change.address], plan: plan) })
        }
        for planned in broken {
            let found =
                (entries[planned.change.address]).map { "the table shows \($0)" } ?? "the table has no entry"
            failures.append(Failure(address: planned.change.address, "the change did not hold, \(found)"))
        }
        return restore(entries, completed: plan.steps.count)
    }

    private mutating func collect(_ refusals: [Int: KernelRefusal], of step: Step) {
        if case .groups(let requests) = step { return collect(refusals, of: requests) }
        guard case .entries(let changes) = step else { return }
        for (index, refusal) in refusals.sorted(by: { $0.key < $1.key }) {
            let address = changes[index].change.address
            failures.append(Failure(address: address, "the kernel refused the change", cause: refusal))
        }
    }

    // MARK: - Multicast groups

    private mutating func follow() -> Action {
        guard let groups = plan.groups else { return commit() }
        phase = .following
        return .followGroups(groups.move)
    }

    private mutating func commit() -> Action {
        phase = .recordingCommit
        return .recordCommit(proof)
    }

    /// A group that the port has joined meanwhile by itself is as good.
    private mutating func collect(_ refusals: [Int: KernelRefusal], of requests: [GroupRequest]) {
        for (index, request) in requests.enumerated() {
            if let answer = refusals[index] {
                guard answer.meaning != .exists else { continue }
                failures.append(
                    Failure("the kernel refused to let the new port join group \(request.key)", cause: answer))
            } else if !request.isRenewal {
                joined.append(request)
            }
        }
    }

    /// What undoes the joins, once.
    private mutating func takeLeaves() -> [GroupRequest]? {
        defer { joined = [] }
        return joined.isEmpty ? nil : joined.flatMap(\.undo)
    }

    /// What is gone already, with its port or by a leave, needs no removal.
    private mutating func checkLeaves(_ refusals: [Int: KernelRefusal]) {
        for (_, answer) in refusals.sorted(by: { $0.key < $1.key }) where answer.meaning != .gone {
            unrestored = true
            failures.append(Failure("a group that the new port joined could not be left", cause: answer))
        }
    }

    // MARK: - Back

    private mutating func survey(completed: Int) -> Action {
        self.completed = completed
        phase = .surveying
        return .reread
    }

    /// Puts back what this redirection changed, and leaves alone what others did meanwhile.
    private mutating func restore(_ entries: EntrySet, completed: Int) -> Action {
        self.completed = completed
        let changes = plan.changes.compactMap { planned -> EntryChange? in
            let entry = entries[planned.change.address]
            if PlannedChange.isRestored(entry, to: planned.before) { return nil }
            // Between DEL and NEW of a failed pair the entry is missing: that is our doing too.
            guard entry == nil || planned.holds(for: entry) else { return nil }
            if entry == nil, planned.undo.primitive == .delete { return nil }
            return entry == nil ? planned.recreation : planned.undo
        }
        if changes.isEmpty { return undoRest() }
        phase = .restoring
        return .restore(changes)
    }

    private mutating func checkRestoration(_ entries: EntrySet) {
        for planned in plan.changes {
            let entry = entries[planned.change.address]
            if PlannedChange.isRestored(entry, to: planned.before) { continue }
            // Another owner's change is not ours to put back; ours, when it still stands, is.
            guard planned.holds(for: entry) || entry == nil else { continue }
            unrestored = true
            failures.append(
                Failure(address: planned.change.address, "could not be put back, \(entry?.description ?? "no entry")"))
        }
    }

    /// What is left when the entries are back: groups, then settings and copies in reverse.
    private mutating func undoRest() -> Action {
        if let leaves = takeLeaves() {
            phase = .restoringGroups
            return .restoreGroups(leaves)
        }
        return undoRest(
            plan.steps.prefix(completed).compactMap { step in
                switch step {
                case .setting(let port, let setting): .restoreSetting(port, setting.inverse)
                case .copy(let change): .restoreCopy(change.undo)
                case .filter(let planned): .restoreFilter(planned.undo)
                case .entries, .groups: nil
                }
            })
    }

    private mutating func undoRest(_ left: [Action]) -> Action {
        guard let last = left.last else {
            phase = .recordingRollback
            return .recordRollback
        }
        phase = .undoing(left.dropLast())
        return last
    }

    private mutating func finish(_ outcome: Outcome) -> Action {
        phase = .finished
        return .finish(outcome)
    }
}

extension PlannedChange {
    /// Whether an entry is as it was found, but for ages and the flags that only drivers set.
    package static func isRestored(_ entry: Entry?, to before: Entry?) -> Bool {
        guard let entry, let before else { return entry == nil && before == nil }
        return entry.port == before.port && entry.isStatic == before.isStatic && entry.isLocal == before.isLocal
            && entry.isSticky == before.isSticky
    }

    /// Makes the entry that was found anew, when nothing is left of it.
    package var recreation: EntryChange {
        let isDynamic = [.makeDynamic, .recreateDynamic].contains(undo.primitive)
        return EntryChange(undo.address, isDynamic ? .makeDynamic : .replace, port: undo.port, sticky: undo.sticky)
    }

    /// Brings an entry that a driver took back, or moved, to where the change wanted it.
    package func repair(of entry: Entry?, plan: Plan) -> EntryChange {
        let fromEswitch = entry.map { plan.eswitchPorts.contains($0.port) } ?? false
        return EntryChange(
            change.address, Plan.primitive(before: entry, fromEswitch: fromEswitch, to: change.port), port: change.port,
            oldPort: entry?.port, sticky: change.sticky)
    }
}
