import FDB
import Switchdev
import Testing

@testable import Policy

/// The steps of the probe and its verdict, on models of several kinds of NICs.
struct MACFilterTests {
    /// A NIC as the probe sees it.
    struct ModelNIC: Hashable {
        /// A VF takes its MAC's frames although no driver reads them.
        var isEarly = true
        /// PF and VF with the same MAC both get a frame; otherwise only the VF does.
        var copies = true
        /// The PF refuses a MAC that a VF has.
        var refusesBoth = false
        /// A cleared MAC stays in the filter.
        var keepsCleared = false
        /// A MAC that is set while the VF is up works.
        var takesLateMAC = true
        /// Frames for unknown MACs go to the PF.
        var givesUnknown = false

        var vfHasMAC = false
        var pfHasMAC = false
        var isBound = false
        var isUp = false
        var filterStays = false

        mutating func apply(_ change: MACFilterProbe.Change) -> MACFilterProbe.Event {
            switch change {
            case .vfMAC(let isOn):
                if !isOn, vfHasMAC, keepsCleared { filterStays = true }
                vfHasMAC = isOn && (takesLateMAC || !isUp)
            case .pfEntry(let isOn):
                if isOn, refusesBoth, vfHasMAC { return .failed("File exists (EEXIST)") }
                pfHasMAC = isOn
            case .bound(let isOn): isBound = isOn
            case .up(let isOn): isUp = isOn
            }
            return .done
        }

        /// The counts for 20 frames of a source.
        func counts(_ state: MACFilterProbe.State, _ source: MACFilterCounts.Source) -> MACFilterCounts {
            let reads = isUp && vfHasMAC
            let takes = (vfHasMAC && (isEarly || isUp)) || filterStays
            let isOpen = givesUnknown || state.isPromiscuous
            let pf = source == .wire ? (pfHasMAC && (copies || !takes)) || (!takes && isOpen) : pfHasMAC
            let wire = source == .sibling && !takes && !pf
            return MACFilterCounts(
                state, from: source, tagged: false, sent: 20, pf: pf ? 20 : 0, vf: reads ? 20 : 0, wire: wire ? 20 : 0,
                both: pf && reads ? 20 : 0, nowhere: pf || reads || wire ? 0 : 20)
        }
    }

    /// Runs a probe to its end, with a given event at one action.
    private func run(
        _ nic: ModelNIC, at interruption: Int? = nil, with event: MACFilterProbe.Event = .interrupted
    ) -> (verdict: MACFilterVerdict, outcome: MACFilterProbe.Outcome, actions: [MACFilterProbe.Action]) {
        var nic = nic
        let untouched = nic
        var probe = MACFilterProbe()
        var counts: [MACFilterCounts] = []
        var action = probe.start()
        var actions = [action]
        while true {
            var result = MACFilterProbe.Event.done
            switch action {
            case .setUp: break
            case .change(let change): result = nic.apply(change)
            case .measure(let state): counts += [.wire, .sibling].map { nic.counts(state, $0) }
            case .restore: nic = untouched
            case .finish(let outcome):
                #expect(nic == untouched)
                let verdict = MACFilterVerdict(counts, refused: Set(probe.refused.keys))
                return (verdict, outcome, actions)
            }
            if actions.count - 1 == interruption { result = event }
            action = probe.next(result)
            actions.append(action)
        }
    }

    @Test func aNICThatFiltersEarlyAndCopies() {
        let (verdict, outcome, actions) = run(ModelNIC())
        #expect(outcome == .measured)
        #expect(verdict.earlyFilter == true && verdict.staleFilter && verdict.duplicates)
        #expect(verdict.loopbackBlackhole == true)
        #expect(verdict.usableForFailover == .withCare && verdict.order == .makeBeforeBreak)
        #expect(actions.count == MACFilterProbe().count + 2)
    }

    @Test func aNICThatWaitsForTheDriver() {
        var nic = ModelNIC()
        nic.isEarly = false
        let verdict = run(nic).verdict
        #expect(!verdict.earlyFilter && !verdict.staleFilter && verdict.loopbackBlackhole == false)
        #expect(verdict.usableForFailover == .yes)
    }

    @Test func unknownFramesTellOfAnEarlyFilterToo() {
        var nic = ModelNIC()
        nic.givesUnknown = true
        #expect(run(nic).verdict.earlyFilter && run(nic).verdict.unknownReachesPF)
    }

    @Test func aNICThatGivesFramesToTheVFAlone() {
        var nic = ModelNIC()
        nic.copies = false
        var verdict = run(nic).verdict
        #expect(verdict.earlyFilter && !verdict.duplicates && verdict.entryWinsOverUnreadVF == false)
        #expect(verdict.usableForFailover == .withCare && verdict.order == .breakBeforeMake)
        nic.takesLateMAC = false
        verdict = run(nic).verdict
        #expect(verdict.usableForFailover == .no)
    }

    @Test func aNICThatRefusesAMACTwice() {
        var nic = ModelNIC()
        nic.refusesBoth = true
        let (verdict, outcome, actions) = run(nic)
        #expect(outcome == .measured)
        #expect(verdict.entryWinsOverUnreadVF == nil && verdict.order == .breakBeforeMake)
        #expect(verdict.usableForFailover == .withCare)
        #expect(!actions.contains(.measure(.init(.unbound, .both))) && actions.contains(.measure(.init(.up, .vf))))
    }

    @Test func aNICThatKeepsAClearedMAC() {
        var nic = ModelNIC()
        nic.keepsCleared = true
        nic.copies = false
        let verdict = run(nic).verdict
        #expect(!verdict.clearingWorks && verdict.usableForFailover == .no)
        #expect(verdict.words.last?.contains("do not come back") == true)
    }

    @Test func aFilterThatNobodyShowsIsNoVerdict() {
        let lost = MACFilterCounts(.init(.unbound, .none), from: .sibling, tagged: false, sent: 9, nowhere: 9)
        let found = MACFilterCounts(.init(.cleared, .none), from: .sibling, tagged: false, sent: 9, wire: 9)
        #expect(MACFilterVerdict.beganFiltered([lost, found]))
        #expect(!MACFilterVerdict.beganFiltered([lost]))
        #expect(!MACFilterVerdict.beganFiltered([found]))
    }

    @Test func whateverHappensTheNICIsRestored() {
        for index in 0..<MACFilterProbe().count {
            let (_, outcome, actions) = run(ModelNIC(), at: index)
            #expect(outcome == .stopped("interrupted"))
            #expect(actions.suffix(2).first == .restore)
            let failed = run(ModelNIC(), at: index, with: .failed("no"))
            switch actions[index] {
            case .change(.pfEntry(true)): #expect(failed.outcome == .measured)
            case .measure(let state) where state.isPromiscuous: #expect(failed.outcome == .measured)
            default: #expect(failed.outcome == .stopped("no"), "\(actions[index])")
            }
        }
        let end = MACFilterProbe().count
        #expect(run(ModelNIC(), at: end, with: .failed("no")).outcome == .notRestored(["no"]))
    }

    @Test func recordsComeBackAsTheyWere() throws {
        let verdict = run(ModelNIC()).verdict
        #expect(MACFilterVerdict(record: verdict.record) == verdict)
        var counts = MACFilterCounts(
            .init(.unboundAgain, .both, isLate: true, isPromiscuous: true), from: .sibling, tagged: true, sent: 9,
            pf: 1,
            vf: 2, wire: 3, both: 4, nowhere: 5)
        counts.pfCounter = 77
        #expect(MACFilterCounts(record: counts.record) == counts)
        for text in ["", "nic0 4", "nic0 x 02:00:00:00:00:01\n", counts.record + " more", "\n\n\n"] {
            #expect(MACFilterVerdict(record: text) == nil && MACFilterCounts(record: text) == nil)
        }
    }
}
