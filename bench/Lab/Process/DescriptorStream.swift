import Glibc

/// A socket or a device to which lines are written, and from which lines and bytes are read; used on one thread.
final class DescriptorStream {
    private let descriptor: Int32
    private let name: String
    private var rest: [UInt8] = []

    /// - Parameters:
    ///   - descriptor: closed at the end of this object's life.
    ///   - name: what is at the other end, for errors.
    init(_ descriptor: Int32, name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    deinit { close(descriptor) }

    func write(line: String) throws(LabError) {
        let bytes = Array((line + "\n").utf8)
        var count = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        if count < 0, errno == ENOTSOCK { count = Glibc.write(descriptor, bytes, bytes.count) }
        guard count == bytes.count else {
            throw LabError("cannot write to \(name): \(String(cString: strerror(errno)))")
        }
    }

    /// The next line; nil when nothing comes within so many milliseconds.
    func line(timeout: Int32) throws(LabError) -> [UInt8]? {
        while true {
            if let end = rest.firstIndex(of: 0x0a) {
                defer { rest.removeSubrange(...end) }
                return Array(rest[..<end])
            }
            guard try receive(timeout: timeout) else { return nil }
        }
    }

    /// The next bytes; nil when nothing comes within so many milliseconds.
    func bytes(_ count: Int, timeout: Int32) throws(LabError) -> [UInt8]? {
        while rest.count < count {
            guard try receive(timeout: timeout) else { return nil }
        }
        defer { rest.removeFirst(count) }
        return Array(rest[..<count])
    }

    private func receive(timeout: Int32) throws(LabError) -> Bool {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, timeout) > 0 else { return false }
        var chunk = [UInt8](repeating: 0, count: 1 << 18)
        let count = read(descriptor, &chunk, chunk.count)
        guard count > 0 else { throw LabError("\(name) ended") }
        rest += chunk[..<count]
        return true
    }
}
