import CLab

/// The probe frame: Ethernet header, then a run id and a sequence number; 64 bytes with padding.
///
/// The EtherType is the first of those for local experiments (IEEE 802, 0x88b5).
enum Frame {
    static let etherType: UInt16 = 0x88b5
    /// The EtherType of the frames that the migrating guest sends (bench/guest/observer.c).
    static let guestEtherType: UInt16 = 0x88b6
    static let size = 64
    static let runOffset = 14
    static let sequenceOffset = 18

    /// Makes a frame with sequence number 0.
    static func make(destination: [UInt8], source: [UInt8], run: UInt32) -> [UInt8] {
        var bytes = destination + source + [UInt8(etherType >> 8), UInt8(etherType & 0xff)]
        bytes += withUnsafeBytes(of: run.bigEndian, Array.init)
        bytes += [UInt8](repeating: 0, count: size - bytes.count)
        return bytes
    }

    /// Whether the migrating guest sent a frame.
    static func isGuest(_ bytes: UnsafeRawBufferPointer, mac: [UInt8]) -> Bool {
        bytes.count >= 14 && bytes[6..<12].elementsEqual(mac)
            && bytes.loadUnaligned(fromByteOffset: 12, as: UInt16.self).bigEndian == guestEtherType
    }

    /// The place of a question to a guest, or of the one that a frame answers: the fourth octet of the MACs that questions come from
    /// (docs/asking.md); nil for other frames.
    static func place(_ bytes: UnsafeRawBufferPointer, isOutgoing: Bool) -> UInt8? {
        let begin = isOutgoing ? 6 : 0
        guard bytes.count >= 14, bytes[begin..<begin + 3].elementsEqual([0x02, 0xfd, 0x5b]) else { return nil }
        return bytes[begin + 3]
    }

    /// The run and the sequence number of a probe frame; nil for any other frame.
    static func numbers(of bytes: UnsafeRawBufferPointer) -> (run: UInt32, sequence: UInt32)? {
        guard bytes.count >= sequenceOffset + 4,
            bytes.loadUnaligned(fromByteOffset: 12, as: UInt16.self).bigEndian == etherType
        else { return nil }
        return (
            bytes.loadUnaligned(fromByteOffset: runOffset, as: UInt32.self).bigEndian,
            bytes.loadUnaligned(fromByteOffset: sequenceOffset, as: UInt32.self).bigEndian
        )
    }

    /// The sequence number of a frame of this run; nil for any other frame.
    static func sequence(of bytes: UnsafeRawBufferPointer, run: UInt32) -> UInt32? {
        guard let numbers = numbers(of: bytes), numbers.run == run else { return nil }
        return numbers.sequence
    }
}
