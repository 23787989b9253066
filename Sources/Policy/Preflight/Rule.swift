/// One reason why a redirection would lose, leak or blackhole frames: what must have been read to know, and how to tell.
///
/// A rule is the only place of its judgement: `preflight` lists its findings, `prepare` and `switch` refuse with them, and
/// `verify` and `topology` show them. docs/preflight.md has a row for each, which ``row`` makes.
package struct Rule: Sendable {
    /// The stable word.
    package let code: Finding.Code
    /// The severities that its findings have, the usual one first.
    package let severities: [Finding.Severity]
    /// What its findings may stand in the way of.
    package let refuses: Refusal
    /// Without these parts it cannot tell, and says so.
    package let needs: Observation.Parts
    /// How the finding was provoked: a column of docs/preflight.md.
    private let shown: String
    /// What was lost or leaked when it was waived: a column of docs/preflight.md.
    private let harm: String
    let look: @Sendable (Preflight, inout Verdict) -> Void

    init(
        _ code: String, _ severities: Finding.Severity..., refuses: Refusal = [], needs: Observation.Parts = [],
        shown: String, harm: String, look: @escaping @Sendable (_ it: Preflight, _ answer: inout Verdict) -> Void
    ) {
        self.code = Finding.Code(of: code)
        self.severities = severities
        self.refuses = refuses
        self.needs = needs
        self.shown = shown
        self.harm = harm
        self.look = look
    }

    /// All, in the order in which findings of one severity are listed.
    package static let all =
        PresenceRules.all + PortRules.all + CostRules.all + AddressRules.all + VLANRules.all + SwitchRules.all
        + NeighbourRules.all + OwnerRules.all + FabricRules.all
    /// Those that may refuse a redirection.
    package static let ofRedirections = all.filter { !$0.refuses.isDisjoint(with: [.anySide, .byCommand]) }
    /// Those that say whether a prepared guest is as intended.
    package static let ofIntent = all.filter { $0.refuses.contains(.intent) }

    /// Its row in the table of docs/preflight.md.
    package var row: String {
        let severity = severities.map(\.rawValue).joined(separator: " / ")
        let verbs = refuses.words
        return "| `\(code.rawValue)` | \(severity) | \(verbs.isEmpty ? "-" : verbs) | \(shown) | \(harm) |"
    }
}

/// What a finding stands in the way of.
package struct Refusal: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// `prepare`.
    package static let prepare = Refusal(rawValue: 1)
    /// The caller may accept it (`--waive`); everything else is refused whatever is waived.
    package static let unlessWaived = Refusal(rawValue: 2)
    package static let toPrimary = Refusal(rawValue: 4)
    package static let toStandby = Refusal(rawValue: 8)
    package static let toRemote = Refusal(rawValue: 16)
    package static let toLocal = Refusal(rawValue: 256)
    package static let anySide: Refusal = [.toPrimary, .toStandby, .toLocal, .toRemote]
    /// Redirections but for repairs: a repair puts back what others do, but who redirects must know of them.
    package static let byCommand = Refusal(rawValue: 32)
    /// Opening a bracket.
    package static let bracket = Refusal(rawValue: 64)
    /// The guest is not as intended: a problem that `verify` lists.
    package static let intent = Refusal(rawValue: 128)

    /// A redirection to a side.
    package static func to(_ side: Side) -> Refusal {
        switch side {
        case .primary: .toPrimary
        case .standby: .toStandby
        case .local: .toLocal
        case .remote: .toRemote
        }
    }

    /// The verbs, in words.
    var words: String {
        var words: [String] = []
        if contains(.prepare) { words.append(contains(.unlessWaived) ? "prepare, unless waived" : "prepare") }
        if !isDisjoint(with: [.anySide, .byCommand]) { words.append("switch") }
        return words.joined(separator: ", ")
    }
}

/// What the rules answered.
package struct Verdict {
    /// The worst first, and in the order of the rules among equals.
    package private(set) var findings: [Finding] = []
    /// Rules that could not tell, because something was not read: nothing is found, and nothing is fine.
    package private(set) var unknown: [Rule] = []
    private let unseen: [Observation.Unseen]
    private var rule: Rule

    package init(_ preflight: Preflight, by rules: [Rule]) {
        rule = PresenceRules.samePort
        unseen = preflight.observation.unseen
        let parts = preflight.observation.parts
        for rule in rules {
            self.rule = rule
            if rule.needs.isSubset(of: parts) { rule.look(preflight, &self) } else { unknown.append(rule) }
        }
        if findings.count > 1 {
            let found = findings
            findings = Finding.Severity.allCases.flatMap { severity in found.filter { $0.severity == severity } }
        }
    }

    /// Answers with a finding.
    ///
    /// - Parameters:
    ///   - severity: nil for the rule's usual one.
    ///   - refuses: nil for all that the rule may refuse.
    mutating func callAsFunction(
        _ subject: String, _ message: String, _ severity: Finding.Severity? = nil,
        evidence: KeyValuePairs<String, String> = [:], remedy: String, refuses: Refusal? = nil
    ) {
        findings.append(
            Finding(
                rule.code, severity ?? rule.severities[0], subject, message, evidence: evidence, remedy: remedy,
                refuses: refuses ?? rule.refuses))
    }

    /// Answers that it cannot be told.
    mutating func cannotTell() { unknown.append(rule) }

    /// How a prepared guest is not as intended.
    package var problems: [Problem] { findings.filter { $0.refuses.contains(.intent) }.map(Problem.init) }

    /// Refuses a verb with the findings that stand in its way, or because it is not known whether there is one.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    package func refuse(
        _ verb: Refusal, waiving waived: Set<Finding.Code> = [], whereabouts: Whereabouts? = nil
    ) throws(ControllerError) {
        let refusing = findings.filter {
            !$0.refuses.isDisjoint(with: verb) && !($0.refuses.contains(.unlessWaived) && waived.contains($0.code))
        }
        if !refusing.isEmpty {
            throw ControllerError(
                .precondition,
                (refusing.map { "\($0.subject): \($0.message)" } + [whereabouts?.text].compactMap { $0 })
                    .joined(separator: "; "),
                remedy: refusing.reduce(into: [String]()) { remedies, finding in
                    let remedy =
                        finding.remedy
                        + (finding.refuses.contains(.unlessWaived)
                            ? ", or accept it: --waive \(finding.code.rawValue)" : "")
                    // One remedy may be that of several.
                    if !remedies.contains(remedy) { remedies.append(remedy) }
                }.joined(separator: "; "), reasons: refusing.map(\.code.rawValue)
            ).despite(waived)
        }
        guard let rule = unknown.first(where: { !$0.refuses.isDisjoint(with: verb) }) else { return }
        // A rule that finds out only on the way what it lacks has declared no need.
        let reasons = unseen.filter { rule.needs.isEmpty || !$0.parts.isDisjoint(with: rule.needs) }.map(\.words)
        throw ControllerError(
            .precondition,
            "whether there is a finding \(rule.code.rawValue) cannot be told: "
                + (reasons.isEmpty ? "what it needs was not read" : reasons.joined(separator: "; ")),
            reasons: [rule.code.rawValue])
    }
}

extension ControllerError {
    /// The same error, which also names the waived findings that cannot be waived here.
    package func despite(_ waived: Set<Finding.Code>) -> ControllerError {
        let inVain = waived.map(\.rawValue).filter(reasons.contains).sorted()
        if inVain.isEmpty { return self }
        return ControllerError(
            code, message + "; \(inVain.joined(separator: " and ")) cannot be waived here", remedy: remedy,
            cause: cause,
            reasons: reasons)
    }
}
