import Netlink
import Testing

/// Messages, compared byte for byte with those of libmnl 1.0.4.
@Suite struct MessageWriterTests {
    /// Five bytes, which are followed by padding.
    private struct Fixed: BitwiseCopyable {
        let first: UInt32 = 0x0a09_0807
        let second: UInt8 = 0x0b
    }

    /// A request with every kind of field.
    private struct Everything: Request {
        var type: MessageType { MessageType(rawValue: 0x1c) }
        var flags: MessageFlags { [.acknowledge, .exclusive, .replace] }

        func encode(into body: inout MessageBody) {
            body.put(Fixed())
            Array("abcde".utf8).withUnsafeBytes { body.put(1, bytes: $0) }
            body.put(2, bytes: UnsafeRawBufferPointer(start: nil, count: 0))
            body.put(3, 0x11 as UInt8)
            body.put(4, 0x2233 as UInt16)
            body.put(5, 0x4455_6677 as UInt32)
            body.put(6, 0x8899_aabb_ccdd_eeff as UInt64)
            body.put(7, text: "vfrep0")
            body.put(8, text: "")
            body.nest(9) { nest in
                nest.put(1, text: "tap")
                nest.nest(2) { $0.put(3, 0x2233 as UInt16) }
                nest.nest(4) { _ in }
            }
        }
    }

    private static let everything = """
        7c000000 1c000503 04030201 00000000 0708090a 0b000000 09000100 61626364
        65000000 04000200 05000300 11000000 06000400 33220000 08000500 77665544
        0c000600 ffeeddcc bbaa9988 0b000700 76667265 70300000 05000800 00000000
        1c000980 08000100 74617000 0c000280 06000300 33220000 04000480
        """
    private static let length = 124

    private static func words(_ bytes: UnsafeRawBufferPointer) -> [String] {
        stride(from: 0, to: bytes.count, by: 4).map { start in
            bytes[start..<start + 4].map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
        }
    }

    @Test func everyKindOfPart() {
        var writer = MessageWriter(capacity: 4096)
        let fits = writer.append(Everything(), sequence: 0x0102_0304)
        #expect(fits)
        #expect(
            MessageWriterTests.words(writer.bytes)
                == MessageWriterTests.everything.split { $0 == " " || $0 == "\n" }.map(String.init))
    }

    @Test func aMessageThatDoesNotFitLeavesNoTrace() {
        for capacity in 1..<MessageWriterTests.length {
            var writer = MessageWriter(capacity: capacity)
            let fits = writer.append(Everything(), sequence: 1)
            #expect(!fits, "of \(MessageWriterTests.length) bytes into \(capacity)")
            #expect(writer.bytes.isEmpty)
        }
        var writer = MessageWriter(capacity: 2 * MessageWriterTests.length - 1)
        let fits = (writer.append(Everything(), sequence: 1), writer.append(Everything(), sequence: 2))
        #expect(fits == (true, false))
        #expect(writer.bytes.count == MessageWriterTests.length)
    }

    private struct Long: Request {
        let attribute: Int
        let inNest: Bool

        var type: MessageType { .newLink }
        var flags: MessageFlags { [] }

        func encode(into body: inout MessageBody) {
            [UInt8](repeating: 1, count: attribute).withUnsafeBytes { bytes in
                if inNest { body.nest(1) { $0.put(2, bytes: bytes) } } else { body.put(2, bytes: bytes) }
            }
        }
    }

    /// An attribute's length has 16 bits: a longer attribute is refused and not written with a wrong length.
    @Test(arguments: [(65_531, false, true), (65_532, false, false), (65_524, true, true), (65_531, true, false)])
    func theLongestAttribute(length: Int, inNest: Bool, isWritten: Bool) {
        var writer = MessageWriter(capacity: 1 << 20)
        let fits = writer.append(Long(attribute: length, inNest: inNest), sequence: 1)
        #expect(fits == isWritten)
        #expect(writer.bytes.isEmpty == !isWritten)
    }
}
