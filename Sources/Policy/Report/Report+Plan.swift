import FDB
package import Switchdev

extension Report {
    package init(_ plan: Plan, startedAt: Int64, options: VerbOptions) {
        self.init(
            verb: plan.verb, guest: plan.guest.id.text, bridge: plan.guest.bridge.name, from: plan.from, to: plan.to,
            strategy: plan.strategy, outcome: .already, proof: nil, proofStatus: nil,
            proofRequired: options.requireProof,
            time: startedAt, timings: Timings(),
            addresses: plan.changes.map { planned in
                AddressResult(
                    address: planned.change.address.description, primitive: planned.change.primitive.rawValue,
                    port: plan.guest.name(ofPort: planned.change.port), error: nil)
            },
            notes: plan.notes, failures: [], messages: nil)
        bracketChange = plan.steps.lazy.compactMap(\.bracketChange).first
        guard !plan.findings.isEmpty else { return }
        findings = plan.findings.filter { !options.waived.contains($0.code) }
        waived = plan.findings.filter { options.waived.contains($0.code) }
    }

    /// What a plan would do, with its messages.
    package init(planned plan: Plan, startedAt: Int64, _ observation: Observation, options: VerbOptions) {
        self.init(plan, startedAt: startedAt, options: options)
        outcome = .planned
        let (guest, links) = (plan.guest, observation.links)
        func name(_ port: Int32) -> String { links[port]?.name ?? guest.name(ofPort: port) }
        messages = plan.messages(name: name)
        for (index, planned) in plan.changes.enumerated() {
            addresses[index].fromPort = planned.before.map { name($0.port) }
        }
    }

    /// What a planned report would do: its entries with their ports, or else its messages.
    package var moves: String {
        if !addresses.isEmpty { return Report.moves(addresses.map { ($0.address, $0.fromPort, $0.port) }) }
        return Report.list((messages ?? []).map { $0.bridgeCommand ?? $0.netlink })
    }

    /// Entries that move from one port to another, in words.
    package static func moves(_ entries: [(address: String, from: String?, to: String)]) -> String {
        list(entries.map { "\($0.address) from \($0.from ?? "no port") to \($0.to)" })
    }

    /// The first two of several things, and the number of the others.
    private static func list(_ all: [String]) -> String {
        all.prefix(2).joined(separator: ", ") + (all.count > 2 ? " and \(all.count - 2) more" : "")
    }

    /// Nothing had to be changed; what is known of hardware.
    package init(
        unchanged plan: Plan, _ proof: OffloadProof, startedAt: Int64, after nanoseconds: Int64, options: VerbOptions
    ) {
        self.init(plan, startedAt: startedAt, options: options)
        timings.totalNanoseconds = nanoseconds
        state(proof)
    }

    mutating func state(_ proof: OffloadProof) {
        self.proof = proof.text
        proofStatus = proof.status
    }

    package mutating func finish(_ outcome: Redirection.Outcome) {
        let failures: [Redirection.Failure]
        switch outcome {
        case .committed(let proof):
            self.outcome = .done
            state(proof)
            return
        case .incomplete(let proof, let reasons):
            self.outcome = .incomplete
            state(proof)
            failures = reasons
        case .unrecorded(let proof, let reasons):
            self.outcome = .unrecorded
            state(proof)
            failures = reasons
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

extension OffloadProof {
    /// The proof recorded when the guest moved to a side; the entries have not changed since.
    package static func remembered(_ side: Side) -> OffloadProof {
        .proven(evidence: "shown when the guest came to \(side.rawValue), and the entries are as then")
    }
}
