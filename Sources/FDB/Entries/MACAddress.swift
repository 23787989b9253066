/// A 48-bit IEEE 802 MAC address.
public struct MACAddress: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The address as a number, with the first octet highest; the upper 16 bits are zero.
    public let value: UInt64

    /// - Parameter value: the address as a number; bits above 48 are dropped.
    public init(value: UInt64) { self.value = value & 0xffff_ffff_ffff }

    /// Reads six octets in network byte order.
    ///
    /// - Returns: nil unless there are exactly six.
    public init?(octets: UnsafeRawBufferPointer) {
        guard octets.count == 6 else { return nil }
        let high = UInt32(bigEndian: octets.loadUnaligned(as: UInt32.self))
        let low = UInt16(bigEndian: octets.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
        value = UInt64(high) << 16 | UInt64(low)
    }

    /// Parses `52:54:00:12:34:56`, in upper or lower case, also with `-` for `:`.
    ///
    /// - Returns: nil for anything else.
    public init?(_ text: some StringProtocol) {
        var value: UInt64 = 0
        var position = 0
        for byte in text.utf8 {
            if position % 3 == 2 {
                guard byte == UInt8(ascii: ":") || byte == UInt8(ascii: "-") else { return nil }
            } else {
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(byte - UInt8(ascii: "0"))
                case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(byte - UInt8(ascii: "a") + 10)
                case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt64(byte - UInt8(ascii: "A") + 10)
                default: return nil
                }
            }
            position += 1
            guard position <= 17 else { return nil }
        }
        guard position == 17 else { return nil }
        self.value = value
    }

    /// The octets in network byte order.
    public var octets: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8) {
        func octet(_ index: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: value >> (40 - 8 * index)) }
        return (octet(0), octet(1), octet(2), octet(3), octet(4), octet(5))
    }

    /// The group bit is set: multicast, or broadcast.
    public var isMulticast: Bool { value & 0x0100_0000_0000 != 0 }
    /// All bits are one.
    public var isBroadcast: Bool { value == 0xffff_ffff_ffff }
    /// All bits are zero.
    public var isZero: Bool { value == 0 }

    public static func < (left: MACAddress, right: MACAddress) -> Bool { left.value < right.value }

    /// Lower case, with colons.
    public var description: String {
        func digit(_ value: Int) -> UInt8 { UInt8(truncatingIfNeeded: value < 10 ? 0x30 + value : 0x57 + value) }
        return String(unsafeUninitializedCapacity: 17) { text in
            for index in 0..<6 {
                let octet = Int(truncatingIfNeeded: value >> UInt64(40 - 8 * index)) & 0xff
                text[index * 3] = digit(octet >> 4)
                text[index * 3 + 1] = digit(octet & 15)
                if index < 5 { text[index * 3 + 2] = UInt8(ascii: ":") }
            }
            return 17
        }
    }
}
