import FDB
import Policy
import Testing

/// What is made of notifications about entries, without a kernel.
struct MovesTests {
    private static let second: Int64 = 1_000_000_000
    private static let (bridge, uplink, tap): (Int32, Int32, Int32) = (1, 2, 3)

    private func entry(_ text: String, on port: Int32, _ state: EntryState = .reachable, _ flags: EntryFlags = [])
        throws
        -> Entry
    {
        Entry(address: try Address(text), port: port, bridge: MovesTests.bridge, state: state, flags: flags)
    }

    private func move(_ event: Moves.Event?) throws -> Moves.Move {
        guard case .moved(let move)? = event else { throw Missing() }
        return move
    }

    private struct Missing: Error {}

    @Test func aTargetsPortThatSpeaksBeforeItsGuestIsThereIsNamed() throws {
        // Harvester 10653: the guest runs behind the uplink, its target's port speaks, the guest goes on, and then arrives.
        var moves = Moves()
        let mac = "52:54:00:00:00:01"
        moves.know(try entry(mac, on: MovesTests.uplink), at: 0)
        let early = try move(moves.take(entry(mac, on: MovesTests.tap), isRemoval: false, at: 10 * MovesTests.second))
        #expect(early.from == MovesTests.uplink && early.stay == 10 * MovesTests.second && !early.isFlap)
        #expect(early.early == nil)
        let back = try move(moves.take(entry(mac, on: MovesTests.uplink), isRemoval: false, at: 11 * MovesTests.second))
        #expect(back.isFlap && back.early == nil && back.stay == MovesTests.second)
        let arrival = try move(moves.take(entry(mac, on: MovesTests.tap), isRemoval: false, at: 40 * MovesTests.second))
        #expect(!arrival.isFlap, "the guest was away from there for longer than a flap lasts")
        #expect(arrival.early?.ago == 30 * MovesTests.second && arrival.early?.stay == MovesTests.second)
        let count = try #require(moves.busiest(10).first)
        #expect(count.moves == 3 && count.flaps == 1 && count.wasEarly && count.port == MovesTests.tap)
    }

    @Test func aProgramThatMovesAnEntryToAndFroIsNoPortThatSpeaks() throws {
        var moves = Moves()
        let mac = "52:54:00:00:00:01"
        for time in 0..<6 {
            let entry = try entry(mac, on: time % 2 == 0 ? MovesTests.uplink : MovesTests.tap, .noARP)
            let event = moves.take(entry, isRemoval: false, at: Int64(time) * MovesTests.second)
            if time > 0 { #expect(try move(event).early == nil) }
        }
        #expect(moves.moves[.static] == 5 && moves.flaps == 4)
    }

    @Test func whatWentAndCameElsewhereHasMoved() throws {
        var moves = Moves()
        let mac = "52:54:00:00:00:01/10"
        moves.know(try entry(mac, on: MovesTests.uplink, .noARP), at: 0)
        let gone = try moves.take(entry(mac, on: MovesTests.uplink, .noARP), isRemoval: true, at: 5)
        #expect(gone == nil)
        let move = try move(
            moves.take(entry(mac, on: MovesTests.tap, .reachable, .externallyLearned), isRemoval: false, at: 9))
        #expect(move.gap == 4 && move.stay == 5 && move.origin == .externLearn && move.originBefore == .static)
    }

    @Test func aMACInAnotherVLANOfAnotherPortIsASecondPort() throws {
        var moves = Moves()
        moves.know(try entry("52:54:00:00:00:01/10", on: MovesTests.uplink), at: 0)
        let event = try moves.take(entry("52:54:00:00:00:01/20", on: MovesTests.tap), isRemoval: false, at: 1)
        guard case .second(_, let address, let port, .learned, let other, let otherPort)? = event else {
            throw Missing()
        }
        #expect("\(address) \(port) \(other) \(otherPort)" == "52:54:00:00:00:01/20 3 52:54:00:00:00:01/10 2")
        // In the same place it is not.
        let third = try moves.take(entry("52:54:00:00:00:01/30", on: MovesTests.tap), isRemoval: false, at: 2)
        #expect(third != nil)
        #expect(moves.seconds == 2 && moves.total == 0)
    }

    @Test func aStormOfMACsThatComeAndGoDoesNotFillTheMemory() throws {
        var moves = Moves()
        for number in 0..<200_000 {
            let mac = MACAddress(value: 0x5254_0000_0000 + UInt64(number))
            for isRemoval in [false, true] {
                let entry = Entry(
                    address: try Address(mac: mac), port: 3, bridge: 1, state: .reachable, flags: [])
                let event = moves.take(entry, isRemoval: isRemoval, at: 0)
                #expect(event == nil)
            }
        }
        #expect(moves.changes == 400_000 && moves.remembered <= Moves.goneLimit + 1)
    }

    @Test func afterALossTheTableTellsWhatHasMoved() throws {
        var moves = Moves()
        let macs = (0..<3).map { "52:54:00:00:00:0\($0)" }
        for mac in macs { moves.know(try entry(mac, on: MovesTests.uplink), at: 0) }
        let table = [try entry(macs[0], on: MovesTests.tap), try entry(macs[1], on: MovesTests.uplink)]
        let events = moves.reread(table, bridge: MovesTests.bridge, at: 7)
        #expect(events.count == 1 && moves.total == 1 && moves.changes == 0)
        // The third has gone meanwhile; it comes back elsewhere.
        let back = try move(moves.take(entry(macs[2], on: MovesTests.tap), isRemoval: false, at: 9))
        #expect(back.gap == 2)
    }
}
