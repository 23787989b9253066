import CNetlink
import Glibc

/// Encodes netlink messages one after another into a buffer of its own, framed by libmnl.
///
/// A message that does not fit leaves the buffer as it was before it, so that the caller can send and start again.
/// The writer never sends.
public struct MessageWriter: ~Copyable {
    @usableFromInline let buffer: UnsafeMutableRawBufferPointer
    @usableFromInline var used = 0

    /// - Parameter capacity: bytes; the kernel takes at most its `sk_sndbuf` less 32 in one send.
    public init(capacity: Int) {
        // Padding is to be zero, not what the heap held, and pages that are never used are to stay unused: calloc(3) clears
        // memory that it has used before.
        let memory = mmap(nil, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        buffer = UnsafeMutableRawBufferPointer(
            start: memory == MAP_FAILED ? nil : memory, count: memory == MAP_FAILED ? 0 : capacity)
    }

    deinit {
        if let memory = buffer.baseAddress { munmap(memory, buffer.count) }
    }

    /// The encoded messages.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<used]) }

    /// Forgets everything encoded so far.
    public mutating func removeAll() {
        UnsafeMutableRawBufferPointer(rebasing: buffer[..<used]).initializeMemory(as: UInt8.self, repeating: 0)
        used = 0
    }

    /// How many bytes are encoded so far.
    var count: Int { used }

    /// Takes the place of one message that its caller lays out itself, header and all; the bytes are zero.
    ///
    /// - Parameter length: a multiple of 4.
    /// - Returns: nil, and nothing taken, when it does not fit.
    @inlinable
    package mutating func reserve(_ length: Int) -> UnsafeMutableRawPointer? {
        guard length <= buffer.count - used, let base = buffer.baseAddress else { return nil }
        defer { used += length }
        return base + used
    }

    /// Appends one request.
    ///
    /// - Returns: false, and nothing appended, when it does not fit.
    public mutating func append(_ request: some Request, flags: MessageFlags = [], sequence: UInt32) -> Bool {
        append(type: request.type, flags: request.flags.union(flags), sequence: sequence) { request.encode(into: &$0) }
    }

    /// Appends one message: header, then what `body` puts.
    ///
    /// - Returns: false, and nothing appended, when it does not fit.
    private mutating func append(
        type: MessageType,
        flags: MessageFlags,
        sequence: UInt32,
        body: (inout MessageBody) -> Void
    ) -> Bool {
        guard buffer.count - used >= MessageHeader.size, let base = buffer.baseAddress else { return false }
        let start = base + used
        guard let header = mnl_nlmsg_put_header(start) else { return false }
        header.pointee.nlmsg_type = type.rawValue
        header.pointee.nlmsg_flags = flags.union(.request).rawValue
        header.pointee.nlmsg_seq = sequence
        var content = MessageBody(header: header, capacity: buffer.count - used)
        body(&content)
        guard content.fits else { return false }
        used += aligned(Int(header.pointee.nlmsg_len))
        return true
    }

    /// Sets a flag on the message that begins at a byte offset.
    mutating func insert(_ flags: MessageFlags, at offset: Int) {
        let field = offset + 6
        let old = buffer.loadUnaligned(fromByteOffset: field, as: UInt16.self)
        buffer.storeBytes(of: old | flags.rawValue, toByteOffset: field, as: UInt16.self)
    }
}

/// What follows the header of a message being written: a fixed structure, then attributes.
public struct MessageBody {
    private let header: UnsafeMutablePointer<nlmsghdr>
    private let capacity: Int
    /// Everything put so far was within the buffer.
    private(set) var fits = true

    init(header: UnsafeMutablePointer<nlmsghdr>, capacity: Int) {
        self.header = header
        self.capacity = capacity
    }

    /// Appends the family's fixed structure (`struct ndmsg`, `struct ifinfomsg`); call it once and first.
    public mutating func put<T>(_ structure: T) where T: BitwiseCopyable {
        let size = MemoryLayout<T>.size
        guard fits, Int(header.pointee.nlmsg_len) + aligned(size) <= capacity else {
            fits = false
            return
        }
        mnl_nlmsg_put_extra_header(header, size)?.storeBytes(of: structure, as: T.self)
    }

    /// Appends an attribute of raw bytes.
    public mutating func put(_ type: Int, bytes: UnsafeRawBufferPointer) {
        fits = fits && mnl_attr_put_check(header, capacity, UInt16(type), bytes.count, bytes.baseAddress)
    }

    /// Appends an integer attribute of the machine's byte order.
    public mutating func put<T: FixedWidthInteger & BitwiseCopyable>(_ type: Int, _ value: T) {
        withUnsafeBytes(of: value) { put(type, bytes: $0) }
    }

    /// Appends a NUL-terminated string attribute.
    public mutating func put(_ type: Int, text: String) {
        fits = fits && text.withCString { mnl_attr_put_strz_check(header, capacity, UInt16(type), $0) }
    }

    /// Appends a nest of attributes.
    public mutating func nest(_ type: Int, _ content: (inout MessageBody) -> Void) {
        guard fits, let nest = mnl_attr_nest_start_check(header, capacity, UInt16(type)) else {
            fits = false
            return
        }
        content(&self)
        mnl_attr_nest_end(header, nest)
    }
}
