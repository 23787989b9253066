import Glibc
public import JSON

/// A connection to a QEMU monitor over its Unix socket. It is made for a loop around poll(2) and never blocks.
///
/// A monitor serves one client at a time: a second client is connected, but not greeted until the first has left.
public struct QMPConnection: ~Copyable {
    /// The progress of the negotiation.
    public enum State: Hashable, Sendable {
        /// The greeting has not arrived.
        case connected
        /// `qmp_capabilities` has been sent.
        case negotiating
        /// The monitor accepts commands.
        case ready
    }

    /// The socket's path.
    public let path: String
    /// For poll(2).
    public let descriptor: Int32
    /// The progress of the negotiation.
    public private(set) var state = State.connected
    /// QEMU's version, once it has greeted.
    public private(set) var version: String?

    private var lines = LineBuffer()
    private var unsent: [UInt8] = []
    private var lastID: Int64 = 0
    /// A turn reads so much: a monitor that floods has taken a millisecond then, and others have their turn.
    private let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 16384, alignment: 16)
    /// The most bytes of commands that are kept while QEMU does not read; a client of this kind sends a few hundred bytes.
    private static let unsentLimit = 1 << 20
    /// The longest event in bytes; longer ones are passed over. QEMU's have some hundred.
    private static let longestEvent = 16384

    /// Connects.
    ///
    /// - Parameter path: the path of a socket made by `-qmp unix:PATH,server=on,wait=off`.
    /// - Throws: ``QMPError`` of code `unreachable`.
    public init(path: String) throws(QMPError) {
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else {
            throw QMPError(.unreachable, "cannot open a socket: \(String(cString: strerror(errno)))")
        }
        let failure = QMPConnection.connect(descriptor, to: path)
        guard failure == 0 else {
            close(descriptor)
            throw QMPConnection.refusal(failure, path)
        }
        self.descriptor = descriptor
        self.path = path
    }

    deinit {
        close(descriptor)
        chunk.deallocate()
    }

    private static func refusal(_ failure: Int32, _ path: String) -> QMPError {
        let words = "cannot connect to the monitor \(path): \(String(cString: strerror(failure)))"
        switch failure {
        // The queue of those who wait for their turn is full (unix_stream_connect, net/unix/af_unix.c).
        case EAGAIN: return QMPError(.busy, "cannot connect to the monitor \(path): too many clients wait for it")
        case ECONNREFUSED: return QMPError(.unreachable, "\(words): nobody listens there, its QEMU has ended")
        default: return QMPError(.unreachable, words)
        }
    }

    /// Commands wait to be sent: poll for POLLOUT too, then call ``flush()``.
    public var wantsWrite: Bool { !unsent.isEmpty }

    /// Sends a command, or keeps it until the socket accepts it.
    ///
    /// - Parameters:
    ///   - command: the command's name, for example `query-status`.
    ///   - arguments: an object, or nil.
    /// - Returns: the id that the reply will have.
    /// - Throws: ``QMPError``.
    @discardableResult
    public mutating func send(_ command: String, arguments: JSON? = nil) throws(QMPError) -> Int64 {
        lastID += 1
        var members: [JSON.Member] = [.init("execute", .string(command)), .init("id", .integer(lastID))]
        if let arguments { members.append(.init("arguments", arguments)) }
        let line = "\(JSON.object(members))\n".utf8
        guard unsent.count + line.count <= QMPConnection.unsentLimit else {
            throw QMPError(.closed, "the monitor \(path) reads no commands")
        }
        unsent += line
        try flush()
        return lastID
    }

    /// Sends as much as the socket accepts.
    ///
    /// - Throws: ``QMPError`` of code `closed`.
    public mutating func flush() throws(QMPError) {
        while !unsent.isEmpty {
            let count = unsent.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { return }
                throw QMPError(.closed, "the monitor \(path) ended: \(String(cString: strerror(errno)))")
            }
            unsent.removeFirst(count)
        }
    }

    /// Reads the input and passes on the messages; it negotiates along the way.
    ///
    /// Everything that arrived before an error is passed on before the error is thrown. A monitor that writes faster than it is
    /// read is left after 16 KiB: poll says that there is more.
    ///
    /// - Parameter handler: receives each message: the greeting, then events and replies once negotiated.
    /// - Throws: ``QMPError``; the connection is unusable afterwards.
    public mutating func receive(_ handler: (QMPMessage) -> Void) throws(QMPError) {
        while true {
            let count = recv(descriptor, chunk.baseAddress, chunk.count, 0)
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { return }
                throw QMPError(.closed, "the monitor \(path) ended: \(String(cString: strerror(errno)))")
            }
            guard count > 0 else { throw QMPError(.closed, "the monitor \(path) closed the connection") }
            return try take(UnsafeRawBufferPointer(rebasing: chunk[..<count]), handler)
        }
    }

    private mutating func take(
        _ bytes: UnsafeRawBufferPointer, _ handler: (QMPMessage) -> Void
    ) throws(QMPError) {
        var problem: QMPError?
        var state = state
        var greeted: String?
        let lost = lines.overlong
        lines.append(bytes) { line in
            if problem != nil { return }
            if line.count > QMPConnection.longestEvent, QMPMessage.isEvent(line) { return }
            guard let message = QMPMessage(line) else {
                problem = QMPError(.malformed, "\(path) sent something that is no QMP message")
                return
            }
            switch (state, message) {
            case (.connected, .greeting(let version)):
                state = .negotiating
                greeted = version
            case (.connected, _), (_, .greeting):
                problem = QMPError(.malformed, "\(path) does not begin as a QEMU monitor does")
                return
            case (.negotiating, .reply(_, .success)):
                // No other command was sent.
                state = .ready
                return
            case (.negotiating, .reply(_, .failure(let refusal))):
                problem = QMPError(.refused, "the monitor \(path) refused to begin: \(refusal)")
                return
            default: break
            }
            handler(message)
        }
        if let problem { throw problem }
        if lines.overlong > lost {
            throw QMPError(.malformed, "\(path) sent a line of more than \(lines.limit) bytes")
        }
        self.state = state
        if let greeted {
            version = greeted
            if state == .negotiating { try send("qmp_capabilities") }
        }
    }

    private static func connect(_ descriptor: Int32, to path: String) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { room in
            guard !bytes.isEmpty, bytes.count < room.count, !bytes.contains(0) else { return false }
            room.copyBytes(from: bytes)
            return true
        }
        guard fits else { return ENAMETOOLONG }
        while true {
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if result == 0 { return 0 }
            if errno != EINTR { return errno }
        }
    }
}
