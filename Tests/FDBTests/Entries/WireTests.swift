import FDB
import Netlink
import Testing

/// The messages on the wire, byte for byte.
@Suite struct WireTests {
    private static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func encode(_ request: EntryRequest) -> String {
        var writer = MessageWriter(capacity: 256)
        let fits = writer.append(request, sequence: 7)
        #expect(fits)
        return hex(Array(writer.bytes))
    }

    @Test func golden() throws {
        let address = try Address("52:54:00:12:34:56/100")
        #expect(
            WireTests.encode(.set(address, port: 5, state: .noARP, flags: [.create, .replace]))
                // nlmsghdr: 48 bytes, RTM_NEWNEIGH, REQUEST|REPLACE|CREATE, sequence 7
                == "30000000" + "1c00" + "0105" + "07000000" + "00000000"
                // ndmsg: AF_BRIDGE, ifindex 5, NUD_NOARP, NTF_MASTER
                + "07000000" + "05000000" + "4000" + "04" + "00"
                // NDA_LLADDR, NDA_VLAN 100
                + "0a000200" + "525400123456" + "0000" + "06000500" + "6400" + "0000")
        #expect(
            WireTests.encode(.delete(try Address("52:54:00:12:34:56"), port: 5))
                == "28000000" + "1d00" + "0100" + "07000000" + "00000000" + "07000000" + "05000000" + "0000" + "04"
                + "00" + "0a000200" + "525400123456" + "0000")
        #expect(
            WireTests.encode(.get(try Address("52:54:00:12:34:56"), bridge: 3))
                == "30000000" + "1e00" + "0100" + "07000000" + "00000000" + "07000000" + "00000000" + "0000" + "04"
                + "00" + "0a000200" + "525400123456" + "0000" + "08000900" + "03000000")
    }

    @Test func aMessageThatDoesNotFitLeavesTheBufferAsItWas() throws {
        let request = EntryRequest.delete(try Address("52:54:00:12:34:56"), port: 5)
        for capacity in 0..<40 {
            var writer = MessageWriter(capacity: capacity)
            let fits = writer.append(request, sequence: 1)
            let length = writer.bytes.count
            #expect(!fits && length == 0)
        }
        var writer = MessageWriter(capacity: 70)
        let fits = (writer.append(request, sequence: 1), writer.append(request, sequence: 2))
        let length = writer.bytes.count
        #expect(fits == (true, false) && length == 40)
    }

    /// An entry as Linux 6.18 sends it, with flags, cache info and bridge.
    private static let entry: [UInt8] =
        [7, 0, 0, 0, 5, 0, 0, 0, 0x40, 0, 0x60, 0]  // ndmsg: NUD_NOARP, OFFLOADED|STICKY
        + [10, 0, 2, 0, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0]  // NDA_LLADDR
        + [8, 0, 9, 0, 3, 0, 0, 0]  // NDA_MASTER 3
        + [6, 0, 5, 0, 100, 0, 0, 0]  // NDA_VLAN 100
        + [8, 0, 15, 0, 2, 0, 0, 0]  // NDA_FLAGS_EXT: locked
        + [20, 0, 3, 0, 0, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0]  // NDA_CACHEINFO

    @Test func decodesAllOfAnEntry() throws {
        let entry = try #require(try WireTests.entry.withUnsafeBytes { try Entry(decoding: $0) })
        #expect(entry.address == (try Address("52:54:00:12:34:56/100")))
        #expect(entry.port == 5 && entry.bridge == 3)
        #expect(entry.isStatic && entry.isSticky && !entry.isLocal)
        #expect(entry.flags == [.offloaded, .sticky])
        #expect(entry.extendedFlags == .locked)
        #expect(entry.cache?.used == 11 && entry.cache?.updated == 12)
        #expect(entry.words == ["static", "offload", "sticky", "locked"])
    }

    @Test func everyTruncationIsAnErrorOrNoEntry() {
        for length in 0..<WireTests.entry.count {
            let bytes = Array(WireTests.entry.prefix(length))
            bytes.withUnsafeBytes { buffer in
                guard let entry = try? Entry(decoding: buffer) else { return }
                // Whole attributes may be missing at the end, but the key must be present.
                #expect(length >= 22 && entry.port == 5)
            }
        }
    }

    @Test(
        arguments: [
            ("family AF_INET", 0, 2), ("a multicast MAC", 16, 0x53),
            ("VLAN 4095", 36, 0xff),
        ])
    func otherThingsAreNoEntries(name: String, offset: Int, value: UInt8) throws {
        var bytes = WireTests.entry
        bytes[offset] = value
        if offset == 36 { bytes[37] = 0x0f }
        #expect(try bytes.withUnsafeBytes { try Entry(decoding: $0) } == nil, "\(name)")
    }
}
