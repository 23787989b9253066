/// Splits a stream of bytes into lines of limited length.
public struct LineBuffer {
    /// The longest line in bytes.
    public let limit: Int
    /// The number of lines that were longer and were dropped.
    public private(set) var overlong = 0

    private var rest: [UInt8] = []
    private var isDropping = false

    /// - Parameter limit: the longest line in bytes; the buffer never keeps more.
    public init(limit: Int = 1 << 20) { self.limit = limit }

    /// Takes the next bytes of the stream and passes on the lines that they complete, without the line ends.
    ///
    /// - Parameters:
    ///   - bytes: any number of lines and parts of lines.
    ///   - line: receives each line that is not empty. Its bytes are valid during the call.
    public mutating func append(_ bytes: UnsafeRawBufferPointer, _ line: (UnsafeRawBufferPointer) -> Void) {
        var start = 0
        while start < bytes.count {
            guard let end = bytes[start...].firstIndex(of: 0x0a) else {
                keep(bytes[start...])
                return
            }
            finish(bytes[start..<end], line)
            start = end + 1
        }
    }

    private mutating func keep(_ part: Slice<UnsafeRawBufferPointer>) {
        if isDropping { return }
        if rest.count + part.count > limit {
            drop()
            isDropping = true
        } else {
            rest.append(contentsOf: part)
        }
    }

    private mutating func finish(_ part: Slice<UnsafeRawBufferPointer>, _ line: (UnsafeRawBufferPointer) -> Void) {
        if isDropping {
            isDropping = false
            return
        }
        guard rest.count + part.count <= limit else { return drop() }
        if rest.isEmpty {
            // The usual case, which needs no copy.
            hand(UnsafeRawBufferPointer(rebasing: part), line)
            return
        }
        rest.append(contentsOf: part)
        rest.withUnsafeBytes { hand($0, line) }
        rest.removeAll(keepingCapacity: rest.capacity <= 65536)
    }

    private func hand(_ bytes: UnsafeRawBufferPointer, _ line: (UnsafeRawBufferPointer) -> Void) {
        let content = bytes.last == 0x0d ? UnsafeRawBufferPointer(rebasing: bytes.dropLast()) : bytes
        if !content.isEmpty { line(content) }
    }

    private mutating func drop() {
        overlong += 1
        rest = []
    }
}
