/// One netlink attribute (`struct nlattr`): its type without flag bits, and its bytes.
@frozen
public struct Attribute {
    /// The type, with `NLA_TYPE_MASK` applied.
    public let type: Int
    /// The payload without header and padding. It is valid as long as the datagram.
    public let bytes: UnsafeRawBufferPointer

    /// The size of `struct nlattr` in bytes.
    @usableFromInline static var headerSize: Int { 4 }
    /// `NLA_F_NESTED`.
    static var nestedFlag: UInt16 { 1 << 15 }

    @inlinable
    init(type: Int, bytes: UnsafeRawBufferPointer) {
        self.type = type
        self.bytes = bytes
    }

    /// The payload as an integer in host byte order; nil if it is shorter than the integer.
    ///
    /// The load is unaligned because 64-bit attributes are only 4-aligned.
    @inlinable @inline(__always)
    public func integer<T: FixedWidthInteger>(as _: T.Type = T.self) -> T? {
        guard bytes.count >= MemoryLayout<T>.size else { return nil }
        return bytes.loadUnaligned(as: T.self)
    }

    /// The payload as text, up to the first NUL; bytes that are not UTF-8 are replaced.
    public var text: String {
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// The payload as a list of nested attributes.
    public var nested: AttributeReader { AttributeReader(bytes) }
}

/// Walks netlink attributes; a malformed length ends the walk and sets ``isMalformed``.
///
/// It never reads outside the bytes it was given. The framing is `struct nlattr` in linux/netlink.h.
@frozen
public struct AttributeReader: Sequence, IteratorProtocol {
    @usableFromInline let bytes: UnsafeRawBufferPointer
    @usableFromInline var offset: Int
    /// True if the walk ended on a length that does not fit.
    public var isMalformed: Bool { malformed }
    @usableFromInline var malformed = false

    /// `NLA_TYPE_MASK`: the type without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    @usableFromInline static var typeMask: UInt16 { 0x3fff }

    /// - Parameters:
    ///   - bytes: consecutive attributes; they must outlive the reader.
    ///   - offset: where the first attribute begins, for messages with a fixed header; rounded up to a multiple of 4.
    @inlinable
    public init(_ bytes: UnsafeRawBufferPointer, from offset: Int = 0) {
        self.bytes = bytes
        self.offset = aligned(offset)
    }

    /// The next attribute, or nil at the end or at the first malformed length.
    @inlinable
    public mutating func next() -> Attribute? {
        let left = bytes.count - offset
        // Up to three bytes of padding may follow the last attribute.
        guard left >= Attribute.headerSize else { return nil }
        let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
        let type = Int(bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self) & AttributeReader.typeMask)
        guard length >= Attribute.headerSize, length <= left else {
            malformed = true
            return nil
        }
        // The bounds were just checked; a slice would check them again.
        let payload = UnsafeRawBufferPointer(
            start: bytes.baseAddress.map { $0 + offset + Attribute.headerSize },
            count: length - Attribute.headerSize)
        offset += aligned(length)
        return Attribute(type: type, bytes: payload)
    }
}
