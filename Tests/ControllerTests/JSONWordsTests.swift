import Controller
import FDB
import Lab
import Policy
import Records
import Switchdev
import TestSupport
import Testing

/// The words of docs/json.md are those of the code.
@Suite struct JSONWordsTests {
    private static func words<Word: CaseIterable & RawRepresentable<String>>(_ type: Word.Type) -> Set<String> {
        Set(type.allCases.map(\.rawValue))
    }

    @Test func theDocumentHasEachWordAndNoOther() {
        let expected: [String: Set<String>] = [
            "side": Self.words(Side.self), "verb": Self.words(Plan.Verb.self),
            "outcome": Self.words(Report.Result.self).union([EventKind.timeout.rawValue]),
            "strategy": Self.words(Strategy.self), "bracket_change": Self.words(BracketChange.self),
            "error_code": Set(ControllerError.Code.allCases.map(\.name)),
            "proof_status": Self.words(OffloadProof.Status.self), "primitive": Self.words(EntryChange.Primitive.self),
            "means": Self.words(CopyMeans.self), "severity": Self.words(Finding.Severity.self),
            "condition_severity": Self.words(Condition.Severity.self), "health": Self.words(Health.self),
            "phase": Self.words(GuestPhase.self).union(["waiting"]), "kind": Self.words(GuestKind.self),
            "place": Self.words(Place.self), "gate": Self.words(GuestStatus.Gate.self),
            "gate_by": Self.words(Gate.self), "daemon": Self.words(DaemonState.self),
            "event_kind": Self.words(EventKind.self).subtracting([EventKind.log.rawValue]),
            "watch_kind": ["move", "second_port", "summary"], "origin": Self.words(Moves.Origin.self),
            "probe_outcome": Self.words(ProbeReport.Result.self), "source": Self.words(MACFilterCounts.Source.self),
            "usable": Self.words(MACFilterVerdict.Usability.self), "order": Self.words(FilterOrder.self),
        ]
        let words = JSONDocument().words
        #expect(Set(words.keys) == Set(expected.keys))
        for (type, expected) in expected { #expect(words[type] == expected, "\(type)") }
    }

    @Test func eachCodeHasAPlaceInADocument() {
        let document = TextFile.read(Checkout.path + "/docs/json.md")
        let own = Problem.Kind.allCases.map(\.rawValue) + [ControllerError.guestUnknown, ControllerError.unprivileged]
        for code in own { #expect(document.contains("| `\(code)` |"), "docs/json.md says nothing of \(code)") }
    }
}
