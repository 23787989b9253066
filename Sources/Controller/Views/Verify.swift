import FDB
import Netlink
package import Policy
import Records
package import Switchdev

/// Intent compared with the table.
package struct Verification: Hashable, Sendable, Encodable {
    /// One address.
    package struct AddressState: Hashable, Sendable, Encodable {
        /// `MAC` or `MAC/VLAN`.
        package let address: String
        /// As intended.
        package let ok: Bool
        /// What the table shows, in the words of `bridge fdb show`.
        package let found: String
    }

    /// The guest interface's name.
    package let guest: String
    /// Where it is recorded to be; while a bracket is open, where it was before.
    package let side: Side
    /// Where an open bracket leads to; nil without one. The entries are on the standby meanwhile.
    package let goal: Side?
    /// Everything is as intended.
    package var ok: Bool
    /// The addresses.
    package let addresses: [AddressState]
    /// What is known of hardware, in words.
    package let proof: String
    /// What is known of hardware: `nothing_to_prove`, `proven` or `missing`.
    package let proofStatus: OffloadProof.Status
    /// What differs.
    package var problems: [Problem]
    /// What takes a privilege to see that this process has not, and is no fault of the guest, in words.
    package var unseen: [String] = []
    /// Ports that have sent from the guest's addresses within the last hour, and whose frames were dropped, in words.
    package var dropped: [String] = []
    /// What to do first about what differs; nil when nothing does.
    package var next: String? = nil
}

/// Compares what is intended for a guest with the bridge's table and, where there is any, with hardware.
package struct Verify {
    private var record: GuestRecord
    private let observation: Observation
    private let side: Side
    private var problems: [Problem] = []

    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known.
    package static func run(_ id: GuestID, on host: inout Host) throws(ControllerError) -> Verification {
        let journal = try host.journal(for: id)
        var record = try journal.guest(id)
        var verification = try compare(record, journal, on: &host.kernel).0
        // What was compared with a record that a redirection has replaced meanwhile says nothing.
        for _ in 0..<Verify.attempts {
            let now = try journal.guest(id)
            if now == record { break }
            record = now
            verification = try compare(record, journal, on: &host.kernel).0
        }
        return verification
    }

    /// Comparisons after the first, beside a guest that is redirected without a pause.
    private static let attempts = 20

    /// How a guest stands, for `status`.
    struct Standing {
        /// With the names that bridge and ports have now.
        var record: GuestRecord
        /// A live process holds it.
        var isRunning: Bool
        /// The problems that `verify` lists, without those of a verb under way.
        var problems: [Problem] = []
        /// What was not seen (``Verification/unseen``).
        var unseen: [String] = []
    }

    /// Compares a guest of this network namespace as ``run(_:on:)`` does; a guest that is on its way has no entries to compare.
    ///
    /// - Returns: nil for one that was released meanwhile.
    static func standing(
        of known: GuestRecord, in journal: Journal, on kernel: inout Kernel
    ) throws(ControllerError) -> Standing? {
        var record = known
        var standing = stand(record, journal, on: &kernel)
        for attempt in 0...Verify.attempts {
            if attempt > 0 { standing = stand(record, journal, on: &kernel) }
            let isAtRest = record.phase == .pinned || record.phase == .bracketed
            // Only what looks wrong can be the look of a record that a redirection has replaced meanwhile.
            if standing.problems.isEmpty, isAtRest || standing.isRunning { break }
            guard let now = try journal.record(record) else { return nil }
            if now == record { break }
            record = now
        }
        return standing
    }

    private static func stand(_ record: GuestRecord, _ journal: Journal, on kernel: inout Kernel) -> Standing {
        var standing = Standing(record: record, isRunning: journal.isLocked(record))
        do throws(ControllerError) {
            if record.phase == .pinned || record.phase == .bracketed {
                let (found, named) = try compare(record, journal, asksWhoSent: false, on: &kernel)
                (standing.problems, standing.unseen, standing.record) = (found.problems, found.unseen, named)
            } else {
                let (observation, problems) = try look(at: record, on: &kernel)
                (standing.problems, standing.record) = (problems, record.named(by: observation))
            }
        } catch {
            standing.problems = [
                Problem(Condition.notAsIntended, "\(error)", remedy: error.remedy ?? "see the message")
            ]
        }
        return standing
    }

    /// Compares a guest with a record.
    ///
    /// - Parameter asksWhoSent: reads who has sent from the guest's addresses.
    /// - Returns: also the record with the names that bridge and ports have now.
    private static func compare(
        _ record: GuestRecord, _ journal: Journal, asksWhoSent: Bool = true, on kernel: inout Kernel
    ) throws(ControllerError) -> (Verification, named: GuestRecord) {
        let bracket = record.phase == .bracketed ? kernel.view(record) : nil
        let (observation, problems) = try Verify.look(at: record, on: &kernel)
        let named = record.named(by: observation)
        var verify = Verify(named, observation)
        verify.checkPhase(isLocked: journal.isLocked(record), bracket)
        verify.problems += problems
        var unseen = observation.unseen.map(\.words)
        if let bracket, bracket.isCopyRight == nil {
            unseen.append("the copy of the open bracket: \(Kernel.unprivileged)")
        }
        var refused: [String] = []
        do throws(ControllerError) {
            let guarding = try guarding(record, near: observation.links, asksWhoSent: asksWhoSent, on: &kernel)
            verify.problems += guarding.problems
            refused = guarding.refused
        } catch {
            guard error.cause?.meaning == .notPermitted else { throw error }
            unseen.append("the nftables table of \(record.guest.bridge.name): \(Kernel.unprivileged)")
        }
        var verification = try verify.verification()
        verification.dropped = refused
        verification.unseen = unseen
        verification.next = verification.problems.first?.remedy
        return (verification, named)
    }

    /// What is wrong with a guest's bridge, ports and filters, by the rules of `preflight`, or why it cannot be told. The entries
    /// are not compared.
    ///
    /// - Parameter record: gets the names that bridge and ports have now.
    static func problems(of record: inout GuestRecord, on kernel: inout Kernel) -> [Problem] {
        do throws(ControllerError) {
            let (observation, problems) = try look(at: record, on: &kernel)
            record = record.named(by: observation)
            return problems
        } catch {
            return [Problem(Condition.notAsIntended, "\(error)", remedy: error.remedy ?? "see the message")]
        }
    }

    /// The same for the daemon, with what would make the guest's next redirection fail.
    ///
    /// - Parameter isFollowed: its redirections follow QEMU's events.
    static func conditions(
        of record: GuestRecord, isFollowed: Bool, on kernel: inout Kernel
    ) -> [Condition] {
        do throws(ControllerError) {
            let (_, verdict, filters) = try look(at: record, by: Rule.ofConditions, readsEntries: false, on: &kernel)
            return verdict.findings.compactMap { Condition($0, about: record, isFollowed: isFollowed) }
                + filters.map {
                    Condition(
                        Condition.filters, .problem, "", $0, remedy: "\"fdbsteer reconcile\" puts the filters right")
                }
        } catch {
            return [
                Condition(
                    Condition.notAsIntended, .problem, "", error.message, remedy: error.remedy ?? "see the message")
            ]
        }
    }

    private static func look(
        at record: GuestRecord, on kernel: inout Kernel
    ) throws(ControllerError) -> (Observation, problems: [Problem]) {
        let (observation, verdict, filters) = try look(at: record, by: Rule.ofIntent, readsEntries: true, on: &kernel)
        return (
            observation, verdict.problems + filters.map { Problem(Condition.filters, $0, remedy: Problem.reconcile) }
        )
    }

    /// - Returns: what was read, what the rules say, and what is wrong with the filters of its NIC.
    private static func look(
        at record: GuestRecord, by rules: [Rule], readsEntries: Bool, on kernel: inout Kernel
    ) throws(ControllerError) -> (Observation, Verdict, filters: [String]) {
        var guest = record.guest
        guest.side = record.entrySide
        var observation = try readsEntries ? kernel.observe(guest, showsUnseen: true) : kernel.observePorts(of: guest)
        guest = guest.renamed(observation.name) ?? guest
        try kernel.readFilters(of: guest, into: &observation)
        if let neighbours = guest.neighbours, observation.neighbourhood == nil {
            try kernel.readNeighbours(neighbours, into: &observation)
        }
        if observation.vlans == nil { try kernel.readVLANs(of: guest, into: &observation) }
        let verdict = Preflight(Subject(guest), observation).judge(by: rules)
        return (observation, verdict, FilterPlan.problems(guest, observation.filters))
    }

    /// Whether other ports can take the guest's addresses by frames, and who has tried to.
    private static func guarding(
        _ record: GuestRecord, near links: Links, asksWhoSent: Bool, on kernel: inout Kernel
    ) throws(ControllerError) -> (problems: [Problem], refused: [String]) {
        let guest = record.guest
        guard guest.isGuarded else { return ([], []) }
        let found = try asksWhoSent ? kernel.refused(guest).sorted { ($0.port, $0.mac) < ($1.port, $1.mac) } : []
        let all = found.isEmpty ? links : try kernel.links()
        let refused = found.map {
            "\($0.frames) frames from \($0.mac) by \(all[$0.port]?.name ?? "a port that is gone") (ifindex \($0.port))"
        }
        if try kernel.holdsGuard(of: guest, near: links) { return ([], refused) }
        let bridge = links[guest.bridge.index]?.name ?? guest.bridge.name
        return (
            [
                Problem(
                    .guardMissing,
                    "any port of \(bridge) can take its addresses by frames: the nftables table "
                        + "\(SourceGuard.table(ofBridge: guest.bridge.index)) is missing or differs: run \"fdbsteer reconcile\"",
                    remedy: Problem.reconcile)
            ], refused
        )
    }

    private init(_ record: GuestRecord, _ observation: Observation) {
        self.record = record
        self.observation = observation
        side = record.guest.side
        // The entries of an open bracket are on the standby, wherever the guest is; where that delivers nothing, on the primary.
        self.record.guest.side = record.servingSide(observation)
    }

    private mutating func checkPhase(isLocked: Bool, _ bracket: BracketView?) {
        let guest = record.guest
        if let bracket, bracket.isCopyRight == false {
            problems.append(
                Problem(
                    .copyWrong,
                    "a bracket is open, and its copy is missing or wrong: run \"fdbsteer reconcile\"",
                    remedy: Problem.reconcile))
        }
        if record.phase == .pinned || record.phase == .bracketed { return }
        problems.append(
            Problem(
                isLocked ? .underWay : .interrupted,
                "\(record.phase.rawValue) is under way"
                    + (isLocked ? "" : " but its process is gone: run \"fdbsteer abort \(guest.id)\""),
                remedy: isLocked ? "wait for its end: fdbsteer status \(guest.id)" : "fdbsteer abort \(guest.id)"))
    }

    /// Compares the entries, and asks hardware.
    private func verification() throws(ControllerError) -> Verification {
        let guest = record.guest
        var problems = problems
        let target = guest.port(of: guest.side)?.index ?? 0
        let expected = PlannedChange.Expectation(port: target, isStatic: true, isSticky: guest.isSticky)
        // A port that is gone takes its entries along: the port is the problem, not the entries.
        let isThere = observation.bridge != nil && observation.ports[guest.side]?.master == observation.bridge?.index
        let addresses = guest.addresses.map { address -> Verification.AddressState in
            let entry = observation.entry(address)
            let found =
                entry.map { "\(observation.name(ofPort: $0.port, of: guest)) \($0.words.joined(separator: " "))" }
                ?? "no entry"
            let isRight =
                expected.holds(for: entry) || entry.map { Drift.isClaimed($0, of: record, observation) } ?? false
            return .init(address: address.description, ok: isRight, found: found)
        }
        for (state, address) in zip(addresses, guest.addresses)
        where !state.ok && (isThere || observation.entry(address) != nil) {
            problems.append(
                Problem(
                    .entryWrong,
                    "\(state.address) should be on \(guest.name(ofPort: target)) static\(guest.isSticky ? " sticky" : ""), "
                        + "the table shows: \(state.found)", remedy: Problem.reconcile))
        }
        for taker in observation.takers(of: guest) {
            problems.append(
                Problem(
                    .addressTaken,
                    "addresses were taken by \(taker)", remedy: "fdbsteer topology shows what \(taker) is"))
        }
        let hardware = try HardwareView(record, observation)
        problems += hardware.problems.map { Problem(.hardwareDiffers, $0, remedy: Problem.reconcile) }
        let proof = hardware.proof(tableIsRight: problems.isEmpty)
        return Verification(
            guest: guest.id.text, side: side, goal: record.phase == .bracketed ? record.goal : nil,
            ok: problems.isEmpty,
            addresses: addresses, proof: proof.text,
            proofStatus: proof.status, problems: problems)
    }
}

extension Problem {
    /// What puts entries, settings and filters back.
    fileprivate static let reconcile = "fdbsteer reconcile"
}
