import FDB
import Switchdev
import Testing

@testable import Policy

/// What plans tell the journal, without one.
@Suite struct BooksTests {
    private let bracket = Bracket(openedAt: 1, means: .nftables, ownsClsact: false)

    private func record(
        on side: Side = .primary, _ phase: GuestPhase = .pinned, goal: Side? = nil,
        _ proof: OffloadProof.Status = .proven, bracket: Bracket? = nil
    ) throws -> GuestRecord {
        func port(_ name: String, _ index: Int32) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: false)
        }
        let guest = GuestInterface(
            id: try GuestID("vm"), bridge: port("br", 3), primary: port("vf", 5), standby: port("tap", 6),
            addresses: [], side: side, isSticky: false)
        return GuestRecord(
            row: 1, guest: guest, phase: phase, goal: goal, boot: "b", namespace: 1, proof: proof, revision: 1,
            bracket: bracket)
    }

    @Test func aSwitchSaysWhereItGoesAndComesBackUnproven() {
        for verb in [Plan.Verb.switch, .abort] {
            let books = Books.cut(verb, from: .primary, to: .standby)
            #expect(books.begin == .intent(.switching, goal: .standby))
            #expect(books.commit == .settled(.standby, proof: .shown, endsBracket: false))
            #expect(books.rollBack == .settled(.primary, proof: .earlier(.missing), endsBracket: false))
        }
    }

    @Test func aReleaseAndAPrepareForget() {
        let release = Books.cut(.release, from: .standby, to: .standby)
        #expect(release.begin == .intent(.releasing, goal: .standby) && release.commit == .removed)
        let prepare = Books.cut(.prepare, from: .standby, to: .standby)
        #expect(prepare.begin == .none && prepare.rollBack == .removed)
    }

    /// What is under way in the journal is not a repair's to end.
    @Test func aRepairTellsOnlyNewsOfHardware() {
        let books = Books.cut(.repair, from: .standby, to: .standby)
        #expect(books.begin == .none && books.commit == .confirmed(.standby) && books.rollBack == .none)
    }

    @Test func aBracketKeepsWhatIsKnownWhereNothingMoves() throws {
        let record = try record(on: .standby)
        let still = Books.opening(bracket, record, to: .primary, isMove: false)
        #expect(
            still.commit
                == .bracket(.bracketed, bracket, side: .standby, goal: .primary, proof: .earlier(.proven)))
        #expect(still.rollBack == .settled(.standby, proof: .earlier(.proven), endsBracket: true))
        let moving = Books.opening(bracket, record, to: .primary, isMove: true)
        #expect(moving.commit == .bracket(.bracketed, bracket, side: .standby, goal: .primary, proof: .shown))
        #expect(moving.rollBack == .settled(.standby, proof: .earlier(.missing), endsBracket: true))
        #expect(moving.begin == .bracket(.opening, bracket, side: .standby, goal: .primary, proof: nil))
    }

    /// Whatever happens to a process that closes a bracket, the guest is where its caller said.
    @Test func aBracketThatIsBeingClosedIsOnItsNewSide() throws {
        let record = try record(.bracketed, goal: .standby, bracket: bracket)
        let books = Books.closing(bracket, record, at: .standby, isMove: false)
        #expect(books.begin == .bracket(.closing, bracket, side: .standby, goal: .standby, proof: nil))
        #expect(books.commit == .settled(.standby, proof: .earlier(.proven), endsBracket: true))
        #expect(books.rollBack == .bracket(.bracketed, bracket, side: .primary, goal: .standby, proof: nil))
    }
}
