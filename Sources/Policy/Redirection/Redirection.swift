public import FDB
public import Switchdev

/// The procedure of one change of a guest interface, as a state machine without I/O.
///
/// Its inputs are the results of actions, its output is the next action. One driver executes the actions, so every step
/// and every failure can be tested without a kernel. The order is: journal, steps, proof if hardware is involved, re-read,
/// commit; or, after a failure: re-read, undo in reverse, re-read, journal the old state.
///
/// If hardware is involved, the re-read comes after the proof, because a driver may undo a change while it processes it:
/// mlx5 and ice delete the bridge's entry together with one that they had learned, and a refresh at the wrong moment
/// takes an entry back. Missing entries are added again once the driver's queue is known to be empty.
public struct Redirection: Sendable {
    /// The next action.
    public enum Action: Hashable, Sendable {
        /// Record the intent; nothing may be changed before it is stored.
        case recordIntent
        /// Execute a step of the plan.
        case run(Step)
        /// Find out whether hardware has followed.
        case prove(Plan.Proof)
        /// Make entries again that a driver took back.
        case repair([EntryChange])
        /// Read the entries of all addresses of the plan.
        case reread
        /// Restore entries.
        case restore([EntryChange])
        /// Remove the new port from the groups that it joined.
        case restoreGroups([GroupRequest])
        /// The move is final: copy groups that were joined since, and remove those on the old port.
        case followGroups(GroupMove)
        /// Restore a filter of the NIC.
        case restoreFilter(FilterChange)
        /// Restore a port's setting.
        case restoreSetting(PortIdentity, PortSetting)
        /// Restore a bracket's copy: make it or remove it.
        case restoreCopy(CopyChange)
        /// Restore who may send from the guest's addresses.
        case restoreGuard(GuardChange)
        /// Restore neighbours.
        case restoreNeighbours([NeighbourChange])
        /// Record the new state and the proof from hardware.
        case recordCommit(OffloadProof)
        /// Record that the old state is valid.
        case recordRollback
        /// The redirection is over.
        case finish(Outcome)
    }

    /// The result of an action.
    public enum Event: Sendable {
        /// The action succeeded.
        case done
        /// The action failed as a whole.
        case failed(Failure)
        /// Requests were sent; the argument has the ones that the kernel refused, by request number.
        case answered([Int: KernelRefusal])
        /// The result of the proof.
        case proved(OffloadProof)
        /// Entries were read; an address without an entry is missing from the set.
        case read(EntrySet)

        /// Nothing was refused.
        package var isSuccess: Bool {
            switch self {
            case .done: true
            case .answered(let refusals): refusals.isEmpty
            case .failed, .proved, .read: false
            }
        }
    }

    /// One thing that went wrong.
    public struct Failure: Hashable, Sendable, CustomStringConvertible {
        /// The address, if the failure concerns one.
        public let address: Address?
        /// What went wrong.
        public let message: String
        /// The kernel's answer.
        public let cause: KernelRefusal?

        /// Makes a failure from its fields.
        public init(address: Address? = nil, _ message: String, cause: KernelRefusal? = nil) {
            self.address = address
            self.message = message
            self.cause = cause
        }

        public var description: String {
            (address.map { "\($0): " } ?? "") + message + (cause.map { ": \($0)" } ?? "")
        }
    }

    /// The outcome of the redirection.
    public enum Outcome: Hashable, Sendable {
        /// Everything is as planned; the argument says what is known about the hardware.
        case committed(OffloadProof)
        /// A release gave back everything but this: the guest is forgotten.
        case incomplete(OffloadProof, [Failure])
        /// Everything was changed as planned, and stays so, but could not be recorded.
        case unrecorded(OffloadProof, [Failure])
        /// The intent could not be recorded; nothing was changed.
        case refused([Failure])
        /// It failed, and everything was restored.
        case rolledBack([Failure])
        /// It failed, and not everything could be restored.
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
    /// What a release could not give back. It holds nothing else.
    private var left: [Failure] = []
    /// Groups that the new port joined by this redirection, not earlier or by itself.
    private var joined: [GroupRequest] = []
    private var proof = OffloadProof.nothingToProve
    /// How often entries were made again after a driver took them back.
    public private(set) var repairs = 0
    /// A driver takes an entry back at most once for each change in its queue: the first change and the first repair.
    private static let repairLimit = 2

    /// - Parameter plan: has at least one step.
    public init(_ plan: Plan) { self.plan = plan }

    /// The first action.
    public mutating func start() -> Action {
        phase = .recordingIntent
        return .recordIntent
    }

    /// Processes the result of the last action and returns the next action.
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
        case (.running(let index), .failed(let failure)) where plan.verb == .release && plan.steps[index].isIndependent:
            left.append(failure)
            return runStep(index + 1)
        case (.running(let index), .failed(let failure)):
            failures.append(failure)
            // A failed removal may have removed the copy, so undo recreates it; a failed creation cleans up after itself.
            if case .copy(let change) = plan.steps[index], !change.isOn { return survey(completed: index + 1) }
            return survey(completed: index)
        case (.proving, .proved(let proof)):
            self.proof = proof
            phase = .checking
            return .reread
        case (.checking, .read(let entries)):
            return check(entries)
        case (.repairing, .answered):
            // The next re-read shows a refused request.
            return prove()
        case (.following, .done):
            return commit()
        case (.recordingCommit, .done):
            return finish(left.isEmpty ? .committed(proof) : .incomplete(proof, left))
        case (.recordingCommit, .failed(let failure)):
            // The entries are right and only the record is wrong: what has moved stays, and `reconcile` writes the record.
            return finish(.unrecorded(proof, left + [failure]))
        default:
            return nextBack(event)
        }
    }

    /// The same after a failure.
    private mutating func nextBack(_ event: Event) -> Action {
        switch (phase, event) {
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
        case (.restoringGroups, .answered(let answers)):
            checkLeaves(answers)
            return undoRest()
        case (.recordingRollback, .failed(let failure)):
            failures.append(failure)
            return finish(.notRolledBack(failures))
        case (.recordingRollback, _):
            return finish(unrestored ? .notRolledBack(failures) : .rolledBack(failures))
        case (_, .failed(let failure)):
            // Not even reading works: nothing more can be done safely.
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
        let broken = plan.changes.filter { planned in
            !planned.holds(for: entries[planned.change.address])
                && !left.contains { $0.address == planned.change.address }
        }
        if broken.isEmpty { return follow() }
        // No driver makes sticky or local entries, so someone made these on purpose.
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
            fail(Failure(address: planned.change.address, "the change did not hold, \(found)"))
        }
        if failures.isEmpty { return follow() }
        return restore(entries, completed: plan.steps.count)
    }

    private mutating func collect(_ refusals: [Int: KernelRefusal], of step: Step) {
        if case .groups(let requests) = step { return collect(refusals, of: requests) }
        if case .neighbours(let changes) = step {
            for (index, refusal) in refusals.sorted(by: { $0.key < $1.key }) { fail(changes[index].failure(refusal)) }
            return
        }
        guard case .entries(let changes) = step else { return }
        for (index, refusal) in refusals.sorted(by: { $0.key < $1.key }) {
            let address = changes[index].change.address
            fail(Failure(address: address, "the kernel refused the change", cause: refusal))
        }
    }

    /// An entry is not as planned. A release goes on with the others.
    private mutating func fail(_ failure: Failure) {
        if plan.verb == .release { left.append(failure) } else { failures.append(failure) }
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

    /// A group that the port has joined by itself in the meantime counts as success.
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

    /// The requests that undo the joins; returned once.
    private mutating func takeLeaves() -> [GroupRequest]? {
        defer { joined = [] }
        return joined.isEmpty ? nil : joined.flatMap(\.undo)
    }

    /// A membership that is already gone, with its port or by a leave, needs no removal.
    private mutating func checkLeaves(_ refusals: [Int: KernelRefusal]) {
        for (_, answer) in refusals.sorted(by: { $0.key < $1.key }) where answer.meaning != .gone {
            unrestored = true
            failures.append(Failure("a group that the new port joined could not be left", cause: answer))
        }
    }

    // MARK: - Undo

    private mutating func survey(completed: Int) -> Action {
        self.completed = completed
        phase = .surveying
        return .reread
    }

    /// Restores what this redirection changed, and leaves changes by others alone.
    private mutating func restore(_ entries: EntrySet, completed: Int) -> Action {
        self.completed = completed
        let changes = plan.changes.compactMap { planned -> EntryChange? in
            let entry = entries[planned.change.address]
            if PlannedChange.isRestored(entry, to: planned.before) { return nil }
            // A missing entry is also our change: a failed pair can stop between DEL and NEW.
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
            // Another owner's change is not ours to restore. Ours, if it is still in place, was not undone.
            guard planned.holds(for: entry) || entry == nil else { continue }
            unrestored = true
            failures.append(
                Failure(address: planned.change.address, "could not be put back, \(entry?.description ?? "no entry")"))
        }
    }

    /// Restores the rest after the entries: groups, then settings and copies in reverse order.
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
                case .sourceGuard(let change): .restoreGuard(change.undo)
                case .neighbours(let changes): .restoreNeighbours(changes.map(\.undo))
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
