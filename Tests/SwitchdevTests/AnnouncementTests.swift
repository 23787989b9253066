import FDB
import Switchdev
import Testing

/// The frames, octet by octet, as their standards define them.
@Suite struct AnnouncementTests {
    private static let mac: [UInt8] = [0x52, 0x54, 0, 0, 0, 1]

    private func announcement(_ address: String = "52:54:00:00:00:01", ip: String? = nil) throws -> Announcement {
        Announcement(try Address(address), ip: try ip.map { try #require(IPAddress($0)) })
    }

    @Test func rarp() throws {
        let expected: [UInt8] =
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] + AnnouncementTests.mac + [0x80, 0x35] + [0, 1, 8, 0, 6, 4, 0, 3]
            + AnnouncementTests.mac + [0, 0, 0, 0] + AnnouncementTests.mac + [0, 0, 0, 0]
        let frame = try announcement().frame(tagType: nil)
        #expect(frame == expected + [UInt8](repeating: 0, count: 18))
        #expect(frame.count == 60)
        // Without a VLAN there is no tag.
        #expect(try announcement().frame(tagType: 0x8100) == frame)
    }

    @Test func aTagGoesBehindTheSource() throws {
        let plain = try announcement("52:54:00:00:00:01/3000").frame(tagType: nil)
        let tagged = try announcement("52:54:00:00:00:01/3000").frame(tagType: 0x8100)
        #expect(tagged.count == 64)
        #expect(Array(tagged[12..<16]) == [0x81, 0x00, 0x0b, 0xb8])
        #expect(tagged[..<12] + tagged[16...] == plain[...])
        // On a bridge of service VLANs (IEEE 802.1ad).
        let service = try announcement("52:54:00:00:00:01/3000").frame(tagType: 0x88a8)
        #expect(Array(service[12..<16]) == [0x88, 0xa8, 0x0b, 0xb8] && service[16...] == tagged[16...])
    }

    @Test func gratuitousARP() throws {
        let frame = try announcement(ip: "192.0.2.7").frame(tagType: nil)
        #expect(
            Array(frame[12..<42]) == [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + AnnouncementTests.mac + [192, 0, 2, 7] + [
                0, 0, 0, 0, 0, 0,
            ]
                + [192, 0, 2, 7])
        #expect(frame.count == 60)
    }

    @Test func neighbourAdvertisement() throws {
        let frame = try announcement(ip: "2001:db8::7").frame(tagType: nil)
        let source: [UInt8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
        let group: [UInt8] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        #expect(Array(frame[..<14]) == [0x33, 0x33, 0, 0, 0, 1] + AnnouncementTests.mac + [0x86, 0xdd])
        #expect(Array(frame[14..<54]) == [0x60, 0, 0, 0, 0, 32, 58, 255] + source + group)
        #expect(frame[54] == 136 && frame[55] == 0 && frame[58] == 0x20)
        #expect(Array(frame[62..<78]) == source && Array(frame[78..<86]) == [2, 1] + AnnouncementTests.mac)
        #expect(frame.count == 86)
        // With a correct checksum the sum over everything, including the pseudo header, is all ones.
        var sum: UInt32 = 0
        let summed = source + group + [0, 0, 0, 32, 0, 0, 0, 58] + frame[54...]
        for index in stride(from: 0, to: summed.count, by: 2) {
            sum += UInt32(summed[index]) << 8 + UInt32(summed[index + 1])
        }
        #expect(sum & 0xffff + sum >> 16 == 0xffff)
    }
}
