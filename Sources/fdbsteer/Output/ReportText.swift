import Controller
import FDB
import Policy
import Switchdev

extension Call {
    /// Prints a report and returns its exit code.
    func show(_ report: Report) -> Int32 {
        if json { Output.json(report) } else { printText(report) }
        return complain(report)
    }

    /// Prints a report for people.
    func printText(_ report: Report) {
        Output.line(report.headline)
        for message in report.messages ?? [] {
            Output.line("  \(message.netlink)")
            if let command = message.bridgeCommand { Output.line("    as a command: \(command)") }
        }
        if let sighting = report.sighting { Output.line("  \(sighting.words)") }
        for line in report.bracketLines { Output.line("  \(line)") }
        for note in report.notes { Output.line("  note: \(note)") }
        for line in report.findingLines { Output.line("  note: \(line)") }
    }

    /// Says on standard error what failed.
    ///
    /// - Returns: the exit code.
    func complain(_ report: Report) -> Int32 {
        if let complaint = report.complaint { Output.error("fdbsteer: \(complaint)") }
        for failure in report.failures { Output.error("  \(failure)") }
        return report.exitCode
    }
}

extension Report {
    /// One line for people.
    var headline: String {
        let count = addresses.count == 1 ? "1 address" : "\(addresses.count) addresses"
        let proof = proof.map { proofStatus == .proven ? "; \($0)" : "; proof: \($0)" } ?? ""
        let total = Output.duration(timings.totalNanoseconds)
        if strategy == .bracket, let bracket, outcome == .done || outcome == .already {
            let arrow = "\(from.rawValue) -> \(to.rawValue)"
            if bracket.isOpen {
                return "\(guest): bracket \(arrow) \(outcome == .already ? "already " : "")open: each frame reaches "
                    + "both ports\(proof)"
            }
            return "\(guest): bracket closed, on \(to.rawValue)\(proof)"
        }
        switch (outcome, verb) {
        case (.planned, _):
            let sent = messages?.count ?? 0
            return sent == 0
                ? "\(guest): nothing would be changed"
                : "\(guest): \(verb.rawValue) would send \(sent) netlink \(sent == 1 ? "message" : "messages")"
        case (.already, .prepare): return "\(guest): already prepared, on \(to.rawValue)"
        case (.already, .switch): return "\(guest): already on \(to.rawValue)\(proof)"
        case (.already, _): return "\(guest): nothing to do"
        case (.done, .prepare): return "\(guest): \(count) pinned on \(to.rawValue) in \(total)\(proof)"
        case (.done, .switch):
            return "\(guest): \(from.rawValue) -> \(to.rawValue), \(count) moved in "
                + "\(Output.duration(timings.moveNanoseconds)) (\(total) with journal and re-read)\(proof)"
        case (.done, .release): return "\(guest): released on \(to.rawValue), \(givenBack)"
        case (.done, .repair), (.done, .reconcile): return "\(guest): put back on \(to.rawValue)\(proof)"
        case (.done, .abort): return "\(guest): aborted, back on \(to.rawValue)\(proof)"
        case (.incomplete, _):
            let left = addresses.count { $0.error != nil }
            return "\(guest): released on \(to.rawValue), \(givenBack)"
                + (left == 0 ? "" : ", \(left) of \(addresses.count) entries left as they are")
        case (.unrecorded, _):
            return "\(guest): \(verb.rawValue) to \(to.rawValue) is done, \(count) changed, but it is not recorded"
        case (.refused, _): return "\(guest): nothing was changed"
        case (.rolledBack, _): return "\(guest): failed, everything is as it was on \(from.rawValue)"
        case (.notRolledBack, _): return "\(guest): failed, and not everything could be put back"
        }
    }

    /// What a release did with the entries.
    private var givenBack: String {
        func count(_ primitives: [EntryChange.Primitive]) -> Int {
            let words = primitives.map(\.rawValue)
            return addresses.count { $0.error == nil && words.contains($0.primitive) }
        }
        let learned = count([.makeDynamic, .recreateDynamic, .delete])
        let external = count([.recreateExternal, .makeExternal])
        let fixed = count([.replace])
        return "\(learned == 1 ? "1 address" : "\(learned) addresses") given back to learning"
            + (external == 0 ? "" : ", \(external) to a control plane") + (fixed == 0 ? "" : ", \(fixed) kept static")
    }

    /// How the bracket stands, and what closes it.
    var bracketLines: [String] {
        guard let bracket, bracket.isOpen else { return [] }
        return [
            "bracket: \(bracket.words)",
            "closes by: fdbsteer switch \(guest) --to \(bracket.goal.rawValue) --close, once the guest is there; "
                + "fdbsteer abort \(guest) gives it up",
        ]
    }
}
