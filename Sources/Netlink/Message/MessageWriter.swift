import Glibc

/// Encodes consecutive netlink messages into its own buffer (netlink(7)).
///
/// A message that does not fit leaves the buffer unchanged, so the caller can send and start again. The writer never sends.
public struct MessageWriter: ~Copyable {
    @usableFromInline let buffer: UnsafeMutableRawBufferPointer
    @usableFromInline var used = 0

    /// - Parameter capacity: size in bytes; the kernel takes at most its `sk_sndbuf` less 32 in one send.
    public init(capacity: Int) {
        // Padding must be zero, and pages that are never used must stay untouched. calloc(3) would clear memory that it has
        // used before.
        let memory = mmap(nil, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        buffer = UnsafeMutableRawBufferPointer(
            start: memory == MAP_FAILED ? nil : memory, count: memory == MAP_FAILED ? 0 : capacity)
    }

    deinit {
        if let memory = buffer.baseAddress { munmap(memory, buffer.count) }
    }

    /// The encoded messages.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<used]) }

    /// Discards everything encoded so far.
    public mutating func removeAll() {
        UnsafeMutableRawBufferPointer(rebasing: buffer[..<used]).initializeMemory(as: UInt8.self, repeating: 0)
        used = 0
    }

    /// The number of bytes encoded so far.
    var count: Int { used }

    /// Reserves room for one message that the caller lays out itself, including the header; the bytes are zero.
    ///
    /// - Parameter length: size in bytes, a multiple of 4.
    /// - Returns: nil, with nothing reserved, if it does not fit.
    @inlinable
    package mutating func reserve(_ length: Int) -> UnsafeMutableRawPointer? {
        guard length <= buffer.count - used, let base = buffer.baseAddress else { return nil }
        defer { used += length }
        return base + used
    }

    /// Appends one request.
    ///
    /// - Returns: false, with nothing appended, if it does not fit.
    public mutating func append(_ request: some Request, flags: MessageFlags = [], sequence: UInt32) -> Bool {
        append(type: request.type, flags: request.flags.union(flags), sequence: sequence) { request.encode(into: &$0) }
    }

    /// Appends one message: the header, then what `body` writes.
    ///
    /// - Returns: false, with nothing appended, if it does not fit.
    private mutating func append(
        type: MessageType,
        flags: MessageFlags,
        sequence: UInt32,
        body: (inout MessageBody) -> Void
    ) -> Bool {
        guard buffer.count - used >= MessageHeader.size, let base = buffer.baseAddress else { return false }
        var content = MessageBody(message: base + used, capacity: buffer.count - used)
        body(&content)
        guard content.fits else { return false }
        content.finish(type: type, flags: flags.union(.request), sequence: sequence)
        used += content.length
        return true
    }

    /// Sets a flag on the message that begins at a byte offset.
    mutating func insert(_ flags: MessageFlags, at offset: Int) {
        let field = offset + 6
        let old = buffer.loadUnaligned(fromByteOffset: field, as: UInt16.self)
        buffer.storeBytes(of: old | flags.rawValue, toByteOffset: field, as: UInt16.self)
    }
}

/// The part of a message after its header, while it is being written: a fixed structure, then attributes.
///
/// Padding is not written, because the buffer is zero.
public struct MessageBody {
    private let message: UnsafeMutableRawPointer
    private let capacity: Int
    /// The length of the message so far in bytes, including its header and padding.
    private(set) var length = MessageHeader.size
    /// True while everything written so far was within the buffer.
    private(set) var fits = true

    /// - Parameters:
    ///   - message: where the message begins.
    ///   - capacity: the number of bytes from there on, at least a header's; all are zero.
    init(message: UnsafeMutableRawPointer, capacity: Int) {
        self.message = message
        self.capacity = capacity
    }

    /// Reserves the next bytes, aligned. If there are not enough, it returns nil and ``fits`` stays false from then on.
    private mutating func take(_ count: Int) -> UnsafeMutableRawPointer? {
        guard fits, count <= capacity, length + aligned(count) <= capacity else {
            fits = false
            return nil
        }
        defer { length += aligned(count) }
        return message + length
    }

    /// Reserves room for an attribute, writes its header, and returns the address of its payload.
    private mutating func attribute(_ type: UInt16, count: Int) -> UnsafeMutableRawPointer? {
        guard let size = UInt16(exactly: Attribute.headerSize + count), let start = take(Int(size)) else {
            fits = false
            return nil
        }
        start.storeBytes(of: size, as: UInt16.self)
        start.storeBytes(of: type, toByteOffset: 2, as: UInt16.self)
        return start + Attribute.headerSize
    }

    /// Appends the family's fixed structure (`struct ndmsg`, `struct ifinfomsg`). Call it once, before any attribute.
    public mutating func put<T>(_ structure: T) where T: BitwiseCopyable {
        take(MemoryLayout<T>.size)?.storeBytes(of: structure, as: T.self)
    }

    /// Appends an attribute of raw bytes.
    public mutating func put(_ type: Int, bytes: UnsafeRawBufferPointer) {
        guard let payload = attribute(UInt16(type), count: bytes.count), let start = bytes.baseAddress else { return }
        payload.copyMemory(from: start, byteCount: bytes.count)
    }

    /// Appends an integer attribute in host byte order.
    public mutating func put<T: FixedWidthInteger & BitwiseCopyable>(_ type: Int, _ value: T) {
        attribute(UInt16(type), count: MemoryLayout<T>.size)?.storeBytes(of: value, as: T.self)
    }

    /// Appends a NUL-terminated string attribute.
    public mutating func put(_ type: Int, text: String) {
        text.withCString { put(type, bytes: UnsafeRawBufferPointer(start: $0, count: strlen($0) + 1)) }
    }

    /// Appends a nested attribute whose content `content` writes.
    public mutating func nest(_ type: Int, _ content: (inout MessageBody) -> Void) {
        let start = length
        guard attribute(UInt16(type) | Attribute.nestedFlag, count: 0) != nil else { return }
        content(&self)
        guard fits, let size = UInt16(exactly: length - start) else {
            fits = false
            return
        }
        (message + start).storeBytes(of: size, as: UInt16.self)
    }

    /// Writes the header (`struct nlmsghdr`) of a message that fits.
    func finish(type: MessageType, flags: MessageFlags, sequence: UInt32) {
        message.storeBytes(of: UInt32(length), as: UInt32.self)
        message.storeBytes(of: type.rawValue, toByteOffset: 4, as: UInt16.self)
        message.storeBytes(of: flags.rawValue, toByteOffset: 6, as: UInt16.self)
        message.storeBytes(of: sequence, toByteOffset: 8, as: UInt32.self)
    }
}
