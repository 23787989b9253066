import Switchdev
import Testing

@testable import Policy

/// What is wrong with one guest, by who found it.
struct ConditionsTests {
    private func condition(_ code: String, _ subject: String = "tap0", _ message: String = "it is down") -> Condition {
        Condition(code, .problem, subject, message, remedy: "bring it up")
    }

    @Test func aConditionBeginsOnceKeepsItsTimeAndEndsOnce() {
        var conditions = Conditions()
        #expect(conditions.replace(.rules, by: [condition("port-down")], at: 5).map(\.isOver) == [false])
        #expect(conditions.replace(.rules, by: [condition("port-down")], at: 6).isEmpty)
        #expect(conditions.entries.map(\.since) == [5])
        let end = conditions.replace(.rules, by: [], at: 9)
        #expect(end.map(\.isOver) == [true] && end.map(\.since) == [5])
        #expect(conditions.isEmpty)
    }

    @Test func whatOneSourceNoLongerFindsIsOverAndTheOthersGoOn() {
        var conditions = Conditions()
        _ = conditions.replace(.rules, by: [condition("port-down"), condition("port-down", "vfrep0")], at: 1)
        _ = conditions.replace(.monitor, by: [condition(Condition.monitorSilent, "/run/qmp")], at: 2)
        let changes = conditions.replace(.rules, by: [condition("port-down", "vfrep0")], at: 3)
        #expect(changes.map(\.condition.subject) == ["tap0"])
        #expect(conditions.entries.map(\.condition.subject) == ["vfrep0", "/run/qmp"])
    }

    @Test func otherWordsAreNewsOfTheSameCondition() {
        var conditions = Conditions()
        _ = conditions.replace(.monitor, by: [condition("monitor-silent", "/q", "refused")], at: 1)
        let changes = conditions.replace(.monitor, by: [condition("monitor-silent", "/q", "no greeting")], at: 7)
        #expect(changes.map(\.since) == [1] && changes.map(\.isOver) == [false])
        #expect(conditions.entries.map(\.condition.message) == ["no greeting"])
    }

    @Test func aConditionThatWasKnownBeforeKeepsItsBeginning() {
        var conditions = Conditions()
        _ = conditions.replace(.rules, by: [condition("port-down")], at: 70) { $0.code == "port-down" ? 3 : nil }
        #expect(conditions.entries.map(\.since) == [3])
    }

    /// The other port of a guest has to be ready for it, unless somebody else takes the guest there.
    @Test func whatTheRulesFindIsWeighedByWhereTheGuestIs() throws {
        func found(
            _ side: Side, _ phase: GuestPhase = .pinned, isForCarrier: Bool = false, isFollowed: Bool = false
        ) throws -> [Condition] {
            var situation = Situation()
            (situation.isPrepared, situation.side) = (true, phase == .bracketed ? .standby : side)
            situation.primary.hasCarrier = side == .primary && phase == .pinned
            situation.standby.hasCarrier = !situation.primary.hasCarrier
            let subject = try situation.subject()
            let verdict = Preflight(subject, try situation.observation()).judge(by: Rule.ofConditions)
            var guest = try #require(subject.guest)
            guest.side = side
            let record = GuestRecord(
                row: 1, guest: guest, phase: phase, goal: phase == .bracketed ? .standby : nil, boot: "b", namespace: 1,
                proof: .missing, revision: 1,
                bracket: phase == .pinned
                    ? nil : Bracket(openedAt: 1, means: .clsact, ownsClsact: false, isForCarrier: isForCarrier))
            return verdict.findings.filter { $0.code.rawValue == "no-carrier" }.compactMap {
                Condition($0, about: record, isFollowed: isFollowed)
            }
        }
        #expect(try found(.primary).map(\.severity) == [.warning])
        #expect(try found(.primary).map(\.subject) == ["tap0"])
        #expect(try found(.standby).map(\.severity) == [.warning])
        #expect(try found(.standby).map(\.subject) == ["vf0"])
        #expect(try found(.standby, isFollowed: true).isEmpty)
        #expect(try found(.remote).isEmpty)
        // A bracket for a lost carrier is there because of the primary; by others the guest is on its way.
        #expect(try found(.primary, .bracketed, isForCarrier: true).map(\.severity) == [.problem])
        #expect(try found(.primary, .bracketed, isForCarrier: true, isFollowed: true).isEmpty)
        #expect(try found(.primary, .bracketed).isEmpty)
    }

    /// FRR takes the fifth move within 180 s for a duplicate: the warning comes two before.
    @Test func aGuestThatChangesHostsTooOftenIsTold() {
        var budget = HandoverBudget()
        let second: Int64 = 1_000_000_000
        #expect(budget.condition(at: 0) == nil && budget.due(at: 0) == nil)
        for move in 1...6 {
            budget.note(at: Int64(move) * 10 * second)
            let condition = budget.condition(at: Int64(move) * 10 * second)
            #expect(condition?.severity == (move < 3 ? nil : move < 5 ? .warning : .problem), "\(move)")
            #expect(budget.used(at: Int64(move) * 10 * second) == move)
        }
        #expect(budget.due(at: 100 * second) == 190 * second)
        #expect(budget.condition(at: 200 * second)?.severity == .warning)
        #expect(budget.condition(at: 229 * second) == nil && budget.condition(at: 300 * second) == nil)
        #expect(budget.due(at: 300 * second) == nil)
    }
}
