import FDB
import Testing

@testable import Switchdev

/// Questions to guests, octet by octet, and what their answers say.
@Suite struct AskTests {
    private static let guest: [UInt8] = [0x52, 0x54, 0, 0, 0, 1]
    private static let ask = Ask(place: 2, number: 0x1234)
    private static let source: [UInt8] = [0x02, 0xfd, 0x5b, 2, 0x12, 0x34]
    private static let four = address([192, 0, 2, 7])
    private static let six = address([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3])
    private static let sender: [UInt8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0x5b, 0xff, 0xfe, 0, 0, 0]

    private static func address(_ octets: [UInt8]) -> IPAddress {
        guard let address = IPAddress(octets: octets) else { preconditionFailure("\(octets)") }
        return address
    }

    private func word(_ frame: [UInt8]) -> GuestWord? { frame.withUnsafeBytes { GuestWord.decode($0)?.word } }

    private func arp(
        to destination: [UInt8] = [UInt8](repeating: 0xff, count: 6), _ operation: UInt8, sender: [UInt8],
        target: [UInt8], hardware: [UInt8] = AskTests.guest, tag: [UInt8] = []
    ) -> [UInt8] {
        destination + AskTests.guest + tag + [8, 6, 0, 1, 8, 0, 6, 4, 0, operation] + hardware + sender
            + [0, 0, 0, 0, 0, 0] + target + [UInt8](repeating: 0, count: 18)
    }

    private func advertisement(to destination: [UInt8], hops: UInt8 = 255) -> [UInt8] {
        let header: [UInt8] = [0x60, 0, 0, 0, 0, 32, 58, hops]
        return destination + AskTests.guest + [0x86, 0xdd] + header + AskTests.six.octets + AskTests.sender
            + [136, 0, 0, 0, 0x60, 0, 0, 0] + AskTests.six.octets + [2, 1] + AskTests.guest
    }

    /// Both are tables of family netdev.
    @Test func noGuestsTableIsThatOfQuestions() {
        for label in ["ask-7", "ask/7", ":ask-7"] {
            let copy = CopySpecification(source: 1, target: 2, matches: [], number: 1, label: label)
            #expect(copy.tableName.hasPrefix("fdbsteer-") && AskShield.name(7) == "fdbsteer/ask-7")
        }
    }

    @Test func anARPRequestWithoutASendersAddress() {
        let frame = Self.ask.frame(to: Self.four)
        #expect(Array(frame[..<12]) == [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] + Self.source)
        #expect(Array(frame[12..<22]) == [8, 6, 0, 1, 8, 0, 6, 4, 0, 1])
        #expect(Array(frame[22..<42]) == Self.source + [0, 0, 0, 0] + [0, 0, 0, 0, 0, 0] + [192, 0, 2, 7])
        #expect(frame.count == 60 && Self.ask.mac.description == "02:fd:5b:02:12:34")
    }

    @Test func aTagGoesBehindTheSource() throws {
        let tag = FrameTag(type: 0x88a8, vlan: try #require(VLANID(rawValue: 3000)))
        let (plain, tagged) = (Self.ask.frame(to: Self.four), Self.ask.frame(to: Self.four, tag: tag))
        #expect(Array(tagged[12..<16]) == [0x88, 0xa8, 0x0b, 0xb8] && tagged.count == 64)
        #expect(tagged[..<12] + tagged[16...] == plain[...])
    }

    @Test func aNeighbourSolicitationToTheGroupOfTheAddress() {
        let frame = Self.ask.frame(to: Self.six)
        let group: [UInt8] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 2, 0, 3]
        #expect(Array(frame[..<14]) == [0x33, 0x33, 0xff, 2, 0, 3] + Self.source + [0x86, 0xdd])
        #expect(Array(frame[14..<54]) == [0x60, 0, 0, 0, 0, 32, 58, 255] + Self.sender + group)
        #expect(frame[54] == 135 && Array(frame[62..<78]) == Self.six.octets)
        #expect(Array(frame[78..<86]) == [1, 1] + Self.source && frame.count == 86)
        var sum: UInt32 = 0
        let summed = Self.sender + group + [0, 0, 0, 32, 0, 0, 0, 58] + frame[54...]
        for index in stride(from: 0, to: summed.count, by: 2) {
            sum += UInt32(summed[index]) << 8 + UInt32(summed[index + 1])
        }
        #expect(sum & 0xffff + sum >> 16 == 0xffff)
    }

    @Test func answersNameTheQuestion() {
        let reply = arp(to: Self.source, 2, sender: Self.four.octets, target: [0, 0, 0, 0])
        #expect(word(reply) == .answer(Self.ask, Self.four))
        let tagged = arp(
            to: Self.source, 2, sender: Self.four.octets, target: [0, 0, 0, 0], tag: [0x81, 0, 0, 7])
        #expect(word(tagged) == .answer(Self.ask, Self.four))
        #expect(word(advertisement(to: Self.source)) == .answer(Self.ask, Self.six))
        let from = reply.withUnsafeBytes { GuestWord.decode($0)?.from }
        #expect(from?.description == "52:54:00:00:00:01")
        // Forwarded, and therefore anybody's.
        #expect(word(advertisement(to: Self.source, hops: 254)) == nil)
        // On behalf of another machine.
        #expect(
            word(arp(to: Self.source, 2, sender: Self.four.octets, target: [0, 0, 0, 0], hardware: Self.source)) == nil)
    }

    @Test func whatTheGuestSaysOfItself() {
        #expect(word(arp(1, sender: [0, 0, 0, 0], target: Self.four.octets)) == .probe(Self.four))
        #expect(word(arp(1, sender: Self.four.octets, target: [192, 0, 2, 1])) == .owns(Self.four))
        #expect(word(advertisement(to: [0x33, 0x33, 0, 0, 0, 1])) == .owns(Self.six))
        // A question of another host is nobody's answer.
        #expect(word(Self.ask.frame(to: Self.four)) == .probe(Self.four))
        let packet = Self.source + Self.guest + [8, 0, 0x45] + [UInt8](repeating: 0, count: 11) + Self.four.octets
        #expect(word(packet + [192, 0, 2, 1]) == .sends(Self.four))
        #expect(word(arp(1, sender: [224, 0, 0, 1], target: Self.four.octets)) == nil)
    }

    @Test func noBytesTrapTheDecoder() {
        let frames = [
            arp(to: Self.source, 2, sender: Self.four.octets, target: [0, 0, 0, 0], tag: [0x81, 0, 0, 7]),
            advertisement(to: Self.source), Self.ask.frame(to: Self.six),
        ]
        var generator = SystemRandomNumberGenerator()
        for frame in frames {
            for length in 0...frame.count { _ = word(Array(frame.prefix(length))) }
            for _ in 0..<5000 {
                var hostile = Array(frame.prefix(.random(in: 14...frame.count)))
                for _ in 0..<4 {
                    hostile[Int.random(in: 0..<hostile.count, using: &generator)] = .random(in: 0...255)
                }
                _ = word(hostile)
            }
        }
    }
}
