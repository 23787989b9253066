import FDB
import Glibc
import Lab
import Switchdev
import TestSupport
import Testing

@testable import Policy

/// What holds for all rules.
@Suite struct RuleTests {
    /// A switch passes over the rules where none could say anything, or refuse anything.
    @Test func whereASwitchSkipsTheRulesNoneAppliesTo() throws {
        var dice = Dice(1)
        var skipped = 0
        var judged = 0
        for _ in 0..<4_000 {
            let situation = try Situation.random(&dice)
            let guest = try situation.guest()
            let observation = try situation.seenByASwitch()
            let verdict = Preflight(Subject(guest), observation).judge()
            let hasFindings = verdict.findings.contains { $0.severity != .note }
            let refusing = Side.allCases.filter { side in
                (try? verdict.refuse([.to(side), .byCommand, .bracket])) == nil
            }
            if hasFindings || !refusing.isEmpty { judged += 1 }
            guard observation.isPlain(for: guest) else { continue }
            skipped += 1
            #expect(!hasFindings && refusing.isEmpty, "\(verdict.findings.map(\.headline)) \(situation)")
        }
        #expect(skipped > 400 && judged > 400, "\(skipped) \(judged)")
    }

    /// What was not read is unknown: it is no finding, but `prepare` is refused all the same.
    @Test func whatWasNotReadIsUnknown() throws {
        for it in PreflightTests.cases where !it.rule.needs.isEmpty {
            var situation = Situation()
            try it.change(&situation)
            let subject = try situation.subject()
            let observation = Observation(bridge: try situation.seenByASwitch().bridge, ports: BySide())
            let verdict = Preflight(subject, observation).judge(by: [it.rule])
            #expect(verdict.findings.isEmpty && verdict.unknown.map(\.code) == [it.rule.code], "\(it.name)")
            #expect(
                ((try? verdict.refuse(.prepare)) == nil) == it.rule.refuses.contains(.prepare), "\(it.name)")
        }
    }

    /// `prepare` and `switch` refuse in the words of the finding.
    @Test func refusalsHaveTheWordsOfTheFinding() throws {
        var judged = 0
        for it in PreflightTests.cases where !it.rule.refuses.isDisjoint(with: [.prepare, .anySide, .byCommand]) {
            var situation = Situation()
            try it.change(&situation)
            let verdict = try situation.verdict()
            // With some values a rule that can refuse does not.
            guard let finding = verdict.findings.first(where: { $0.code == it.rule.code }), !finding.refuses.isEmpty
            else { continue }
            judged += 1
            let all = verdict.findings.filter { !$0.refuses.isDisjoint(with: finding.refuses) }
            let error = #expect(throws: ControllerError.self, "\(it.name)") { try verdict.refuse(finding.refuses) }
            #expect(error?.message == all.map { "\($0.subject): \($0.message)" }.joined(separator: "; "))
            #expect(error?.code == .precondition)
        }
        #expect(judged > 10, "\(judged)")
    }

    @Test func onlyWhatMayBeWaivedIs() throws {
        var situation = Situation()
        situation.standby.mtu = 1400
        #expect(throws: ControllerError.self) { try situation.verdict().refuse(.prepare) }
        try situation.verdict().refuse(.prepare, waiving: [PortRules.mtuSmaller.code])
        situation.owners = [try Address("52:54:00:00:00:01"): "vm9"]
        #expect(throws: ControllerError.self) {
            try situation.verdict().refuse(.prepare, waiving: Set(Rule.all.map(\.code)))
        }
    }

    /// Its remedy is the release of that guest: who removed the entry would take its frames away.
    @Test func whatAnotherGuestHasPinnedIsNoEntryOfAStranger() throws {
        var situation = Situation()
        try situation.add("52:54:00:00:00:01", port: 6, state: .noARP, flags: .sticky)
        situation.owners = [try Address("52:54:00:00:00:01"): "vm9"]
        let codes = try situation.verdict().findings.map(\.code)
        #expect(
            codes.contains(AddressRules.otherGuest.code) && !codes.contains(AddressRules.stickyEntry.code), "\(codes)")
    }

    /// A port refuses the redirections that go to it, and those only.
    @Test(arguments: Side.allCases) func aPortRefusesRedirectionsToIt(side: Side) throws {
        var situation = Situation()
        situation.isPrepared = true
        situation.hasOnePort = side == .local
        situation.side = side == .local ? .local : .primary
        switch side {
        case .primary: situation.primary.isUp = false
        case .standby, .local: situation.standby.isUp = false
        case .remote: situation.uplink.isUp = false
        }
        let verdict = try situation.verdict()
        try verdict.refuse(.prepare)
        for other in Side.allCases {
            #expect(((try? verdict.refuse(.to(other))) == nil) == (other == side))
        }
        #expect(((try? verdict.refuse(.bracket)) == nil) == (side == .primary))
        // A guest whose NIC filters for it reaches other hosts by its primary.
        situation.movesFilters = true
        if side == .primary { #expect(throws: ControllerError.self) { try situation.verdict().refuse(.toRemote) } }
    }

    /// A repair puts back what others made sticky; a redirection is refused.
    @Test func stickyEntriesRefuseAllButRepairs() throws {
        var situation = Situation()
        situation.isPrepared = true
        try situation.add("52:54:00:00:00:01", port: 5, state: .noARP, flags: .sticky)
        try situation.verdict().refuse([.toStandby, .byCommand])
        // On another port than the guest's it is not the daemon's.
        try situation.add("52:54:00:00:00:01", port: 6, state: .noARP, flags: .sticky)
        try situation.verdict().refuse(.toStandby)
        #expect(throws: ControllerError.self) { try situation.verdict().refuse([.toStandby, .byCommand]) }
        situation.isSticky = true
        try situation.verdict().refuse([.toStandby, .byCommand])
    }

    /// The table in docs/preflight.md. With FDBSTEER_WRITE_DOCS in the environment it is written.
    @Test func theTableInTheDocumentIsMadeOfTheRules() throws {
        let document = Checkout.path + "/docs/preflight.md"
        let text = TextFile.read(document)
        let head =
            "| finding | severity | refuses | how it was provoked | what was lost or leaked when waived |\n"
            + "|---|---|---|---|---|\n"
        let parts = text.components(between: head, and: "\n\n")
        let table = try #require(parts.first)
        let rows = Rule.all.map(\.row).joined(separator: "\n")
        if getenv("FDBSTEER_WRITE_DOCS") != nil {
            try TextFile.write(text.replacing(table, with: rows), to: document)
        } else {
            #expect(table == rows)
        }
    }
}
