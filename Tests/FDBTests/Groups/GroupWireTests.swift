import Netlink
import Testing

@testable import FDB

/// Messages about multicast groups, byte for byte.
@Suite struct GroupWireTests {
    private static func attribute(_ type: UInt16, _ content: [UInt8]) -> [UInt8] {
        let length = UInt16(content.count + 4)
        let padding = [UInt8](repeating: 0, count: (4 - content.count % 4) % 4)
        return [UInt8(length & 0xff), UInt8(length >> 8), UInt8(type & 0xff), UInt8(type >> 8)] + content + padding
    }

    /// `struct br_mdb_entry`: ifindex, state, flags, vid, 16 bytes of address, protocol, padding.
    private static func entry(
        port: UInt8, state: UInt8 = 0, flags: UInt8 = 0, vid: UInt8 = 0, group: [UInt8], protocol: UInt16
    ) -> [UInt8] {
        [port, 0, 0, 0, state, flags, vid, 0] + group + [UInt8](repeating: 0, count: 16 - group.count)
            + [UInt8(`protocol` >> 8), UInt8(`protocol` & 0xff), 0, 0]
    }

    private static let ipv6Group: [UInt8] = [0xff, 2] + [UInt8](repeating: 0, count: 9) + [1, 0xff, 0x12, 0x34, 0x56]

    /// The dump of Linux 6.18 for one bridge with IGMPv3: three memberships, one of the host and a router port.
    static let message: [UInt8] =
        [7, 0, 0, 0, 3, 0, 0, 0]  // br_port_msg
        + attribute(
            1,  // MDBA_MDB
            attribute(
                1,  // MDBA_MDB_ENTRY
                attribute(
                    1,  // MDBA_MDB_ENTRY_INFO
                    entry(port: 5, vid: 9, group: [239, 1, 1, 1], protocol: 0x0800)
                        + attribute(1, [0x10, 0x27, 0, 0])  // EATTR_TIMER 100 s
                        + attribute(
                            2 | 0x8000,  // EATTR_SRC_LIST
                            attribute(1 | 0x8000, attribute(1, [192, 0, 2, 1]) + attribute(2, [0, 0, 0, 0]))
                                + attribute(1 | 0x8000, attribute(1, [192, 0, 2, 2]) + attribute(2, [0, 0, 0, 0])))
                        + attribute(3, [1])  // EATTR_GROUP_MODE include
                        + attribute(5, [2])  // EATTR_RTPROT kernel
                )
                    + attribute(
                        1,
                        entry(port: 3, group: [239, 1, 1, 1], protocol: 0x0800) + attribute(1, [0, 0, 0, 0])))
                + attribute(
                    1,
                    attribute(
                        1,
                        entry(port: 6, state: 1, flags: 0x03, group: ipv6Group, protocol: 0x86dd)
                            + attribute(1, [0, 0, 0, 0])))
                + attribute(
                    1,
                    attribute(
                        1,
                        entry(port: 6, state: 1, group: [1, 0x80, 0xc2, 1, 2, 3], protocol: 0)
                            + attribute(1, [0, 0, 0, 0]))))
        + attribute(
            2,  // MDBA_ROUTER
            attribute(1, [4, 0, 0, 0] + attribute(1, [1, 0, 0, 0]) + attribute(2, [1]) + attribute(3, [1, 0, 0, 0])))

    @Test func decodesAllOfAMessage() throws {
        let message = try GroupWireTests.message.withUnsafeBytes { try GroupMessage(decoding: $0) }
        #expect(message.bridge == 3)
        try #require(message.entries.count == 4)
        let first = message.entries[0]
        #expect(first.port == 5 && first.bridge == 3 && !first.isHost && !first.isPermanent)
        #expect(first.key == GroupKey(try #require(GroupAddress("239.1.1.1")), vlan: VLANID(rawValue: 9)))
        #expect(first.sources.map(\.description) == ["192.0.2.1", "192.0.2.2"])
        #expect(first.mode == .include && first.protocol == .kernel && first.timer == 10_000)
        #expect(
            first.description
                == "ifindex 5 grp 239.1.1.1 vid 9 temp filter_mode include source_list 192.0.2.1,192.0.2.2")
        #expect(message.entries[1].isHost)
        #expect(message.entries[2].description == "ifindex 6 grp ff02::1:ff12:3456 permanent offload fast_leave")
        #expect(message.entries[3].key.group == GroupAddress("01:80:c2:01:02:03"))
        #expect(message.routers == [RouterPort(port: 4, servesIPv4: true, servesIPv6: false, lifetime: 1)])
        #expect(message.routers[0].serves(first.key) && !message.routers[0].serves(message.entries[2].key))
    }

    @Test func everyTruncationIsAnErrorOrLess() {
        let whole = GroupWireTests.message
        for length in 0..<whole.count {
            let bytes = Array(whole.prefix(length))
            bytes.withUnsafeBytes { buffer in
                guard let message = try? GroupMessage(decoding: buffer) else { return }
                // Cut between two attributes of the outermost level, or in padding.
                #expect([8, 9, 10, 11].contains(length) || message.entries.count == 4, "\(length) bytes")
            }
        }
    }

    /// Changes every byte to harmful values: no trap, and nothing outside the group attributes is affected.
    @Test func hostileBytesDoNotTrap() {
        for offset in GroupWireTests.message.indices {
            for value: UInt8 in [0, 1, 3, 4, 0x7f, 0x80, 0xff] {
                var bytes = GroupWireTests.message
                bytes[offset] = value
                bytes.withUnsafeBytes { buffer in
                    guard let message = try? GroupMessage(decoding: buffer) else { return }
                    for entry in message.entries { #expect(!entry.description.isEmpty) }
                }
            }
        }
    }

    @Test func notifications() throws {
        func header(_ type: MessageType) -> MessageHeader {
            MessageHeader(length: 0, type: type, flags: [], sequence: 0, portID: 0)
        }
        let (added, removed, other) = try GroupWireTests.message.withUnsafeBytes { payload in
            (
                try GroupChange.changes(header(.newGroup), payload),
                try GroupChange.changes(header(.deleteGroup), payload),
                try GroupChange.changes(header(.newLink), payload)
            )
        }
        #expect(added.count == 5 && added.allSatisfy { !$0.isRemoval && $0.bridge == 3 })
        #expect(removed.count == 5 && removed.allSatisfy { $0.isRemoval })
        #expect(other.isEmpty)
    }

    private static func hex(_ request: GroupRequest) -> String {
        var writer = MessageWriter(capacity: 512)
        let fits = writer.append(request, sequence: 7)
        #expect(fits)
        return writer.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test func golden() throws {
        let group = GroupKey(try #require(GroupAddress("239.1.1.1")), vlan: VLANID(rawValue: 9))
        #expect(
            GroupWireTests.hex(.join(group, port: 5, bridge: 3, state: .temporary))
                // nlmsghdr: 56 bytes, RTM_NEWMDB, REQUEST|CREATE, sequence 7
                == "38000000" + "5400" + "0104" + "07000000" + "00000000"
                // br_port_msg: AF_BRIDGE, bridge 3
                + "07000000" + "03000000"
                // MDBA_SET_ENTRY: br_mdb_entry
                + "20000100" + "05000000" + "0000" + "0900" + "ef010101" + "000000000000000000000000" + "0800" + "0000")
        #expect(
            GroupWireTests.hex(.leave(GroupKey(try #require(GroupAddress("ff02::1:ff12:3456"))), port: 5, bridge: 3))
                == "38000000" + "5500" + "0100" + "07000000" + "00000000" + "07000000" + "03000000" + "20000100"
                + "05000000" + "00000000" + "ff0200000000000000000001ff123456" + "86dd" + "0000")
        let source = try #require(IPAddress("192.0.2.1"))
        #expect(
            GroupWireTests.hex(
                .join(
                    group, port: 5, bridge: 3, state: .permanent, renewing: true, mode: .include, sources: [source],
                    protocol: .fdbsteer)
            )
                == "5c000000" + "5400" + "0105" + "07000000" + "00000000" + "07000000" + "03000000" + "20000100"
                + "05000000" + "0100" + "0900" + "ef010101" + "000000000000000000000000" + "0800" + "0000"
                // MDBA_SET_ENTRY_ATTRS: SRC_LIST > ENTRY > ADDRESS, GROUP_MODE, RTPROT
                + "24000280" + "10000280" + "0c000180" + "08000100" + "c0000201" + "05000300" + "01000000"
                + "05000400" + "fd000000")
    }

    @Test func whatOldKernelsGetInstead() throws {
        let group = GroupKey(try #require(GroupAddress("239.1.1.1")))
        let source = try #require(IPAddress("192.0.2.1"))
        func join(_ mode: GroupFilterMode?, _ sources: [IPAddress]) -> GroupRequest {
            .join(group, port: 5, bridge: 3, state: .temporary, mode: mode, sources: sources)
        }
        #expect(join(nil, []).simplified == nil)
        #expect(join(.exclude, [source]).simplified == [join(nil, [])])
        let one = GroupKey(group.group, source: source)
        #expect(
            join(.include, [source]).simplified == [.join(one, port: 5, bridge: 3, state: .temporary)])
        #expect(join(.include, [source]).undo.map(\.key) == [group, one])
    }

    @Test(arguments: ["10.0.0.1", "2001:db8::1", "52:54:00:12:34:56", "", "239.1.1", "239.1.1.1/24"])
    func noGroups(text: String) { #expect(GroupAddress(text) == nil) }

    @Test(arguments: ["239.1.1.1", "224.0.0.1", "ff02::1:ff00:1", "01:00:5e:00:00:01"])
    func groups(text: String) { #expect(GroupAddress(text)?.description == text) }
}
