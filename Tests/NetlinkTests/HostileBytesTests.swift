import Netlink
import System
import Testing

/// Datagrams that no kernel sends must end in an error or in nothing, never in a trap or a read out of bounds.
@Suite struct HostileBytesTests {
    /// `nlmsghdr`: length, type, flags, sequence, port id; little-endian like the machines that run this.
    static func header(length: UInt32, type: UInt16 = 28, flags: UInt16 = 0) -> [UInt8] {
        withUnsafeBytes(of: length, Array.init) + withUnsafeBytes(of: type, Array.init)
            + withUnsafeBytes(of: flags, Array.init) + [1, 0, 0, 0, 2, 0, 0, 0]
    }

    private static func read(_ bytes: [UInt8]) throws -> [MessageHeader] {
        var headers: [MessageHeader] = []
        try bytes.withUnsafeBytes { buffer in
            var reader = MessageReader(buffer)
            while let (header, _) = try reader.next() { headers.append(header) }
        }
        return headers
    }

    @Test(
        arguments: [
            ("stray bytes", [1, 2, 3]),
            ("half a header", [UInt8](repeating: 0, count: 15)),
            ("length 0", header(length: 0)),
            ("length below a header", header(length: 15)),
            ("length beyond the datagram", header(length: 17)),
            ("length of 4 GiB", header(length: .max)),
            ("a good message, then stray bytes", header(length: 16) + [9]),
            ("a good message, then one too long", header(length: 16) + header(length: 20)),
        ] as [(String, [UInt8])])
    func malformedDatagrams(name: String, bytes: [UInt8]) {
        #expect(throws: NetlinkError.self, "\(name)") { try HostileBytesTests.read(bytes) }
    }

    @Test func wholeMessages() throws {
        let headers = try HostileBytesTests.read(
            HostileBytesTests.header(length: 17, type: 2) + [7, 0, 0, 0]
                + HostileBytesTests.header(length: 16, flags: 5))
        #expect(headers.map(\.length) == [17, 16])
        #expect(headers[0].type == .error)
        #expect(headers[1].flags.rawValue == 5)
        #expect(headers[1].sequence == 1)
        #expect(headers[1].portID == 2)
        #expect(try HostileBytesTests.read([]).isEmpty)
    }

    @Test(
        arguments: [
            ("nothing", [], 0, false),
            ("less than a header", [4, 0, 1], 0, false),
            ("length 0", [0, 0, 1, 0], 0, true),
            ("length 3", [3, 0, 1, 0], 0, true),
            ("length beyond the bytes", [9, 0, 1, 0, 1, 2, 3, 4], 0, true),
            ("one empty", [4, 0, 1, 0], 1, false),
            ("one with padding missing", [5, 0, 1, 0, 7], 1, false),
            ("two, the first padded", [5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 2, 0], 2, false),
            ("one good, one bad", [4, 0, 1, 0, 255, 255, 2, 0], 1, true),
        ] as [(String, [UInt8], Int, Bool)])
    func attributes(name: String, bytes: [UInt8], count: Int, malformed: Bool) {
        bytes.withUnsafeBytes { buffer in
            var reader = AttributeReader(buffer)
            var found = 0
            while reader.next() != nil { found += 1 }
            #expect(found == count, "\(name)")
            #expect(reader.isMalformed == malformed, "\(name)")
        }
    }

    @Test func attributeValues() {
        // Type 0x8003 is type 3 with NLA_F_NESTED; 32 bits 0x04030201; text with a NUL inside.
        let bytes: [UInt8] = [8, 0, 3, 0x80, 1, 2, 3, 4, 7, 0, 4, 0, 0x61, 0, 0x62, 0]
        bytes.withUnsafeBytes { buffer in
            let attributes = Array(AttributeReader(buffer)).map { ($0.type, $0.integer(as: UInt32.self), $0.text) }
            #expect(attributes.map(\.0) == [3, 4])
            #expect(attributes[0].1 == 0x0403_0201)
            #expect(attributes[1].1 == nil)
            #expect(attributes[1].2 == "a")
        }
    }

    @Test func acknowledgements() throws {
        func decode(_ payload: [UInt8], flags: MessageFlags) throws -> Acknowledgement {
            let header = MessageHeader(
                length: 16 + payload.count, type: .error, flags: flags, sequence: 1, portID: 1)
            return try payload.withUnsafeBytes { bytes in
                try Acknowledgement(header: header, payload: bytes)
            }
        }
        let refused: [UInt8] = [0xea, 0xff, 0xff, 0xff] + HostileBytesTests.header(length: 40)
        let text: [UInt8] = [7, 0, 1, 0, 0x6e, 0x6f, 0, 0]
        for length in 0..<20 {
            #expect(throws: NetlinkError.self) { try decode(Array(refused.prefix(length)), flags: []) }
        }
        #expect(try decode(refused, flags: []).errno == .invalid)
        #expect(try decode(refused, flags: []).extack == nil)
        #expect(try decode(refused + text, flags: [.capped, .acknowledgeAttributes]).extack == "no")
        // Not capped: 24 bytes of the request should come first; they are missing, so there is no text to find.
        #expect(try decode(refused + text, flags: .acknowledgeAttributes).extack == nil)
        let echoed = refused + [UInt8](repeating: 0, count: 24) + text
        #expect(try decode(echoed, flags: .acknowledgeAttributes).extack == "no")
        #expect(
            try decode([0, 0, 0, 0x80] + HostileBytesTests.header(length: .max), flags: .acknowledgeAttributes).errno
                != nil)
    }
}
